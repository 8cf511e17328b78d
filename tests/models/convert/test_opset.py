from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, defs, helper

from facecloak.models.convert import opset
from facecloak.models.convert.onnx_file import convert_ready_model
from facecloak.models.errors import ModelUnsupported

NetworkMaker = Callable[..., onnx.ModelProto]


def run(model: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


@pytest.mark.parametrize("version", [19, 20, 21])
def test_a_newer_opset_is_lowered_where_nothing_needs_it(
    make_network: NetworkMaker, crops: np.ndarray, version: int
) -> None:
    model = make_network(opset=version, channels_last=True)
    model.ir_version = 10
    one = run(model, np.ascontiguousarray(crops[:1].transpose(0, 2, 3, 1)))
    converted = convert_ready_model(model.SerializeToString())
    assert [entry.version for entry in converted.opset_import] == [18]
    np.testing.assert_allclose(run(converted, crops.transpose(0, 2, 3, 1).copy())[:1], one, rtol=1e-5, atol=1e-5)


def with_node(model: onnx.ModelProto, node: onnx.NodeProto) -> bytes:
    """The model with a node between its convolution and the rest."""
    model.ir_version = 10
    model.graph.node[0].output[0] = "before"
    model.graph.node.insert(1, node)
    return model.SerializeToString()


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("AveragePool", ["before"], ["conv"], kernel_shape=[1, 1], dilations=[1, 1]),
        helper.make_node("Gelu", ["before"], ["conv"]),
        helper.make_node("Mystery", ["before"], ["conv"]),
    ],
    ids=lambda node: node.op_type,
)
def test_an_operator_that_changed_is_refused_by_its_name(make_network: NetworkMaker, node: onnx.NodeProto) -> None:
    with pytest.raises(ModelUnsupported, match=f"{node.op_type} changed since 18"):
        convert_ready_model(with_node(make_network(opset=21), node))


def test_an_operator_in_a_branch_is_seen(make_network: NetworkMaker) -> None:
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Gelu", ["before"], ["inner"])], "branch", [], [value])
    node = helper.make_node("Scan", ["before"], ["conv"], body=branch, num_scan_inputs=1)
    with pytest.raises(ModelUnsupported, match="Gelu, Scan changed"):
        convert_ready_model(with_node(make_network(opset=21), node))


def test_what_the_older_opset_lacks_is_refused(make_network: NetworkMaker) -> None:
    saturating = helper.make_node("Cast", ["before"], ["conv"], to=TensorProto.FLOAT, saturate=1)
    with pytest.raises(ModelUnsupported, match="18 has not"):
        convert_ready_model(with_node(make_network(opset=21), saturating))


def test_an_opset_that_is_not_known_is_refused(make_network: NetworkMaker) -> None:
    model = make_network(opset=22)
    with pytest.raises(ModelUnsupported, match="opset 22; export it as opset 18 or lower"):
        convert_ready_model(model.SerializeToString())


@pytest.mark.parametrize("operator", sorted(opset._ONLY_MORE_TYPES))
def test_operators_said_to_have_gained_types_only_have(operator: str) -> None:
    then, now = (defs.get_schema(operator, max_inclusive_version=one) for one in (18, 21))
    assert then.since_version < now.since_version
    assert set(now.attributes) - set(then.attributes) <= {"saturate"}  # of Cast, for types of 8 bits
    assert [entry.name for entry in then.inputs] == [entry.name for entry in now.inputs]
    if operator != "Cast":  # its text adds the rules for types of 8 bits
        assert then.doc == now.doc
