"""PRelu written otherwise is the same function; PRelu that was published wrong becomes what it was."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from facecloak.models.convert.prelu import mend_prelu, split_prelu
from facecloak.models.errors import ModelUnsupported


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


SLOPES = np.array([-0.5, 0.0, 0.25, 2.0], np.float32)


def _published(*, behind_relu: bool, swapped: bool) -> onnx.ModelProto:
    """``relu(x) + (y - |y|) * c`` as a converter wrote it: c is half of the slope with the wrong sign, and y may be
    ``relu(x)``."""
    read = "positive" if behind_relu else "x"
    terms = [("positive", "scaled"), ("difference", "constant")]
    (left, right), (one, other) = [pair[::-1] if swapped else pair for pair in terms]
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"]),
        helper.make_node("Abs", [read], ["size"]),
        helper.make_node("Sub", [read, "size"], ["difference"]),
        helper.make_node("Mul", [one, other], ["scaled"]),
        helper.make_node("Add", [left, right], ["p"], name="p"),
        helper.make_node("Neg", ["p"], ["y"]),
    ]
    constant = (-SLOPES / 2).reshape(1, 4, 1, 1)
    sides = ["N", 4, 3, 5]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sides)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, sides)],
        [numpy_helper.from_array(constant, "constant")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize("behind_relu", [False, True])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_wrongly_published_prelu_is_mended(behind_relu: bool, swapped: bool) -> None:
    model = _published(behind_relu=behind_relu, swapped=swapped)
    assert mend_prelu(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["PRelu", "Neg"]
    assert [tensor.name for tensor in model.graph.initializer] == ["p/slopes"]
    x = np.random.default_rng(1).normal(0, 3, (2, 4, 3, 5)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = -np.where(x > 0, x, SLOPES.reshape(4, 1, 1) * x)
    assert np.abs(session.run(None, {"x": x})[0] - expected).max() < 1e-6


def test_a_model_without_such_sums_is_not_mended() -> None:
    with pytest.raises(ModelUnsupported, match="no PRelu"):
        mend_prelu(_model(constant=True))
