"""Whole networks of the kinds that face recognizers are, with random weights, against torch autograd."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from .graphs import GraphMaker, assert_gradient_agrees


def block(
    g: GraphMaker, x: str, inputs: int, outputs: int, size: int = 3, *, stride: int = 1, pad: int | None = None,
    groups: int = 1, active: bool = True,
) -> str:  # fmt: skip
    x = g.conv(x, inputs, outputs, size, stride=stride, pad=pad, groups=groups, bias=False)
    x = g.batch_norm(x, outputs)
    return g.op("PRelu", x, g.uniform(0.05, 0.4, outputs, 1, 1)) if active else x


def bottleneck(g: GraphMaker, x: str, inputs: int, outputs: int, expanded: int, *, stride: int = 1) -> str:
    y = block(g, x, inputs, expanded, 1)
    y = block(g, y, expanded, expanded, stride=stride, groups=expanded)
    y = block(g, y, expanded, outputs, 1, active=False)
    return g.op("Add", x, y) if stride == 1 and inputs == outputs else y


def pixels(g: GraphMaker) -> str:
    """BGR pixels around zero: what most recognizers read."""
    x = g.op("Gather", "crops", g.integers(2, 1, 0), axis=1)
    return g.op("Mul", g.op("Sub", x, g.constant(127.5)), g.constant(1 / 128))


def mobile_face_net() -> onnx.ModelProto:
    """Depthwise bottlenecks with a global depthwise convolution (arXiv:1804.07573), fewer of them."""
    g = GraphMaker(seed=1)
    x = block(g, pixels(g), 3, 32, stride=2)
    x = block(g, x, 32, 32, groups=32)
    for inputs, outputs, stride in ((32, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 1), (64, 64, 2)):
        x = bottleneck(g, x, inputs, outputs, 2 * inputs, stride=stride)
    x = block(g, x, 64, 128, 1)
    x = block(g, x, 128, 128, 7, pad=0, groups=128, active=False)
    x = g.batch_norm(g.op("Gemm", g.op("Flatten", x), g.normal(128, 128, scale=0.1), transB=1), 128)
    return g.model(g.normalize(x))


def squeeze_excite(g: GraphMaker, x: str, channels: int) -> str:
    gate = g.op("Relu", g.conv(g.op("GlobalAveragePool", x), channels, channels // 4, 1))
    return g.op("Mul", x, g.op("Sigmoid", g.conv(gate, channels // 4, channels, 1)))


def improved_residual_net() -> onnx.ModelProto:
    """ArcFace's IR blocks with squeeze and excitation (arXiv:1801.07698), fewer and narrower."""
    g = GraphMaker(seed=2)
    x = block(g, pixels(g), 3, 16)
    inputs = 16
    for outputs, stride in ((16, 2), (32, 2), (32, 1), (48, 2), (48, 1), (64, 2)):
        y = block(g, g.batch_norm(x, inputs), inputs, outputs)
        y = g.batch_norm(g.conv(y, outputs, outputs, stride=stride, bias=False), outputs)
        y = squeeze_excite(g, y, outputs)
        shortcut = (
            x if (inputs, stride) == (outputs, 1) else block(g, x, inputs, outputs, 1, stride=stride, active=False)
        )
        x, inputs = g.op("Add", y, shortcut), outputs
    x = g.op("Flatten", g.op("Dropout", g.batch_norm(x, inputs)))
    x = g.op("Gemm", x, g.normal(64, inputs * 49, scale=0.02), g.normal(64), transB=1)
    return g.model(g.normalize(g.batch_norm(x, 64)))


def own_crop_net() -> onnx.ModelProto:
    """A recognizer that resamples the crop by products with constant matrices; ReLU6 as Min and Max; own padding."""
    g = GraphMaker(seed=3)
    matrix = np.zeros((75, 112), np.float32)
    at = np.clip(np.arange(75) * 1.4 + 3.2, 0, 111)
    matrix[np.arange(75), np.floor(at).astype(int)] = 1 - at % 1
    matrix[np.arange(75), np.minimum(np.floor(at).astype(int) + 1, 111)] += at % 1
    x = g.op("MatMul", g.op("MatMul", g.constant(matrix), pixels(g)), g.constant(matrix.T))
    inputs = 3
    for outputs, stride in ((16, 2), (32, 2), (32, 1), (64, 2)):
        if stride > 1:
            x = g.op("Pad", x, g.integers(0, 0, 0, 0, 0, 0, 1, 1))
        x = g.conv(x, inputs, outputs, stride=stride, pad=int(stride == 1), bias=False)
        x = g.op("Add", g.op("Mul", x, g.uniform(0.5, 1.5, 1, outputs, 1, 1)), g.normal(1, outputs, 1, 1))
        x = g.op("Min", g.op("Relu", x), g.constant(6.0))
        x = g.op("Max", g.op("Min", x, g.constant(5.5)), g.constant(0.05))
        inputs = outputs
    x = g.op("ReduceMean", x, g.integers(2, 3), keepdims=0)
    return g.model(g.project(x, 64))


def kitchen_sink() -> onnx.ModelProto:
    """The odd operators together, branching and joining."""
    g = GraphMaker(seed=4)
    x = g.conv(pixels(g), 3, 16, 5, stride=2)
    x = g.op("Mul", x, g.op("Sigmoid", x))
    x = g.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    x = g.op("Clip", g.conv(x, 16, 32, stride=2), g.constant(0.0), g.constant(6.0))
    x = g.op("HardSwish", g.conv(squeeze_excite(g, x, 32), 32, 32, groups=4))
    y = g.op("Conv", x, g.normal(32, 32, 3, 3, scale=0.1), dilations=[2, 2], pads=[2, 2, 2, 2], kernel_shape=[3, 3])
    first, second = g.ops("Split", g.op("LeakyRelu", y, alpha=0.1), g.integers(12, 20), outputs=2, axis=1)
    gate = g.op("ReduceMean", second, g.integers(1), keepdims=1)
    x = g.op("Concat", g.op("Mul", x, gate), g.op("Tanh", first), g.op("Elu", second), axis=1)
    x = g.op("AveragePool", g.op("Pad", x, g.integers(0, 0, 1, 1, 0, 0, 0, 0)), kernel_shape=[2, 2])
    x = g.conv(x, 64, 64, 4, stride=3, pad=1)
    half = g.op("Add", g.op("Erf", g.op("Mul", x, g.constant(0.5**0.5))), g.constant(1.0))
    x = g.op("Mul", g.op("Mul", x, g.constant(0.5)), half)
    x = g.op("Reshape", g.op("Transpose", x, perm=[0, 2, 3, 1]), g.integers(0, -1, 64))
    x = g.op("MatMul", x, g.normal(64, 64, scale=0.1))
    attention = g.op("MatMul", x, g.op("Transpose", x, perm=[0, 2, 1]))
    x = g.op("MatMul", g.op("Softmax", g.op("Mul", attention, g.constant(0.1))), x)
    x = g.op("Div", x, g.op("Sqrt", g.op("Add", g.op("Pow", x, g.constant(2.0)), g.constant(1.0))))
    return g.model(g.project(g.op("ReduceSum", x, g.integers(1), keepdims=0), 64))


NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    "MobileFaceNet": mobile_face_net,
    "IR-SE": improved_residual_net,
    "own crop": own_crop_net,
    "kitchen sink": kitchen_sink,
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS.keys())
@pytest.mark.parametrize("rows", [1, 3])
def test_network_agrees_with_torch(
    network: Callable[[], onnx.ModelProto], rows: int, generator: np.random.Generator
) -> None:
    crops = generator.uniform(0, 255, (rows, 3, 112, 112)).astype(np.float32)
    assert_gradient_agrees(network(), crops, generator=generator)
