"""From a published network to the one graph that FaceCloak serves.

``crops`` (N, 3, 112, 112) float32 RGB 0..255 -> the recognizer's own crop, colors and scale -> the network -> unit
length -> ``embedding`` (N, D). With everything inside, every recognizer is fed by the same aligned crop, gradients
reach the same pixels, and an inference server needs no client-side knowledge.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from facecloak.models.convert.graph_builder import BATCH, IR_VERSION, OPSET
from facecloak.models.crop import CROP_SIZE
from facecloak.models.errors import ModelUnsupported
from facecloak.models.spec import ColorOrder, RecognizerSpec

_MIN_NORM = 1e-6
"""Keeps a blank embedding finite; trained networks give norms of 1 to 100."""


def resampling_matrix(*, size: int, scale: float, offset: float) -> np.ndarray:
    """Bilinear resampling of one axis as a matrix (size, 112): ``new = matrix @ old``.

    Row u reads old position ``(u - offset) / scale``; outside the crop its border is repeated. When shrinking, the
    triangle is widened to one new px, which keeps fine detail from aliasing.
    """
    position = np.clip((np.arange(size) - offset) / scale, 0, CROP_SIZE - 1)
    distance = np.abs(position[:, None] - np.arange(CROP_SIZE)[None, :])
    weights = np.maximum(0.0, 1.0 - distance * min(scale, 1.0))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def prepare(network: onnx.ModelProto, spec: RecognizerSpec) -> onnx.ModelProto:
    """Wrap a network (opset 18, dynamic batch) as its spec says.

    Raises:
        ModelUnsupported: the network's input or output does not fit the spec.
    """
    image = _image_input(network, spec)
    output = _embedding_output(network, spec)
    network = compose.add_prefix(network, "net/", rename_functions=False)
    graph = network.graph
    weights: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, value: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    current = "crops"
    crop = spec.crop
    if not crop.is_identity:
        rows = resampling_matrix(size=crop.height, scale=crop.scale, offset=crop.offset_y)
        columns = resampling_matrix(size=crop.width, scale=crop.scale, offset=crop.offset_x)
        nodes.append(helper.make_node("MatMul", [current, constant("crop/columns", columns.T)], ["crop/wide"]))
        nodes.append(helper.make_node("MatMul", [constant("crop/rows", rows), "crop/wide"], ["crop/own"]))
        current = "crop/own"
    if (
        spec.preprocessing.color_order is not ColorOrder.RGB
        or any(spec.preprocessing.mean)
        or set(spec.preprocessing.scale) != {1.0}
    ):
        kernel, bias = _color_convolution(spec)
        inputs = [current, constant("color/kernel", kernel), constant("color/bias", bias)]
        nodes.append(helper.make_node("Conv", inputs, ["color/own"], kernel_shape=[1, 1]))
        current = "color/own"
    if image.channels_last:
        nodes.append(helper.make_node("Transpose", [current], ["color/last"], perm=[0, 2, 3, 1]))
        current = "color/last"
    if not nodes:
        nodes.append(helper.make_node("Identity", [current], ["color/own"]))
        current = "color/own"
    nodes[-1].output[0] = f"net/{image.name}"
    least = constant("unit/least", np.array(_MIN_NORM**2, np.float32))
    axis = constant("unit/axis", np.array([1], np.int64))
    ending = [
        helper.make_node("Flatten", [f"net/{output}"], ["unit/raw"], axis=1),
        helper.make_node("Mul", ["unit/raw", "unit/raw"], ["unit/squares"]),
        helper.make_node("ReduceSum", ["unit/squares", axis], ["unit/sum"], keepdims=1),
        helper.make_node("Add", ["unit/sum", least], ["unit/positive"]),
        helper.make_node("Sqrt", ["unit/positive"], ["unit/norm"]),
        helper.make_node("Div", ["unit/raw", "unit/norm"], ["embedding"]),
    ]
    for node in (*nodes, *ending):
        node.name = f"{node.output[0]}/node"
    body = helper.make_graph(
        [*nodes, *graph.node, *ending],
        spec.name,
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, [BATCH, 3, CROP_SIZE, CROP_SIZE])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [BATCH, spec.embedding_size])],
        [*weights, *graph.initializer],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="facecloak")
    model.ir_version = IR_VERSION
    model.functions.extend(network.functions)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # onnx raises its own classes and RuntimeError
        raise ModelUnsupported(f"{spec.name!r} does not fit its spec: {str(error)[:200]}", model=spec.name) from error
    return model


def _color_convolution(spec: RecognizerSpec) -> tuple[np.ndarray, np.ndarray]:
    """Channel order, mean and scale as one 1x1 convolution: kernel (3, 3, 1, 1) and bias (3,)."""
    prep = spec.preprocessing
    scale = np.asarray(prep.scale, np.float64)
    order = np.eye(3)[:, ::-1] if prep.color_order is ColorOrder.BGR else np.eye(3)
    kernel = (scale[:, None] * order)[:, :, None, None]
    return kernel.astype(np.float32), (-scale * np.asarray(prep.mean, np.float64)).astype(np.float32)


class _ImageInput:
    def __init__(self, name: str, *, channels_last: bool) -> None:
        self.name, self.channels_last = name, channels_last


def _image_input(network: onnx.ModelProto, spec: RecognizerSpec) -> _ImageInput:
    entry = next((e for e in network.graph.input if e.name == spec.input or not spec.input), None)
    if entry is None:
        raise ModelUnsupported(f"{spec.name!r} has no input {spec.input!r}", model=spec.name)
    shape = [side.dim_value for side in entry.type.tensor_type.shape.dim]
    own = (spec.crop.height, spec.crop.width)

    def fits(channels: int, height: int, width: int) -> bool:
        return channels in (0, 3) and height in (0, own[0]) and width in (0, own[1])

    if len(shape) == 4 and fits(shape[1], shape[2], shape[3]):
        return _ImageInput(entry.name, channels_last=False)
    if len(shape) == 4 and fits(shape[3], shape[1], shape[2]):
        return _ImageInput(entry.name, channels_last=True)
    raise ModelUnsupported(f"{spec.name!r} takes {shape}, its spec says {own[1]}x{own[0]} px", model=spec.name)


def _embedding_output(network: onnx.ModelProto, spec: RecognizerSpec) -> str:
    names = [entry.name for entry in network.graph.output]
    if spec.output and spec.output not in names:
        raise ModelUnsupported(f"{spec.name!r} has no output {spec.output!r}; it has {', '.join(names)}")
    if not spec.output and len(names) != 1:
        raise ModelUnsupported(f"{spec.name!r} has {len(names)} outputs: its spec must name one", model=spec.name)
    return spec.output or names[0]
