"""TensorFlow.js conversion against TensorFlow's definitions, written out in plain numpy loops (NHWC)."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import onnxruntime
import pytest

from facecloak.models.convert.tfjs import convert_graph_model
from facecloak.models.convert.tfjs_weights import decode_weights
from facecloak.models.errors import ModelUnsupported

IMAGE = np.random.default_rng(7).normal(size=(2, 7, 9, 3)).astype(np.float32)


class GraphModel:
    """Writes the JSON and the weights of a TensorFlow.js graph model."""

    def __init__(self, shape: tuple[int, ...] = (-1, 7, 9, 3)) -> None:
        dims = [{"size": str(side)} for side in shape]
        self.nodes: list[dict[str, Any]] = [
            {"name": "image", "op": "Placeholder", "attr": {"shape": {"shape": {"dim": dims}}}}
        ]
        self.specs: list[dict[str, Any]] = []
        self.data = b""

    def const(self, name: str, value: Any, dtype: str = "float32") -> str:
        array = np.asarray(value, {"float32": "<f4", "int32": "<i4"}[dtype])
        self.nodes.append({"name": name, "op": "Const"})
        self.specs.append({"name": name, "shape": list(array.shape), "dtype": dtype})
        self.data += array.tobytes()
        return name

    def op(self, operation: str, *inputs: str, name: str = "out", **attributes: Any) -> str:
        self.nodes.append({"name": name, "op": operation, "input": list(inputs), "attr": attributes})
        return name

    def run(self, *outputs: str, images: np.ndarray = IMAGE) -> list[np.ndarray]:
        wanted = {name: f"o_{i}" for i, name in enumerate(outputs or ("out",))}
        model = convert_graph_model(self.json(), {"w.bin": self.data}, outputs=wanted)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(list(wanted.values()), {"image": images.transpose(0, 3, 1, 2).copy()})

    def json(self) -> bytes:
        manifest = [{"paths": ["w.bin"], "weights": self.specs}]
        return json.dumps({"modelTopology": {"node": self.nodes}, "weightsManifest": manifest}).encode()


def text(value: str) -> dict[str, str]:
    return {"s": base64.b64encode(value.encode()).decode()}


def texts(*values: str) -> dict[str, Any]:
    return {"list": {"s": [text(value)["s"] for value in values]}}


def ints(*values: int) -> dict[str, Any]:
    return {"list": {"i": [str(value) for value in values]}}


def window(strides: int, padding: str, dilation: int = 1) -> dict[str, Any]:
    return {
        "strides": ints(1, strides, strides, 1),
        "dilations": ints(1, dilation, dilation, 1),
        "padding": text(padding),
        "data_format": text("NHWC"),
    }


def convolve(
    x: np.ndarray, k: np.ndarray, *, stride: int, same: bool, dilation: int = 1, depthwise: bool = False
) -> np.ndarray:
    """TensorFlow's conv2d / depthwise_conv2d by definition: SAME puts the odd px of padding below and right."""
    n, height, width, channels = x.shape
    kh, kw = k.shape[:2]
    reach_h, reach_w = (kh - 1) * dilation + 1, (kw - 1) * dilation + 1
    if same:
        oh, ow = -(-height // stride), -(-width // stride)
        ph, pw = max((oh - 1) * stride + reach_h - height, 0), max((ow - 1) * stride + reach_w - width, 0)
        x = np.pad(x, [(0, 0), (ph // 2, ph - ph // 2), (pw // 2, pw - pw // 2), (0, 0)])
    else:
        oh, ow = (height - reach_h) // stride + 1, (width - reach_w) // stride + 1
    out = np.zeros((n, oh, ow, channels * k.shape[3] if depthwise else k.shape[3]))
    for i in range(oh):
        for j in range(ow):
            patch = x[:, i * stride : i * stride + reach_h : dilation, j * stride : j * stride + reach_w : dilation]
            if depthwise:
                out[:, i, j] = np.einsum("nhwc,hwcm->ncm", patch, k).reshape(n, -1)
            else:
                out[:, i, j] = np.einsum("nhwc,hwco->no", patch, k)
    return out


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize(
    ("size", "stride", "padding", "dilation"),
    [(3, 1, "SAME", 1), (3, 2, "SAME", 1), (4, 2, "SAME", 1), (2, 2, "VALID", 1), (3, 1, "SAME", 2), (1, 2, "SAME", 1)],
)
def test_convolutions(size: int, stride: int, padding: str, dilation: int, depthwise: bool) -> None:
    kernel = np.random.default_rng(1).normal(size=(size, size, 3, 2)).astype(np.float32)
    graph = GraphModel()
    graph.const("k", kernel)
    operation = "DepthwiseConv2dNative" if depthwise else "Conv2D"
    graph.op(operation, "image", "k", **window(stride, padding, dilation))
    expected = convolve(IMAGE, kernel, stride=stride, same=padding == "SAME", dilation=dilation, depthwise=depthwise)
    np.testing.assert_allclose(graph.run()[0], expected, atol=1e-5)


@pytest.mark.parametrize("operation", ["_FusedConv2D", "FusedDepthwiseConv2dNative"])
@pytest.mark.parametrize(
    ("activation", "function"),
    [
        (None, lambda y: y),
        ("Relu", lambda y: np.maximum(y, 0)),
        ("Relu6", lambda y: np.clip(y, 0, 6)),
        ("Prelu", lambda y: np.where(y > 0, y, y * np.array([0.1, -0.2, 0.3]))),
    ],
)
def test_fused_convolutions(operation: str, activation: str | None, function: Any) -> None:
    depthwise = "Depthwise" in operation
    kernel = np.random.default_rng(2).normal(size=(3, 3, 3, 1 if depthwise else 3)).astype(np.float32)
    graph = GraphModel()
    inputs = ["image", graph.const("k", kernel), graph.const("b", [0.5, -1, 9])]
    fused = ["BiasAdd"]
    if activation:
        fused.append(activation)
    if activation == "Prelu":
        inputs.append(graph.const("a", np.array([0.1, -0.2, 0.3]).reshape(1, 1, 3)))
    graph.op(operation, *inputs, **window(2, "SAME"), fused_ops=texts(*fused))
    plain = convolve(IMAGE, kernel, stride=2, same=True, depthwise=depthwise) + np.array([0.5, -1, 9])
    np.testing.assert_allclose(graph.run()[0], function(plain), atol=1e-5)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("operation", ["MaxPool", "AvgPool"])
def test_pools_leave_the_padding_out(operation: str, padding: str) -> None:
    graph = GraphModel()
    graph.op(operation, "image", **window(2, padding), ksize=ints(1, 2, 2, 1))
    reduce = np.max if operation == "MaxPool" else np.mean
    rows, columns = (4, 5) if padding == "SAME" else (3, 4)
    expected = np.stack(
        [
            np.stack(
                [reduce(IMAGE[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2], axis=(1, 2)) for j in range(columns)], axis=1
            )
            for i in range(rows)
        ],
        axis=1,
    )
    np.testing.assert_allclose(graph.run()[0], expected, atol=1e-6)


def test_a_reshape_reads_channels_last() -> None:
    graph = GraphModel()
    graph.const("shape", [-1, 189], "int32")
    graph.op("Reshape", "image", "shape")
    np.testing.assert_array_equal(graph.run()[0], IMAGE.reshape(2, 189))


@pytest.mark.parametrize("target", [[1, 63, 3], [-1, 63, 3], [1, -1, 3]])
def test_a_batch_of_one_written_into_a_reshape_is_freed(target: list[int]) -> None:
    graph = GraphModel()
    graph.const("shape", target, "int32")
    graph.op("Reshape", "image", "shape")
    np.testing.assert_array_equal(graph.run()[0], IMAGE.reshape(2, 63, 3))


def test_a_reshape_whose_target_is_computed_from_the_batch() -> None:
    graph = GraphModel()
    for name, value in {"zero": [0], "one": [1], "step": [1]}.items():
        graph.const(name, value, "int32")
    graph.const("sides", 63, "int32")
    graph.const("channels", 3, "int32")
    graph.op("Shape", "image", name="shape")
    graph.op("StridedSlice", "shape", "zero", "one", "step", name="batch", shrink_axis_mask={"i": "1"})
    graph.op("Pack", "batch", "sides", "channels", name="target")
    graph.op("Reshape", "image", "target")
    np.testing.assert_array_equal(graph.run()[0], IMAGE.reshape(2, 63, 3))


def test_padding_of_sides_and_channels() -> None:
    graph = GraphModel()
    graph.const("p", [[0, 0], [1, 2], [0, 1], [0, 4]], "int32")
    graph.op("Pad", "image", "p")
    np.testing.assert_array_equal(graph.run()[0], np.pad(IMAGE, [(0, 0), (1, 2), (0, 1), (0, 4)]))


@pytest.mark.parametrize(
    ("operation", "axes", "keep"),
    [("Mean", [1, 2], False), ("Mean", [1, 2], True), ("Sum", [3], False), ("Mean", [2], False), ("Sum", [-1], True)],
)
def test_reductions(operation: str, axes: list[int], keep: bool) -> None:
    graph = GraphModel()
    graph.const("axes", axes, "int32")
    graph.op(operation, "image", "axes", keep_dims={"b": keep})
    function = np.mean if operation == "Mean" else np.sum
    np.testing.assert_allclose(graph.run()[0], function(IMAGE, axis=tuple(axes), keepdims=keep), atol=1e-5)


@pytest.mark.parametrize(
    ("operation", "function"),
    [
        ("Add", np.add),
        ("AddV2", np.add),
        ("Sub", np.subtract),
        ("Mul", np.multiply),
        ("RealDiv", np.divide),
        ("Maximum", np.maximum),
        ("Minimum", np.minimum),
    ],
)
@pytest.mark.parametrize("constant", [2.0, [1.0, -2.0, 3.0], np.full((1, 7, 9, 3), 1.5)])
@pytest.mark.parametrize("constant_first", [False, True])
def test_arithmetic_broadcasts_over_channels(
    operation: str,
    function: Any,
    constant: Any,
    constant_first: bool,
) -> None:
    graph = GraphModel()
    graph.const("c", constant)
    operands = ["c", "image"] if constant_first else ["image", "c"]
    graph.op(operation, *operands)
    values = {"c": np.asarray(constant, np.float32), "image": IMAGE}
    np.testing.assert_allclose(graph.run()[0], function(*(values[name] for name in operands)), rtol=1e-5)


@pytest.mark.parametrize(
    ("operation", "function"),
    [
        ("Relu", lambda x: np.maximum(x, 0)),
        ("Relu6", lambda x: np.clip(x, 0, 6)),
        ("LeakyRelu", lambda x: np.where(x > 0, x, 0.2 * x)),
        ("Sigmoid", lambda x: 1 / (1 + np.exp(-x))),
        ("Tanh", np.tanh),
        ("Abs", np.abs),
        ("Neg", np.negative),
        ("Square", np.square),
        ("Softmax", lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
        ("Identity", lambda x: x),
    ],
)
def test_functions_of_one_value(operation: str, function: Any) -> None:
    graph = GraphModel()
    graph.op(operation, "image")
    np.testing.assert_allclose(graph.run()[0], function(IMAGE), atol=1e-6)


def test_rsqrt() -> None:
    graph = GraphModel()
    graph.op("Rsqrt", "image")
    image = np.abs(IMAGE) + 0.1
    np.testing.assert_allclose(graph.run(images=image)[0], 1 / np.sqrt(image), rtol=1e-5)


def test_dense_layers_after_flattening() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(189, 8)).astype(np.float32), rng.normal(size=(4, 8)).astype(np.float32)
    graph = GraphModel()
    graph.const("shape", [-1, 189], "int32")
    graph.op("Reshape", "image", "shape", name="row")
    graph.op("_FusedMatMul", "row", graph.const("m", first), graph.const("b", np.arange(8)), name="hidden",
             fused_ops=texts("BiasAdd", "Relu"))  # fmt: skip
    graph.op("MatMul", "hidden", graph.const("n", second), transpose_b={"b": True})
    hidden = np.maximum(IMAGE.reshape(2, 189) @ first + np.arange(8), 0)
    np.testing.assert_allclose(graph.run()[0], hidden @ second.T, rtol=1e-4, atol=1e-4)


def test_joining_squeezing_turning() -> None:
    graph = GraphModel()
    graph.const("axis", 3, "int32")
    graph.const("perm", [0, 2, 1, 3], "int32")
    graph.const("axes", [1, 2], "int32")
    graph.const("last", -1, "int32")
    graph.op("ConcatV2", "image", "image", "axis", name="joined")
    graph.op("Transpose", "joined", "perm", name="turned")
    graph.op("Mean", "joined", "axes", name="pooled", keep_dims={"b": True})
    graph.op("Squeeze", "pooled", name="flat", squeeze_dims=ints(1, 2))
    graph.op("ExpandDims", "flat", "last", name="deep")
    joined = np.concatenate([IMAGE, IMAGE], axis=3)
    turned, flat, deep = graph.run("turned", "flat", "deep")
    np.testing.assert_array_equal(turned, joined.transpose(0, 2, 1, 3))
    np.testing.assert_allclose(flat, joined.mean((1, 2)), atol=1e-6)
    np.testing.assert_allclose(deep, joined.mean((1, 2))[..., None], atol=1e-6)


def test_depth_to_space() -> None:
    images = np.arange(2 * 2 * 2 * 8, dtype=np.float32).reshape(2, 2, 2, 8)
    graph = GraphModel((-1, 2, 2, 8))
    graph.op("DepthToSpace", "image", block_size={"i": "2"})
    expected = images.reshape(2, 2, 2, 2, 2, 2).transpose(0, 1, 3, 2, 4, 5).reshape(2, 4, 4, 2)
    np.testing.assert_array_equal(graph.run(images=images)[0], expected)


@pytest.mark.parametrize(("corners", "half"), [(False, True), (False, False), (True, False)])
def test_bilinear_resizing(corners: bool, half: bool) -> None:
    graph = GraphModel()
    graph.const("size", [14, 18], "int32")
    graph.op("ResizeBilinear", "image", "size", align_corners={"b": corners}, half_pixel_centers={"b": half})

    def axis(new: int, old: int) -> np.ndarray:
        grid = np.arange(new)
        position = (
            grid * (old - 1) / (new - 1) if corners else (grid + 0.5) * old / new - 0.5 if half else grid * old / new
        )
        position = np.clip(position, 0, old - 1)
        return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(old)))

    expected = np.einsum("ih,jw,nhwc->nijc", axis(14, 7), axis(18, 9), IMAGE)
    np.testing.assert_allclose(graph.run()[0], expected, atol=1e-5)


def test_only_what_the_outputs_need_must_be_known() -> None:
    graph = GraphModel()
    graph.op("Relu", "image")
    graph.op("NonMaxSuppressionV5", "out", name="boxes")
    np.testing.assert_array_equal(graph.run()[0], np.maximum(IMAGE, 0))
    with pytest.raises(ModelUnsupported, match="NonMaxSuppressionV5"):
        graph.run("boxes")


def test_a_graph_that_reads_itself_is_refused() -> None:
    graph = GraphModel()
    graph.op("Relu", "b", name="a")
    graph.op("Relu", "a", name="b")
    with pytest.raises(ModelUnsupported, match="depends on itself"):
        graph.run("a")


@pytest.mark.parametrize(
    "document",
    [b"", b"{}", b"[]", b'{"modelTopology": {"node": 3}, "weightsManifest": []}', b"[" * 100_000, b"\xff"],
)
def test_what_is_no_graph_model_is_refused(document: bytes) -> None:
    with pytest.raises(ModelUnsupported):
        convert_graph_model(document, {})


@pytest.mark.parametrize(
    ("quantization", "stored"),
    [({"dtype": "uint8", "scale": 0.5, "min": -1.0}, "u1"), ({"dtype": "uint16", "scale": 0.5, "min": -1.0}, "<u2")],
)
def test_quantized_weights_are_scaled_back(quantization: dict, stored: str) -> None:
    manifest = [
        {
            "paths": ["a", "b"],
            "weights": [{"name": "w", "shape": [2, 2], "dtype": "float32", "quantization": quantization}],
        }
    ]
    data = np.array([0, 1, 2, 255], stored).tobytes()
    weights = decode_weights(manifest, {"a": data[:1], "b": data[1:]})["w"]
    np.testing.assert_array_equal(weights, [[-1, -0.5], [0, 126.5]])
    assert weights.dtype == np.float32


def test_half_precision_weights() -> None:
    manifest = [{"paths": ["a"], "weights": [
        {"name": "w", "shape": [2], "dtype": "float32", "quantization": {"dtype": "float16"}},
        {"name": "n", "shape": [], "dtype": "int32"},
    ]}]  # fmt: skip
    weights = decode_weights(manifest, {"a": np.array([1.5, -2], "<f2").tobytes() + np.array(7, "<i4").tobytes()})
    np.testing.assert_array_equal(weights["w"], [1.5, -2])
    assert weights["n"] == 7


@pytest.mark.parametrize("length", [0, 7, 9, 100])
def test_weights_that_do_not_fit_their_manifest_are_refused(length: int) -> None:
    manifest = [{"paths": ["a"], "weights": [{"name": "w", "shape": [2], "dtype": "float32"}]}]
    with pytest.raises(ModelUnsupported):
        decode_weights(manifest, {"a": bytes(length)})


def test_a_missing_weight_file_and_an_unknown_type_are_refused() -> None:
    weight = {"name": "w", "shape": [2], "dtype": "float32"}
    with pytest.raises(ModelUnsupported):
        decode_weights([{"paths": ["a"], "weights": [weight]}], {})
    with pytest.raises(ModelUnsupported):
        decode_weights([{"paths": ["a"], "weights": [{**weight, "dtype": "string"}]}], {"a": bytes(8)})
