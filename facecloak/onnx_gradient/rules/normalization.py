"""Normalizations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facecloak.onnx_gradient.builder import GradientBuilder
from facecloak.onnx_gradient.graph import Node
from facecloak.onnx_gradient.rules.registry import constant, unary_rule, unsupported


@unary_rule("BatchNormalization")
def batch_normalization(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = (x - mean) k + bias with k = scale / sqrt(variance + epsilon), all constant: dx = k dy."""
    if node.attribute("training_mode", 0):
        raise unsupported(node, "training_mode")
    scale = constant(builder, node, 1).astype(np.float64)
    variance = constant(builder, node, 4).astype(np.float64)
    factor = scale / np.sqrt(variance + node.attribute("epsilon", 1e-5))
    rank = len(builder.shape(node.inputs[0]))
    return builder.mul(gradient, builder.floats(factor.reshape([-1] + [1] * (rank - 2))))


@unary_rule("InstanceNormalization")
def instance_normalization(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = scale z + bias with z = (x - mean) / deviation over the spatial axes of each channel."""
    rank = len(builder.shape(node.inputs[0]))
    scale = constant(builder, node, 1).reshape([-1] + [1] * (rank - 2))
    scaled = builder.mul(gradient, builder.floats(scale))
    return _standardize_back(builder, node, scaled, list(range(2, rank)))


@unary_rule("LayerNormalization")
def layer_normalization(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = scale z + bias with z = (x - mean) / deviation over the axes from ``axis`` on."""
    rank = len(builder.shape(node.inputs[0]))
    axis = node.attribute("axis", -1) % rank
    return _standardize_back(builder, node, builder.mul(gradient, node.inputs[1]), list(range(axis, rank)))


@unary_rule("LpNormalization")
def lp_normalization(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = x / |x|: dx = (dy - y sum(dy y)) / |x|."""
    if node.attribute("p", 2) != 2:
        raise unsupported(node, f"p={node.attribute('p')}")
    axes = [node.attribute("axis", -1)]
    output = node.outputs[0]
    along = builder.mul(output, builder.sum(builder.mul(gradient, output), axes))
    return builder.div(builder.sub(gradient, along), builder.norm(node.inputs[0], axes))


def _standardize_back(builder: GradientBuilder, node: Node, gradient: str, axes: Sequence[int]) -> str:
    """z = (x - mean) / deviation: dx = (dz - mean(dz) - z mean(dz z)) / deviation."""
    image = node.inputs[0]
    centered = builder.sub(image, builder.mean(image, axes))
    variance = builder.mean(builder.mul(centered, centered), axes)
    deviation = builder.op("Sqrt", builder.add(variance, builder.floats(node.attribute("epsilon", 1e-5))))
    standard = builder.div(centered, deviation)
    along = builder.mul(standard, builder.mean(builder.mul(gradient, standard), axes))
    return builder.div(builder.sub(builder.sub(gradient, builder.mean(gradient, axes)), along), deviation)
