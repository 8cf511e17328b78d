"""PRelu written in operations that ONNX Runtime is quick at."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper


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
