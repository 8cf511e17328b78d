"""Integer weights with scales, folded into float32, against ONNX Runtime's own run of the same file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from facecloak.models.convert import dequantize
from facecloak.models.convert.onnx_file import convert_ready_model
from facecloak.models.errors import ModelUnsupported

KERNEL = (8, 3, 16, 16)


def run(model: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


def quantized(
    shape: tuple[int, ...] = KERNEL,
    scales: tuple[int, ...] = (),
    *,
    dtype: int = TensorProto.INT8,
    zero: bool = True,
    opset: int = 21,
    flat: tuple[int, ...] = (),
    tail: tuple[onnx.NodeProto, ...] = (),
    **attributes: int,
) -> onnx.ModelProto:
    """A convolution by integers of ``shape`` (reshaped to ``flat`` if given) with scales, then what ``tail`` adds."""
    rng = np.random.default_rng(1)
    low, high = {"U": (0, 15), "I": (-7, 7)}[TensorProto.DataType.Name(dtype)[0]]
    numbers = helper.tensor_dtype_to_np_dtype(dtype)
    tensors = [
        numpy_helper.from_array(rng.integers(low, high, shape, endpoint=True).astype(numbers), "values"),
        numpy_helper.from_array(rng.uniform(0.001, 0.01, scales).astype(np.float32), "scales"),
    ]
    inputs = ["values", "scales"]
    if zero:
        tensors.append(numpy_helper.from_array(rng.integers(low, high, scales).astype(numbers), "zeros"))
        inputs.append("zeros")
    nodes = [helper.make_node("DequantizeLinear", inputs, ["weights"], name="weights/node", **attributes)]
    if flat:
        tensors.append(numpy_helper.from_array(np.array(flat, np.int64), "side"))
        nodes.append(helper.make_node("Reshape", ["weights", "side"], ["kernel"]))
    nodes.append(helper.make_node("Conv", ["image", "kernel" if flat else "weights"], ["conv"], strides=[16, 16]))
    nodes.append(helper.make_node("Flatten", ["conv"], ["features"]))
    nodes += tail
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 112, 112])
    output = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, [1, 8 * 49])
    graph = helper.make_graph(nodes, "quantized", [image], [output], tensors)
    graph.value_info.append(helper.make_tensor_value_info("weights", TensorProto.FLOAT, shape))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 10
    return model


@pytest.mark.parametrize(
    "made",
    [
        {"scales": ()},
        {"scales": (1,)},
        {"scales": (8,), "axis": 0},
        {"scales": (3,)},  # axis 1 where none is given
        {"scales": (16,), "axis": -1, "zero": False},
        {"scales": (8,), "axis": 0, "opset": 13},
        {"scales": (), "opset": 10},
        {"scales": (8,), "axis": 0, "dtype": TensorProto.UINT8},
        {"scales": (8,), "axis": 0, "dtype": TensorProto.INT16},
        {"scales": (8,), "axis": 0, "dtype": TensorProto.INT32, "zero": False},
        {"scales": (8, 3, 16, 4), "axis": 3, "block_size": 4},
        {"scales": (2, 3, 16, 16), "axis": 0, "block_size": 4},
        {"scales": (8, 3, 16, 4), "axis": 3, "block_size": 5},  # the last block is cut short
        {"scales": (8, 3, 16, 4), "axis": 3, "block_size": 4, "dtype": TensorProto.UINT4},
        {"shape": (8, 768), "scales": (8, 12), "axis": 1, "block_size": 64, "flat": KERNEL},
        {"shape": (8, 768), "scales": (8, 12), "axis": 1, "block_size": 64, "flat": (0, 3, -1, 16)},
        # A weight whose first side is 1: no batch to free.
        {"shape": (1, 6144), "scales": (1, 96), "axis": 1, "block_size": 64, "flat": KERNEL},
    ],
)
def test_folding_computes_what_the_engine_does(crops: np.ndarray, made: dict[str, object]) -> None:
    model = quantized(**made)  # type: ignore[arg-type]
    expected = run(model, crops[:1])
    converted = convert_ready_model(model.SerializeToString())
    assert [node.op_type for node in converted.graph.node] == ["Conv", "Flatten"]
    assert [entry.version for entry in converted.opset_import] == [18]
    (weights,) = converted.graph.initializer
    assert (weights.data_type, tuple(weights.dims)) == (TensorProto.FLOAT, KERNEL)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(run(converted, crops)[:1], expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_integers_that_flow_are_left_to_the_engine(crops: np.ndarray) -> None:
    tail = (
        helper.make_node("QuantizeLinear", ["features", "step"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["rounded", "step"], ["again"]),
    )
    model = quantized(scales=(8,), axis=0, opset=13, tail=tail)
    model.graph.initializer.append(numpy_helper.from_array(np.array(8, np.float32), "step"))
    converted = convert_ready_model(model.SerializeToString())
    operators = [node.op_type for node in converted.graph.node]
    assert operators == ["DequantizeLinear", "Conv", "Flatten", "QuantizeLinear", "DequantizeLinear"]
    np.testing.assert_array_equal(run(converted, crops[:1]), run(model, crops[:1]))


@pytest.mark.parametrize(
    "made",
    [
        {"scales": (7,), "axis": 0},
        {"scales": (8,), "axis": 4},
        {"scales": (8,), "axis": -5},
        {"scales": (8, 3, 16, 5), "axis": 3, "block_size": 4},
        {"scales": (8, 3, 16, 1), "axis": 3, "block_size": -16},
        {"scales": (2, 3, 16, 16), "axis": 3, "block_size": 4},
        {"shape": (8, 768), "scales": (8, 12), "axis": 1, "block_size": 64, "flat": (8, 3, 16, 17)},
        {"shape": (8, 768), "scales": (8, 12), "axis": 1, "block_size": 64, "flat": (8, 3, 16, 16, 0)},
    ],
)
def test_scales_that_do_not_fit_are_refused(made: dict[str, object]) -> None:
    with pytest.raises(ModelUnsupported, match="do not fit"):
        convert_ready_model(quantized(**made).SerializeToString())  # type: ignore[arg-type]


def test_a_huge_block_takes_no_room(crops: np.ndarray) -> None:
    model = quantized(scales=(8, 3, 16, 1), axis=3, block_size=1 << 60)
    weights = convert_ready_model(model.SerializeToString()).graph.initializer[0]
    assert len(weights.raw_data) == 4 * np.prod(KERNEL)


def test_zero_points_must_fit() -> None:
    for other in (np.zeros(8, np.uint8), np.zeros(7, np.int8)):
        model = quantized(scales=(8,), axis=0)
        model.graph.initializer[2].CopyFrom(numpy_helper.from_array(other, "zeros"))
        with pytest.raises(ModelUnsupported, match="do not fit"):
            convert_ready_model(model.SerializeToString())


def shortened(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = b"\1"


def negative(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -8


def without_inputs(model: onnx.ModelProto) -> None:
    del model.graph.node[0].input[:]


def without_values(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = ""


def without_output(model: onnx.ModelProto) -> None:
    del model.graph.node[0].output[:]


def odd_attribute(model: onnx.ModelProto) -> None:
    del model.graph.node[0].attribute[:]
    model.graph.node[0].attribute.append(helper.make_attribute("axis", "first"))


@pytest.mark.parametrize("spoil", [shortened, negative, without_inputs, without_values, without_output, odd_attribute])
def test_broken_weights_are_refused(spoil: Callable[[onnx.ModelProto], None]) -> None:
    model = quantized(scales=(8,), axis=0)
    spoil(model)
    with pytest.raises(ModelUnsupported):
        convert_ready_model(model.SerializeToString())


def test_weights_that_grow_too_large_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = quantized(scales=(8,), axis=0)
    monkeypatch.setattr(dequantize, "MAX_MODEL_BYTES", 4 * 8 * 3 * 16 * 16)
    convert_ready_model(model.SerializeToString())
    monkeypatch.setattr(dequantize, "MAX_MODEL_BYTES", 4 * 8 * 3 * 16 * 16 - 1)
    with pytest.raises(ModelUnsupported, match="as float32"):
        convert_ready_model(model.SerializeToString())


def test_scales_that_a_caller_gives_are_not_folded() -> None:
    model = quantized(scales=(8,), axis=0)
    del model.graph.initializer[1]
    model.graph.input.append(helper.make_tensor_value_info("scales", TensorProto.FLOAT, [8]))
    with pytest.raises(ModelUnsupported, match="DequantizeLinear"):
        convert_ready_model(model.SerializeToString())
