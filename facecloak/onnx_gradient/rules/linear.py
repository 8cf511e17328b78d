"""Matrix products."""

from __future__ import annotations

from facecloak.onnx_gradient.builder import GradientBuilder
from facecloak.onnx_gradient.graph import Node
from facecloak.onnx_gradient.rules.registry import Contributions, rule, unary_rule, unsupported


@unary_rule("Gemm")
def gemm(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = alpha x W + beta c: dx = alpha dy W^T. The weights are shared: Gemm transposes as it reads."""
    if node.attribute("transA", 0):
        raise unsupported(node, "transA")
    turned = 1 - node.attribute("transB", 0)
    return builder.op("Gemm", gradient, node.inputs[1], alpha=node.attribute("alpha", 1.0), transB=turned)


@rule("MatMul")
def matmul(builder: GradientBuilder, node: Node, gradient: str) -> Contributions:
    """y = a b: da = dy b^T, db = a^T dy, for each leading index."""
    left, right = node.inputs
    left_shape, right_shape = builder.shape(left), builder.shape(right)
    if min(len(left_shape), len(right_shape)) < 2:
        raise unsupported(node, "vector operand")
    leading = builder.shape(node.outputs[0])[:-2]
    found: Contributions = {}
    if builder.needs_gradient(left):
        if len(left_shape) == len(right_shape) == 2 and builder.value(right) is not None:
            # Gemm reads the shared weights transposed; a Transpose would be folded into a second copy of them.
            found[0] = builder.op("Gemm", gradient, right, transB=1)
        else:
            product = builder.op("MatMul", gradient, builder.swap_last_axes(right))
            found[0] = builder.unbroadcast(product, (*leading, *left_shape[-2:]), left_shape)
    if builder.needs_gradient(right):
        product = builder.op("MatMul", builder.swap_last_axes(left), gradient)
        found[1] = builder.unbroadcast(product, (*leading, *right_shape[-2:]), right_shape)
    return found
