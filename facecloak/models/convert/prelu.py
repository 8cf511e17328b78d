"""PRelu: written in operations that ONNX Runtime is quick at, and made again where a published graph has it wrong."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from facecloak.models.convert.dead_code import drop_unused
from facecloak.models.errors import ModelUnsupported


def split_prelu(model: onnx.ModelProto) -> int:
    """Write each PRelu of constant slopes as ``slope * x + (1 - slope) * max(x, 0)``, in place; returns how many.

    The same function but for rounding. ONNX Runtime 1.32 on a CPU keeps convolutions in blocks of channels and has no
    PRelu for these: it reorders the tensor before and behind each. The face mesh with its 23 of them takes 3.6 ms as
    published and 1.6 ms so, its points 0.00005 of their 192 px apart at most. For finders alone: recognizers stay as
    their gradients were measured.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    split = 0
    for node in model.graph.node:
        if node.op_type != "PRelu" or node.input[1] not in constants:
            nodes.append(node)
            continue
        value, (name,) = node.input[0], node.output
        slope = numpy_helper.to_array(constants[node.input[1]])
        model.graph.initializer.append(numpy_helper.from_array(np.float32(1) - slope, f"{name}/rest"))
        nodes += [
            helper.make_node("Mul", [value, node.input[1]], [f"{name}/sloped"], name=f"{name}/sloped/node"),
            helper.make_node("Relu", [value], [f"{name}/positive"], name=f"{name}/positive/node"),
            helper.make_node(
                "Mul", [f"{name}/positive", f"{name}/rest"], [f"{name}/raised"], name=f"{name}/raised/node"
            ),
            helper.make_node("Add", [f"{name}/raised", f"{name}/sloped"], [name], name=node.name),
        ]
        split += 1
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return split


def mend_prelu(model: onnx.ModelProto) -> int:
    """Make PRelu again of what a faulty converter left of it, in place; returns how many.

    TensorFlow code writes PRelu as ``relu(x) + alpha * (x - |x|) / 2``, and a converter folds ``alpha / 2`` into one
    constant. In the published mobilefacenet these constants have the wrong sign, and where a depthwise convolution
    comes before, its result went through the relu already, so that ``x - |x|`` is 0. Neither can be told from the graph
    alone: this is for graphs that are known to be wrong, as their embeddings show.

    Raises:
        ModelUnsupported: there is no such sum in the model.
    """
    graph = model.graph
    made = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    mended = 0
    for node in graph.node:
        found = _split_sum(node, made, constants)
        if found is None:
            continue
        value, halved = found
        slopes = np.float32(-2) * numpy_helper.to_array(constants[halved])
        # Over (N, C, H, W); a broadcast constant of rank 4 has a batch side of its own, which PRelu does not take.
        slopes = slopes.reshape(slopes.shape[-3:])
        graph.initializer.append(numpy_helper.from_array(slopes, f"{node.output[0]}/slopes"))
        node.op_type = "PRelu"
        node.input[:] = [value, f"{node.output[0]}/slopes"]
        mended += 1
    if not mended:
        raise ModelUnsupported("the model has no PRelu to mend")
    drop_unused(graph)
    return mended


def _split_sum(
    node: onnx.NodeProto, made: Mapping[str, onnx.NodeProto], constants: Mapping[str, onnx.TensorProto]
) -> tuple[str, str] | None:
    """Of ``relu(x) + (y - |y|) * c`` the names of x and c; None for any other node."""
    if node.op_type != "Add":
        return None
    for positive, scaled in (node.input, reversed(node.input)):
        relu, product = made.get(positive), made.get(scaled)
        if relu is None or relu.op_type != "Relu" or product is None or product.op_type != "Mul":
            continue
        for difference, constant in (product.input, reversed(product.input)):
            sub = made.get(difference)
            if constant not in constants or sub is None or sub.op_type != "Sub":
                continue
            size = made.get(sub.input[1])
            same = size is not None and size.op_type == "Abs" and size.input[0] == sub.input[0]
            if same and sub.input[0] in (relu.input[0], relu.output[0]):
                return relu.input[0], constant
    return None
