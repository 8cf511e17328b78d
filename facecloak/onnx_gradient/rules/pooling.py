"""Pooling."""

from __future__ import annotations

import itertools

import numpy as np

from facecloak.onnx_gradient.builder import GradientBuilder
from facecloak.onnx_gradient.graph import Node
from facecloak.onnx_gradient.rules.convolution import Window, convolve_back, spatial
from facecloak.onnx_gradient.rules.reduction import spread
from facecloak.onnx_gradient.rules.registry import unary_rule, unsupported


@unary_rule("GlobalAveragePool")
def global_average_pool(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = mean of each channel: dx = dy / n, repeated."""
    shape = builder.shape(node.inputs[0])
    count = int(np.prod(spatial(shape, node)))
    return spread(builder, gradient, shape, list(range(2, len(shape))), 1 / count, node=node)


@unary_rule("GlobalMaxPool")
def global_max_pool(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = maximum of each channel: dy goes to the elements that equal y, in equal parts."""
    axes = list(range(2, len(builder.shape(node.inputs[0]))))
    hits = builder.mask(builder.op("Equal", node.inputs[0], node.outputs[0]))
    return builder.mul(hits, builder.div(gradient, builder.sum(hits, axes)))


@unary_rule("AveragePool")
def average_pool(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = sum of the window / count: dx = sum over the windows that hold x of dy / count."""
    if node.attribute("ceil_mode", 0):
        raise unsupported(node, "ceil_mode")
    shape = builder.shape(node.inputs[0])
    image, output = spatial(shape, node), spatial(builder.shape(node.outputs[0]), node)
    window = Window.of(node, tuple(node.attribute("kernel_shape")), image, output)
    shares = _shares(window, image, output, padding_counts=bool(node.attribute("count_include_pad", 0)))
    if window.strides == window.size and not any((*window.before, *window.after)) and max(window.dilations) == 1:
        return _repeat_in_blocks(builder, gradient, channels=shape[1] or 0, window=window, image=image, output=output)
    if np.ptp(shares) == 0:
        weight = float(shares.flat[0])
    else:
        weight = 1.0
        gradient = builder.mul(gradient, builder.floats(shares))
    channels = shape[1] or 0
    plane = builder.floats(np.full((channels, 1, *window.size), weight))
    return convolve_back(builder, gradient, plane, window, image=image, output=output, groups=channels)


@unary_rule("MaxPool")
def max_pool(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = x at the maximum's index: dx = dy added up at the indices, which the forward node is made to report."""
    if node.attribute("storage_order", 0):
        raise unsupported(node, "storage_order")
    if len(node.outputs) == 1:
        node.outputs.append(f"{node.outputs[0]}/indices")
    flat = builder.integers([-1])
    shape = builder.op("Shape", node.inputs[0])
    zeros = builder.op("ConstantOfShape", builder.op("ReduceProd", shape, keepdims=1))
    indices, gradient = (builder.op("Reshape", name, flat) for name in (node.outputs[1], gradient))
    added = builder.op("ScatterElements", zeros, indices, gradient, axis=0, reduction="add")
    return builder.op("Reshape", added, shape)


def _shares(window: Window, image: tuple[int, ...], output: tuple[int, ...], *, padding_counts: bool) -> np.ndarray:
    """1 / (number of elements averaged) for each window, of shape ``output``."""
    counts = np.ones(output)
    for axis, (side, out) in enumerate(zip(image, output, strict=True)):
        starts = np.arange(out) * window.strides[axis] - window.before[axis]
        elements = starts[:, None] + np.arange(window.size[axis]) * window.dilations[axis]
        inside = np.ones_like(elements) if padding_counts else (elements >= 0) & (elements < side)
        shape = [1] * len(output)
        shape[axis] = out
        counts = counts * inside.sum(axis=1).reshape(shape)
    return 1 / counts


def _repeat_in_blocks(
    builder: GradientBuilder,
    gradient: str,
    *,
    channels: int,
    window: Window,
    image: tuple[int, ...],
    output: tuple[int, ...],
) -> str:
    """Windows that touch but do not overlap: each gradient fills its block; what no window reached is zero."""
    split = list(itertools.chain.from_iterable((out, 1) for out in output))
    block = list(itertools.chain.from_iterable((1, size) for size in window.size))
    spaced = builder.reshape(gradient, (None, channels, *split))
    filled = builder.mul(spaced, builder.floats(np.full([1, 1, *block], 1 / np.prod(window.size))))
    covered = [out * size for out, size in zip(output, window.size, strict=True)]
    whole = builder.reshape(filled, (None, channels, *covered))
    rest = [side - done for side, done in zip(image, covered, strict=True)]
    if not any(rest):
        return whole
    return builder.op("Pad", whole, builder.integers([0, 0, *[0] * len(rest), 0, 0, *rest]))
