"""Every operator's rule against torch autograd, on small random graphs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from facecloak.onnx_gradient.rules import RULES

from .graphs import GraphMaker, assert_gradient_agrees

SHAPE = (4, 9, 8)
"""Channels, height and width of the test image, all different; it holds standard normal numbers."""

Case = Callable[[GraphMaker, str], str]


def windowed(op: str, **attributes: object) -> Case:
    return lambda g, x: g.op(op, x, **attributes)


def conv(weights: tuple[int, ...], **attributes: object) -> Case:
    return lambda g, x: g.op(
        "Conv", x, g.normal(*weights), g.normal(weights[0]), kernel_shape=weights[2:], **attributes
    )


CONVOLUTIONS: dict[str, Case] = {
    "plain": conv((6, 4, 3, 3)),
    "padded": conv((6, 4, 3, 3), pads=[1, 1, 1, 1]),
    "uneven padding": conv((6, 4, 3, 2), pads=[2, 0, 0, 1]),
    "pointwise": conv((6, 4, 1, 1)),
    "pointwise with stride": conv((6, 4, 1, 1), strides=[2, 2]),
    "stride 2": conv((6, 4, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]),
    "stride 2, rest unreached": conv((6, 4, 2, 3), strides=[2, 2]),
    "stride 3 by 2": conv((6, 4, 3, 3), strides=[3, 2], pads=[0, 1, 1, 0]),
    "dilated": conv((6, 4, 3, 3), dilations=[2, 2], pads=[2, 2, 2, 2]),
    "dilated with stride": conv((6, 4, 3, 3), dilations=[2, 1], strides=[2, 2], pads=[2, 1, 2, 1]),
    "depthwise": conv((4, 1, 3, 3), group=4, pads=[1, 1, 1, 1]),
    "depthwise with stride": conv((4, 1, 3, 3), group=4, pads=[1, 1, 1, 1], strides=[2, 2]),
    "depthwise, two outputs a channel": conv((8, 1, 3, 3), group=4),
    "grouped": conv((6, 2, 3, 3), group=2, pads=[1, 1, 1, 1]),
    "grouped with stride": conv((6, 2, 3, 3), group=2, strides=[2, 2]),
    "as large as the image": conv((6, 4, 9, 8)),
    "more padding than window": conv((6, 4, 2, 2), pads=[3, 3, 3, 3]),
    "SAME_UPPER": conv((6, 4, 4, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
    "SAME_LOWER": conv((6, 4, 4, 3), auto_pad="SAME_LOWER", strides=[2, 2]),
    "VALID": conv((6, 4, 3, 3), auto_pad="VALID"),
    "one axis": lambda g, x: g.op(
        "Conv", g.op("Reshape", x, g.integers(0, 4, 72)), g.normal(6, 4, 5), pads=[2, 2], kernel_shape=[5]
    ),
    "transposed": lambda g, x: g.op(
        "ConvTranspose", x, g.normal(4, 6, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]
    ),
    "padded before": lambda g, x: conv((6, 4, 3, 3))(g, g.op("Pad", x, g.integers(0, 0, 1, 0, 0, 0, 0, 1))),
    "padded before with ones": lambda g, x: conv((6, 4, 3, 3))(
        g, g.op("Pad", x, g.integers(0, 0, 1, 0, 0, 0, 0, 1), g.constant(1.0))
    ),
    "padded channels": lambda g, x: conv((6, 5, 3, 3))(g, g.op("Pad", x, g.integers(0, 1, 1, 0, 0, 0, 0, 0))),
}

POOLINGS: dict[str, Case] = {
    "average, blocks": windowed("AveragePool", kernel_shape=[3, 2], strides=[3, 2]),
    "average, blocks and a rest": windowed("AveragePool", kernel_shape=[2, 3], strides=[2, 3]),
    "average, overlapping": windowed("AveragePool", kernel_shape=[3, 3], strides=[2, 2]),
    "average, stride 1": windowed("AveragePool", kernel_shape=[2, 2]),
    "average, padded": windowed("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "average, padding counted": windowed(
        "AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1
    ),
    "average, SAME_UPPER": windowed("AveragePool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    "maximum, blocks": windowed("MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
    "maximum, overlapping": windowed("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "maximum, dilated": windowed("MaxPool", kernel_shape=[2, 2], dilations=[2, 3]),
    "global average": windowed("GlobalAveragePool"),
    "global maximum": windowed("GlobalMaxPool"),
}


def positive(g: GraphMaker, x: str) -> str:
    return g.op("Add", g.op("Mul", x, x), g.constant(0.3))


ACTIVATIONS: dict[str, Case] = {
    **{op: windowed(op) for op in ("Relu", "Sigmoid", "Tanh", "HardSwish", "Softplus", "Softsign", "Mish", "Erf")},
    **{op: windowed(op) for op in ("Abs", "Exp", "Neg", "Sin", "Cos", "Selu", "Identity", "Dropout")},
    **{op: lambda g, x, op=op: g.op(op, positive(g, x)) for op in ("Log", "Sqrt", "Reciprocal")},
    "LeakyRelu": windowed("LeakyRelu", alpha=0.3),
    "LeakyRelu of negative slope": windowed("LeakyRelu", alpha=-0.3),
    "PRelu": lambda g, x: g.op("PRelu", x, g.uniform(0.1, 0.5, 4, 1, 1)),
    "PRelu of one negative slope": lambda g, x: g.op("PRelu", x, g.constant([[[0.2]], [[0.1]], [[-0.4]], [[0.3]]])),
    "PRelu of one zero slope": lambda g, x: g.op("PRelu", x, g.constant([[[0.2]], [[0.1]], [[0.0]], [[0.3]]])),
    "Clip": lambda g, x: g.op("Clip", x, g.constant(-0.5), g.constant(0.8)),
    "Clip from below": lambda g, x: g.op("Clip", x, g.constant(-0.5)),
    "Clip from above": lambda g, x: g.op("Clip", x, "", g.constant(0.8)),
    "Min of Max": lambda g, x: g.op("Min", g.op("Max", x, g.constant(-0.5)), g.constant(0.8)),
    "Max of Min": lambda g, x: g.op("Max", g.constant(-0.5), g.op("Min", g.constant(0.8), x)),
    "Relu then Min": lambda g, x: g.op("Min", g.op("Relu", x), g.constant([0.8])),
    "Clip within Clip": lambda g, x: g.op(
        "Clip", g.op("Clip", x, g.constant(-0.2), g.constant(2.0)), g.constant(-1.0), g.constant(0.8)
    ),
    "HardSigmoid": windowed("HardSigmoid", alpha=0.4, beta=0.45),
    "Elu": windowed("Elu", alpha=0.7),
    "Softmax over channels": windowed("Softmax", axis=1),
    "Softmax over the last axis": windowed("Softmax"),
    "LogSoftmax": windowed("LogSoftmax", axis=2),
}


def both(op: str) -> Case:
    """Both operands depend on the image, one of them is broadcast."""

    def make(g: GraphMaker, x: str) -> str:
        pooled = positive(g, g.op("ReduceMean", x, g.integers(2, 3), keepdims=1))
        return g.op("Add", g.op(op, x, pooled), g.op(op, pooled, positive(g, x)))

    return make


ARITHMETIC: dict[str, Case] = {
    **{f"{op} of two": both(op) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min")},
    **{
        f"{op} a plane": lambda g, x, op=op: g.op(op, x, g.uniform(0.5, 2, 9, 8)) for op in ("Add", "Sub", "Mul", "Div")
    },
    **{
        f"{op} from a plane": lambda g, x, op=op: g.op(op, g.normal(1, 1, 9, 8), positive(g, x))
        for op in ("Sub", "Div")
    },
    "Mul by itself": lambda g, x: g.op("Mul", x, x),
    "Mul to a larger constant": lambda g, x: g.op(
        "Mul", g.op("ReduceSum", x, g.integers(1), keepdims=1), g.normal(5, 1, 1)
    ),
    "Mul to a higher rank": lambda g, x: g.op("Reshape", g.op("Mul", x, g.normal(1, 1, 4, 1, 1)), g.integers(-1, 288)),
    "Sum of three": lambda g, x: g.op("Sum", x, g.op("Relu", x), g.normal(8)),
    "Max of three": lambda g, x: g.op("Max", x, g.op("Neg", x), g.constant(np.full((9, 1), 0.4))),
    "Max of equals": lambda g, x: g.op("Max", g.op("Relu", x), g.op("Relu", g.op("Sub", x, g.constant(0.5)))),
    "square": lambda g, x: g.op("Pow", x, g.constant(2.0)),
    "cube of each row": lambda g, x: g.op("Pow", positive(g, x), g.uniform(0.5, 3.0, 9, 1)),
    "constant to a power": lambda g, x: g.op("Pow", g.constant(1.7), x),
    "Where": lambda g, x: g.op("Where", g.op("Greater", x, g.constant(0.2)), g.op("Sin", x), g.op("Mul", x, x)),
    "Where with a constant": lambda g, x: g.op("Where", g.constant(np.eye(9, 8) > 0, np.bool_), g.constant(0.3), x),
    "Floor has no slope": lambda g, x: g.op("Add", x, g.op("Floor", x)),
    "Cast to a mask": lambda g, x: g.op(
        "Mul", x, g.op("Cast", g.op("Greater", x, g.constant(0.1)), to=TensorProto.FLOAT)
    ),
}


def vectors(g: GraphMaker, x: str) -> str:
    return g.op("Flatten", x, axis=1)


LINEAR: dict[str, Case] = {
    "Gemm": lambda g, x: g.op("Gemm", vectors(g, x), g.normal(288, 20), g.normal(20), alpha=0.5, beta=2.0),
    "Gemm transB": lambda g, x: g.op("Gemm", vectors(g, x), g.normal(20, 288), g.normal(20), transB=1),
    "MatMul of vectors": lambda g, x: g.op("MatMul", vectors(g, x), g.normal(288, 20)),
    "MatMul on the right": lambda g, x: g.op("MatMul", x, g.normal(8, 5)),
    "MatMul on the left": lambda g, x: g.op("MatMul", g.normal(5, 9), x),
    "MatMul with a stack": lambda g, x: g.op("MatMul", x, g.normal(4, 8, 5)),
    "MatMul of a broadcast image": lambda g, x: g.op(
        "MatMul", g.op("ReduceSum", x, g.integers(1), keepdims=1), g.normal(4, 8, 5)
    ),
    "MatMul of two images": lambda g, x: g.op("MatMul", g.op("Transpose", x, perm=[0, 1, 3, 2]), g.op("Sin", x)),
}

REDUCTIONS: dict[str, Case] = {
    f"{op}, {label}": lambda g, x, op=op, axes=axes, keep=keep: g.op(
        op, positive(g, x), g.integers(*axes), keepdims=keep
    )
    for op in (
        *("ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL1"),
        *("ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMin"),
    )
    for label, axes, keep in (("kept", (1,), 1), ("dropped", (-1, 2), 0))
}

SHAPES: dict[str, Case] = {
    "Flatten": vectors,
    "Reshape": lambda g, x: g.op("Sin", g.op("Reshape", x, g.integers(-1, 9, 32))),
    "Reshape by a computed shape": lambda g, x: g.op(
        "Reshape",
        g.op("Sin", x),
        g.op(
            "Concat",
            g.op("Unsqueeze", g.op("Gather", g.op("Shape", x), g.constant(0, np.int64)), g.integers(0)),
            g.integers(-1),
            axis=0,
        ),
    ),
    "Reshape that joins the batch": lambda g, x: g.op(
        "Reshape", g.op("Softmax", g.op("Reshape", x, g.integers(-1, 8))), g.integers(-1, 288)
    ),
    "Squeeze": lambda g, x: g.op("Squeeze", g.op("GlobalAveragePool", x), g.integers(2, 3)),
    "Unsqueeze": lambda g, x: g.op("Sin", g.op("Unsqueeze", x, g.integers(1))),
    "Transpose": lambda g, x: g.op("Softmax", g.op("Transpose", x, perm=[0, 2, 3, 1])),
    "Expand": lambda g, x: g.op("Expand", g.op("GlobalAveragePool", x), g.integers(1, 1, 5, 6)),
    "Pad": lambda g, x: g.op("Pad", x, g.integers(0, 1, 0, 2, 0, 0, 1, 0), g.constant(0.7)),
    "Pad that cuts": lambda g, x: g.op("Pad", x, g.integers(0, 0, -1, 2, 0, 0, 1, -3)),
    "Concat": lambda g, x: g.op(
        "Concat",
        x,
        g.op("Expand", g.normal(1, 2, 9, 8), g.op("Shape", g.op("Slice", x, *(g.integers(v) for v in (0, 2, 1))))),
        g.op("Relu", x),
        axis=1,
    ),
    "Split": lambda g, x: (lambda parts: g.op("Mul", parts[0], parts[1]))(
        g.ops("Split", x, g.integers(2, 2), outputs=2, axis=1)
    ),
    "Split with an unread part": lambda g, x: (lambda parts: g.op("Sin", parts[1]))(
        g.ops("Split", x, g.integers(2, 4, 2), outputs=3, axis=3)
    ),
    "Split evenly": lambda g, x: g.ops("Split", x, outputs=2, axis=1, num_outputs=2)[1],
    "Slice": lambda g, x: g.op("Slice", x, g.integers(1, -6), g.integers(3, -1), g.integers(1, 3)),
    "Slice to the end": lambda g, x: g.op("Slice", x, g.integers(2), g.integers(2**63 - 1), g.integers(2)),
    "Slice backwards": lambda g, x: g.op(
        "Slice", x, g.integers(-1), g.integers(-(2**63)), g.integers(1), g.integers(-1)
    ),
    "Slice every second": lambda g, x: g.op(
        "Slice", x, g.integers(1, 0), g.integers(9, 8), g.integers(2, 3), g.integers(2, 3)
    ),
    "Gather swaps colors": lambda g, x: g.op("Gather", x, g.integers(2, 1, 0, 3), axis=1),
    "Gather some": lambda g, x: g.op("Gather", x, g.integers(-1, 2), axis=2),
    "Gather one": lambda g, x: g.op("Gather", x, g.constant(2, np.int64), axis=1),
    "Gather repeats": lambda g, x: g.op("Sin", g.op("Gather", x, g.integers(0, 0, 1, 3, 3, 3), axis=1)),
    "Gather in a table": lambda g, x: g.op("Gather", x, g.constant([[0, 1], [1, 2]], np.int64), axis=3),
    "DepthToSpace": windowed("DepthToSpace", blocksize=2),
    "SpaceToDepth": lambda g, x: g.op(
        "SpaceToDepth", g.op("Slice", x, g.integers(0), g.integers(8), g.integers(2)), blocksize=2
    ),
}

NORMALIZATIONS: dict[str, Case] = {
    "BatchNormalization": lambda g, x: g.op("Sin", g.batch_norm(x, 4)),
    "BatchNormalization of vectors": lambda g, x: g.batch_norm(vectors(g, x), 288),
    "BatchNormalization behind Conv": lambda g, x: g.batch_norm(g.conv(x, 4, 6, bias=False), 6),
    "BatchNormalization behind Gemm": lambda g, x: g.batch_norm(
        g.op("Gemm", vectors(g, x), g.normal(288, 20), g.normal(20)), 20
    ),
    "BatchNormalization in pieces": lambda g, x: g.op(
        "Sub",
        g.normal(1, 6, 1, 1),
        g.op("Div", g.op("Mul", g.op("Add", g.conv(x, 4, 6), g.normal(6, 1, 1)), g.normal(6, 1, 1)), g.constant(1.3)),
    ),
    "Conv whose weights are shared": lambda g, x: (
        lambda weights: g.op("Add", g.batch_norm(g.op("Conv", x, weights), 6), g.op("Conv", g.op("Sin", x), weights))
    )(g.normal(6, 4, 3, 3)),
    "InstanceNormalization": lambda g, x: g.op("Sin", g.op("InstanceNormalization", x, g.normal(4), g.normal(4))),
    "LayerNormalization": lambda g, x: g.op("Sin", g.op("LayerNormalization", x, g.normal(8), g.normal(8))),
    "LayerNormalization from axis 2": lambda g, x: g.op(
        "Sin", g.op("LayerNormalization", x, g.normal(9, 8), g.normal(9, 8), axis=2, epsilon=0.1)
    ),
    "LpNormalization": lambda g, x: g.op("Sin", g.op("LpNormalization", x, axis=1)),
}

CASES = {
    f"{table}: {name}": case
    for table, cases in {
        "convolution": CONVOLUTIONS,
        "pooling": POOLINGS,
        "activation": ACTIVATIONS,
        "arithmetic": ARITHMETIC,
        "linear": LINEAR,
        "reduction": REDUCTIONS,
        "shape": SHAPES,
        "normalization": NORMALIZATIONS,
    }.items()
    for name, case in cases.items()
}


def network(case: Case) -> onnx.ModelProto:
    """The operator between the image and a random projection to an embedding."""
    g = GraphMaker()
    # The image itself is read twice: gradients must add up.
    features = case(g, g.op("Mul", "crops", g.constant(0.9)))
    return g.model(g.project(g.op("Flatten", features, axis=1), _size(g, features)), shape=SHAPE)


def _size(g: GraphMaker, tensor: str) -> int:
    """Number of elements of a tensor for one image."""
    graph = helper.make_graph(
        g.nodes,
        "sizes",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, [1, *SHAPE])],
        [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None)],
        g.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    shape = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output[0].type.tensor_type.shape
    return int(np.prod([dimension.dim_value for dimension in shape.dim]))


@pytest.mark.parametrize("name", CASES)
def test_rule_agrees_with_torch(name: str, generator: np.random.Generator) -> None:
    model = network(CASES[name])
    image = generator.standard_normal((3, *SHAPE)).astype(np.float32)
    for rows in (1, 3):
        assert_gradient_agrees(model, image[:rows], generator=generator, relative_error=1e-4)


def test_every_rule_is_tested() -> None:
    used = {node.op_type for case in CASES.values() for node in network(case).graph.node}
    assert set(RULES) <= used
