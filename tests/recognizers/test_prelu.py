"""PRelu written otherwise is the same function."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from facecloak.recognizers.importing.prelu import split_prelu


def _model(*, constant: bool) -> onnx.ModelProto:
    slope = np.array([-0.5, 0.0, 0.25, 2.0], np.float32).reshape(4, 1, 1)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 3, 5])]
    if not constant:
        inputs.append(helper.make_tensor_value_info("slope", TensorProto.FLOAT, [4, 1, 1]))
    nodes = [helper.make_node("PRelu", ["x", "slope"], ["p"], name="p"), helper.make_node("Neg", ["p"], ["y"])]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4, 3, 5])
    weights = [numpy_helper.from_array(slope, "slope")] if constant else []
    graph = helper.make_graph(nodes, "g", inputs, [output], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_the_values_stay() -> None:
    model = _model(constant=True)
    x = np.random.default_rng(1).normal(0, 3, (2, 4, 3, 5)).astype(np.float32)
    x[0, 0, 0, 0] = 0
    before, after = model.SerializeToString(), model
    assert split_prelu(after) == 1
    assert not any(node.op_type == "PRelu" for node in after.graph.node)
    onnx.checker.check_model(after, full_check=True)
    one, other = (
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for data in (before, after.SerializeToString())
    )
    assert np.abs(one - other).max() < 1e-5
    assert np.abs(one).max() > 3


def test_slopes_that_are_no_constants_stay() -> None:
    model = _model(constant=False)
    assert split_prelu(model) == 0
    assert any(node.op_type == "PRelu" for node in model.graph.node)
