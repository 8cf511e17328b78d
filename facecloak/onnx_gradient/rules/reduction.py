"""Reductions along axes."""

from __future__ import annotations

import numpy as np

from facecloak.onnx_gradient.builder import TINY, GradientBuilder
from facecloak.onnx_gradient.graph import Node
from facecloak.onnx_gradient.rules.registry import constant, unary_rule, unsupported
from facecloak.onnx_gradient.shapes import Shape


def _axes(builder: GradientBuilder, node: Node) -> list[int]:
    """Axes that a node reduces, as non-negative numbers."""
    rank = len(builder.shape(node.inputs[0]))
    if node.input(1):
        axes = [int(axis) for axis in constant(builder, node, 1).reshape(-1)]
    else:
        axes = node.attribute("axes", [])
    if not axes and not node.attribute("noop_with_empty_axes", 0):
        axes = list(range(rank))
    return sorted(axis % rank for axis in axes)


def _with_reduced_axes(builder: GradientBuilder, node: Node, reduced: str) -> str:
    """Give a reduced tensor (the output or its gradient) its reduced axes back, with size 1."""
    if node.attribute("keepdims", 1):
        return reduced
    axes = _axes(builder, node)
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(builder.shape(node.inputs[0])))
    return builder.reshape(reduced, shape)


def spread(builder: GradientBuilder, gradient: str, shape: Shape, axes: list[int], factor: float, *, node: Node) -> str:
    """Repeat a gradient of size 1 along ``axes`` to ``shape``, times a factor: a product with a constant plane."""
    sizes = [shape[axis] if axis in axes else 1 for axis in range(len(shape))]
    if None in sizes:
        raise unsupported(node, "over the batch")
    return builder.mul(gradient, builder.floats(np.full([size or 1 for size in sizes], factor)))


@unary_rule("ReduceSum")
def reduce_sum(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = sum(x): dx = dy, repeated."""
    gradient = _with_reduced_axes(builder, node, gradient)
    return spread(builder, gradient, builder.shape(node.inputs[0]), _axes(builder, node), 1.0, node=node)


@unary_rule("ReduceMean")
def reduce_mean(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = sum(x) / n: dx = dy / n, repeated."""
    gradient = _with_reduced_axes(builder, node, gradient)
    shape, axes = builder.shape(node.inputs[0]), _axes(builder, node)
    count = int(np.prod([shape[axis] or 1 for axis in axes]))
    return spread(builder, gradient, shape, axes, 1 / count, node=node)


@unary_rule("ReduceSumSquare")
def reduce_sum_square(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = sum(x^2): dx = 2 x dy."""
    return builder.mul(builder.scale(node.inputs[0], 2.0), _with_reduced_axes(builder, node, gradient))


@unary_rule("ReduceL1")
def reduce_l1(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = sum(|x|): dx = sign(x) dy."""
    return builder.mul(builder.op("Sign", node.inputs[0]), _with_reduced_axes(builder, node, gradient))


@unary_rule("ReduceL2")
def reduce_l2(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = sqrt(sum(x^2)): dx = x dy / y, and zero for a zero vector."""
    length = builder.op("Max", _with_reduced_axes(builder, node, node.outputs[0]), builder.floats(TINY))
    return builder.mul(node.inputs[0], builder.div(_with_reduced_axes(builder, node, gradient), length))


@unary_rule("ReduceLogSumExp")
def reduce_log_sum_exp(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = log(sum(exp(x))): dx = exp(x - y) dy."""
    output = _with_reduced_axes(builder, node, node.outputs[0])
    share = builder.op("Exp", builder.sub(node.inputs[0], output))
    return builder.mul(share, _with_reduced_axes(builder, node, gradient))


@unary_rule("ReduceMax", "ReduceMin")
def reduce_extremum(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = max(x): dy goes to the elements that equal y, in equal parts."""
    output = _with_reduced_axes(builder, node, node.outputs[0])
    hits = builder.mask(builder.op("Equal", node.inputs[0], output))
    share = builder.div(_with_reduced_axes(builder, node, gradient), builder.sum(hits, _axes(builder, node)))
    return builder.mul(hits, share)
