"""Operators that only move elements: the gradient moves back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facecloak.onnx_gradient.builder import GradientBuilder
from facecloak.onnx_gradient.graph import Node
from facecloak.onnx_gradient.rules.registry import (
    Contributions,
    constant,
    rule,
    split_rule,
    unary_rule,
    unsupported,
)


@unary_rule("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def reshape(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """dx = dy in the shape of x."""
    return builder.reshape_like(gradient, node.inputs[0])


@unary_rule("Transpose")
def transpose(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """dx = dy with the inverse order of axes."""
    order = node.attribute("perm") or list(range(len(builder.shape(node.inputs[0]))))[::-1]
    return builder.transpose(gradient, np.argsort(order).tolist())


@unary_rule("Expand")
def expand(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """dx = dy summed over the repeated axes."""
    return builder.unbroadcast(gradient, builder.shape(node.outputs[0]), builder.shape(node.inputs[0]))


@unary_rule("Pad")
def pad(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """dx = the part of dy that was not padding; a negative pad cut x, and gets zeros."""
    if node.attribute("mode", "constant") != "constant":
        raise unsupported(node, f"mode={node.attribute('mode')}")
    rank = len(builder.shape(node.inputs[0]))
    pads = constant(builder, node, 1).astype(int)
    axes = constant(builder, node, 3).astype(int) if node.input(3) else np.arange(rank)
    full = np.zeros(2 * rank, dtype=int)
    full[axes % rank], full[axes % rank + rank] = pads[: len(axes)], pads[len(axes) :]
    return builder.op("Pad", gradient, builder.integers(-full))


@rule("Concat")
def concat(builder: GradientBuilder, node: Node, gradient: str) -> Contributions:
    """Each operand gets its part of dy."""
    axis = node.attribute("axis")
    sizes = [builder.shape(name)[axis] for name in node.inputs]
    if None in sizes:
        raise unsupported(node, "along the batch")
    parts = builder.split_op("Split", gradient, builder.integers(sizes), outputs=len(sizes), axis=axis)
    return {index: parts[index] for index, name in enumerate(node.inputs) if builder.needs_gradient(name)}


@split_rule("Split")
def split(builder: GradientBuilder, node: Node, gradients: Sequence[str | None]) -> Contributions:
    """dx = the gradients of the parts side by side; parts that nothing reads get zeros."""
    parts = [gradient or builder.scale(output, 0.0) for gradient, output in zip(gradients, node.outputs, strict=True)]
    return {0: builder.op("Concat", *parts, axis=node.attribute("axis", 0))}


@unary_rule("Slice")
def slice_(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """dx = dy at the places it was taken from, zero elsewhere."""
    shape = builder.shape(node.inputs[0])
    starts, ends = constant(builder, node, 1), constant(builder, node, 2)
    axes = constant(builder, node, 3) if node.input(3) else np.arange(len(starts))
    steps = constant(builder, node, 4) if node.input(4) else np.ones_like(starts)
    pads = np.zeros((2, len(shape)), dtype=int)
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes.tolist(), steps.tolist(), strict=True):
        size = shape[axis]
        if size is None:
            raise unsupported(node, "along the batch")
        # An end below -size means "to the very beginning" when stepping backwards; None says so to Python.
        taken = np.arange(size)[slice(start, None if step < 0 and end < -size else end, step)]
        if step == 1:
            pads[:, axis] = taken[0], size - 1 - taken[-1]
        else:
            gradient = _put_back(builder, gradient, axis, size, taken)
    return builder.op("Pad", gradient, builder.integers(pads.reshape(-1))) if pads.any() else gradient


@unary_rule("Gather")
def gather(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """dx = dy added up at the constant indices it was taken from (a swap of color channels, for one)."""
    shape = builder.shape(node.inputs[0])
    axis = node.attribute("axis", 0) % len(shape)
    indices = constant(builder, node, 1)
    size = shape[axis]
    if size is None:
        raise unsupported(node, "along the batch")
    if indices.ndim != 1:
        gradient = builder.reshape(gradient, (*shape[:axis], indices.size, *shape[axis + 1 :]))
    return _put_back(builder, gradient, axis, size, indices.reshape(-1) % size)


@unary_rule("DepthToSpace")
def depth_to_space(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """dx = SpaceToDepth(dy), which knows the order DCR only."""
    if node.attribute("mode", "DCR") != "DCR":
        raise unsupported(node, "mode=CRD")
    return builder.op("SpaceToDepth", gradient, blocksize=node.attribute("blocksize"))


@unary_rule("SpaceToDepth")
def space_to_depth(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """dx = DepthToSpace(dy)."""
    return builder.op("DepthToSpace", gradient, blocksize=node.attribute("blocksize"))


def _put_back(builder: GradientBuilder, gradient: str, axis: int, size: int, taken: np.ndarray) -> str:
    """Adjoint of taking elements along an axis: a Gather with the inverse indices, one for each repetition.

    Elements that were never taken read a slot of zeros appended behind the gradient.
    """
    found = ""
    remaining = list(enumerate(taken.tolist()))
    while remaining or not found:
        inverse = np.full(size, len(taken))
        again = []
        for position, index in remaining:
            if inverse[index] == len(taken):
                inverse[index] = position
            else:
                again.append((position, index))
        source = gradient
        if (inverse == len(taken)).any():
            source = builder.op("Pad", gradient, builder.integers([0, 1]), "", builder.integers([axis]))
        part = builder.op("Gather", source, builder.integers(inverse), axis=axis)
        found = builder.add(found, part) if found else part
        remaining = again
    return found
