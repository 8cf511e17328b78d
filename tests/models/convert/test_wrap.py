"""The served graph against the same preprocessing done by hand with numpy and OpenCV."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from facecloak.models.convert.onnx_file import convert_ready_model
from facecloak.models.convert.wrap import prepare, resampling_matrix
from facecloak.models.crop import CropTransform
from facecloak.models.errors import ModelUnsupported
from facecloak.models.spec import ColorOrder, Preprocessing, RecognizerSpec

NetworkMaker = Callable[..., onnx.ModelProto]

DLIB = CropTransform(width=150, height=150, scale=1.5019, offset_x=-8.70, offset_y=-31.40)
DOUBLE = CropTransform(width=224, height=224, scale=2.0, offset_x=0.5, offset_y=0.5)
SHIFTED = CropTransform(width=112, height=112, scale=1.0, offset_x=3.25, offset_y=-2.5)
RAW = Preprocessing()
ARCFACE = Preprocessing(ColorOrder.RGB, mean=(127.5,) * 3, scale=(1 / 127.5,) * 3)
BGR = Preprocessing(ColorOrder.BGR, mean=(103.94, 116.78, 123.68), scale=(1.0, 0.5, 0.25))


def run(model: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


def by_hand(crops: np.ndarray, crop: CropTransform, prep: Preprocessing) -> np.ndarray:
    """(N, H, W, 3) in the network's own colors and scale, by cv2.warpAffine."""
    matrix = np.array([[crop.scale, 0, crop.offset_x], [0, crop.scale, crop.offset_y]])
    images = [
        cv2.warpAffine(
            image, matrix, (crop.width, crop.height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        for image in crops.transpose(0, 2, 3, 1)
    ]
    own = np.stack(images)
    if prep.color_order is ColorOrder.BGR:
        own = own[..., ::-1]
    return (own - np.array(prep.mean, np.float32)) * np.array(prep.scale, np.float32)


@pytest.mark.parametrize("crop", [CropTransform(), DLIB, DOUBLE, SHIFTED], ids=["own", "dlib", "double", "shifted"])
@pytest.mark.parametrize("prep", [RAW, ARCFACE, BGR], ids=["raw", "arcface", "bgr"])
def test_the_served_graph_equals_preprocessing_by_hand(
    make_network: NetworkMaker, crops: np.ndarray, crop: CropTransform, prep: Preprocessing
) -> None:
    network = convert_ready_model(make_network(size=crop.width).SerializeToString())
    spec = RecognizerSpec(name="net", crop=crop, preprocessing=prep, embedding_size=16)
    own = by_hand(crops, crop, prep).transpose(0, 3, 1, 2)
    expected = run(network, np.ascontiguousarray(own, np.float32))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    # OpenCV's warp keeps positions to 1/32 px; the matrices keep them in full.
    tolerance = 1e-5 if crop.is_identity else 5e-3
    np.testing.assert_allclose(run(prepare(network, spec), crops), expected, atol=tolerance)


@pytest.mark.parametrize("crop", [DLIB, DOUBLE, SHIFTED], ids=["dlib", "double", "shifted"])
def test_resampling_matrices_are_bilinear_with_repeated_border(crops: np.ndarray, crop: CropTransform) -> None:
    rows = resampling_matrix(size=crop.height, scale=crop.scale, offset=crop.offset_y)
    columns = resampling_matrix(size=crop.width, scale=crop.scale, offset=crop.offset_x)
    ours = (rows @ crops[0] @ columns.T).transpose(1, 2, 0)
    theirs = by_hand(crops[:1], crop, RAW)[0]
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-6)
    assert np.abs(ours - theirs).max() < 1.0  # of 255 levels; cv2 rounds positions to 1/32 px


def test_shrinking_averages_instead_of_skipping() -> None:
    stripes = np.tile([0.0, 255.0], 56)
    small = resampling_matrix(size=56, scale=0.5, offset=-0.25) @ stripes
    assert np.abs(small[1:-1] - 127.5).max() < 1


@pytest.mark.parametrize("channels_last", [False, True])
def test_channels_last_networks_are_turned(make_network: NetworkMaker, crops: np.ndarray, channels_last: bool) -> None:
    spec = RecognizerSpec(name="net", preprocessing=ARCFACE, embedding_size=16)
    plain = prepare(convert_ready_model(make_network().SerializeToString()), spec)
    other = prepare(convert_ready_model(make_network(channels_last=channels_last).SerializeToString()), spec)
    np.testing.assert_allclose(run(other, crops), run(plain, crops), atol=1e-6)


def test_the_served_graph_has_the_agreed_signature(make_network: NetworkMaker, crops: np.ndarray) -> None:
    model = prepare(convert_ready_model(make_network().SerializeToString()), RecognizerSpec("net", embedding_size=16))
    assert [entry.name for entry in model.graph.input] == ["crops"]
    assert [entry.name for entry in model.graph.output] == ["embedding"]
    assert [entry.version for entry in model.opset_import if not entry.domain] == [18]
    embedding = run(model, crops)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([run(model, crops[i : i + 1]) for i in range(3)]), embedding, atol=1e-6)


def test_a_blank_embedding_stays_finite(make_network: NetworkMaker, crops: np.ndarray) -> None:
    network = make_network()
    next(t for t in network.graph.initializer if t.name == "matrix").ClearField("raw_data")
    tensor = next(t for t in network.graph.initializer if t.name == "matrix")
    tensor.raw_data = bytes(4 * int(np.prod(tensor.dims)))
    model = prepare(convert_ready_model(network.SerializeToString()), RecognizerSpec("net", embedding_size=16))
    np.testing.assert_array_equal(run(model, crops), np.zeros((3, 16)))


def test_a_network_that_does_not_fit_its_spec_is_refused(make_network: NetworkMaker) -> None:
    network = convert_ready_model(make_network().SerializeToString())
    with pytest.raises(ModelUnsupported, match="150x150"):
        prepare(network, RecognizerSpec("net", crop=DLIB, embedding_size=16))
    with pytest.raises(ModelUnsupported, match="no input"):
        prepare(network, RecognizerSpec("net", input="data", embedding_size=16))
    with pytest.raises(ModelUnsupported, match="it has features"):
        prepare(network, RecognizerSpec("net", output="fc1", embedding_size=16))
    with pytest.raises(ModelUnsupported):
        prepare(network, RecognizerSpec("net", embedding_size=17))


# Ready ONNX


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 18])
def test_any_older_opset_becomes_18_with_a_free_batch(
    make_network: NetworkMaker, crops: np.ndarray, opset: int
) -> None:
    original = make_network(opset=opset)
    one = run(original, crops[:1])
    converted = convert_ready_model(original.SerializeToString())
    assert [entry.version for entry in converted.opset_import] == [18]
    three = run(converted, crops)
    assert three.shape == (3, 16)
    np.testing.assert_allclose(three[:1], one, rtol=1e-5, atol=1e-5)


def test_weights_listed_as_inputs_are_no_inputs(make_network: NetworkMaker) -> None:
    network = make_network()
    for tensor in network.graph.initializer:
        network.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    assert [entry.name for entry in convert_ready_model(network.SerializeToString()).graph.input] == ["image"]


def test_an_input_that_nothing_reads_is_no_input(make_network: NetworkMaker) -> None:
    network = make_network()
    network.graph.input.append(helper.make_tensor_value_info("kernel_before_quantizing", 1, [4, 3, 8, 8]))
    assert [entry.name for entry in convert_ready_model(network.SerializeToString()).graph.input] == ["image"]


def test_only_the_wanted_outputs_are_kept(make_network: NetworkMaker) -> None:
    network = make_network()
    network.graph.output.append(helper.make_tensor_value_info("relu", 1, [1, 4, 14, 14]))
    converted = convert_ready_model(network.SerializeToString(), outputs=["relu"])
    assert [entry.name for entry in converted.graph.output] == ["relu"]
    assert [node.op_type for node in converted.graph.node] == ["Conv", "PRelu"]
    assert {tensor.name for tensor in converted.graph.initializer} == {"kernel", "bias", "slope"}
    with pytest.raises(ModelUnsupported, match="no output"):
        convert_ready_model(network.SerializeToString(), outputs=["nothing"])


def external(network: onnx.ModelProto) -> onnx.ModelProto:
    tensor = network.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return network


def custom(network: onnx.ModelProto) -> onnx.ModelProto:
    network.graph.node[1].domain = "com.example"
    return network


def two_inputs(network: onnx.ModelProto) -> onnx.ModelProto:
    network.graph.input.append(helper.make_tensor_value_info("second", 1, [1]))
    network.graph.node[0].output[0] = "one"
    network.graph.node.insert(1, helper.make_node("Add", ["one", "second"], ["conv"]))
    return network


def half(network: onnx.ModelProto) -> onnx.ModelProto:
    network.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    return network


def newer(network: onnx.ModelProto) -> onnx.ModelProto:
    network.opset_import[0].version = 22
    return network


@pytest.mark.parametrize("spoil", [external, custom, two_inputs, half, newer])
def test_unusable_models_are_refused(make_network: NetworkMaker, spoil: Callable[..., onnx.ModelProto]) -> None:
    with pytest.raises(ModelUnsupported):
        convert_ready_model(spoil(make_network()).SerializeToString())


@pytest.mark.parametrize("data", [b"", b"not onnx", b"\x08\x08", bytes(1000)])
def test_what_is_not_onnx_is_refused(data: bytes) -> None:
    with pytest.raises(ModelUnsupported):
        convert_ready_model(data)


def test_a_cut_file_is_refused(make_network: NetworkMaker) -> None:
    data = make_network().SerializeToString()
    with pytest.raises(ModelUnsupported):
        convert_ready_model(data[: len(data) // 2])
