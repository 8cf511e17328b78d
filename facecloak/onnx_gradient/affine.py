"""Folds what scales and shifts the channels behind a convolution or Gemm into its weights and bias.

Exporters leave BatchNormalization, or the Mul and Add it decomposes to, as operators of their own. Folded, they cost
nothing in either direction. The arithmetic is done in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facecloak.onnx_gradient.graph import Graph, Node


@dataclass(frozen=True)
class Affine:
    """y = scale x + shift for each channel.

    Attributes:
        source: name of x.
        scale: [C] or [1] float64.
        shift: [C] or [1] float64.
    """

    source: str
    scale: np.ndarray
    shift: np.ndarray


def fold_affine(graph: Graph) -> None:
    """Fold chains of affine nodes in place, wherever nothing else reads what lies between."""
    producers = graph.producers()
    uses = graph.uses()
    kept: list[Node] = []
    for node in graph.nodes:
        folded = False
        for source in node.inputs[:2]:
            linear = producers.get(source)
            if linear is None or uses[source] != 1 or not _foldable(graph, linear):
                continue
            affine = _affine(graph, node, source, rank=_output_rank(graph, linear))
            if affine is not None and _fold(graph, linear, affine):
                linear.outputs[0] = node.outputs[0]
                producers[node.outputs[0]] = linear
                folded = True
                break
        if not folded:
            kept.append(node)
    graph.nodes = kept
    graph.drop_unused()


def _foldable(graph: Graph, node: Node) -> bool:
    if node.op not in ("Conv", "Gemm") or node.input(1) not in graph.constants:
        return False
    bias_known = not node.input(2) or node.input(2) in graph.constants
    return bias_known and node.attribute("alpha", 1.0) == 1.0 and node.attribute("beta", 1.0) == 1.0


def _output_rank(graph: Graph, linear: Node) -> int:
    return 2 if linear.op == "Gemm" else graph.constants[linear.inputs[1]].ndim


def _affine(graph: Graph, node: Node, source: str, *, rank: int) -> Affine | None:
    """Read a node as an affine map of the channels (axis 1) of its input ``source``."""
    one, zero = np.ones(1), np.zeros(1)
    if node.op == "BatchNormalization":
        parameters = [graph.constants.get(name) for name in node.inputs[1:5]]
        if node.attribute("training_mode", 0) or source != node.inputs[0] or any(item is None for item in parameters):
            return None
        gain, bias, mean, variance = (np.asarray(item, dtype=np.float64) for item in parameters)
        scale = gain / np.sqrt(variance + node.attribute("epsilon", 1e-5))
        return Affine(source, scale, bias - mean * scale)
    if node.op not in ("Add", "Sub", "Mul", "Div") or len(node.inputs) != 2:
        return None
    source_is_left = source == node.inputs[0]
    operand = _channel_vector(graph.constants.get(node.inputs[1 if source_is_left else 0]), rank)
    if operand is None:
        return None
    if node.op == "Add":
        return Affine(source, one, operand)
    if node.op == "Mul":
        return Affine(source, operand, zero)
    if node.op == "Sub":
        return Affine(source, one, -operand) if source_is_left else Affine(source, -one, operand)
    return Affine(source, 1 / operand, zero) if source_is_left else None


def _channel_vector(value: np.ndarray | None, rank: int) -> np.ndarray | None:
    """Return a constant that broadcasts along axis 1 only as a vector, else None."""
    if value is None or value.ndim > rank or not np.issubdtype(value.dtype, np.floating):
        return None
    shape = (1,) * (rank - value.ndim) + value.shape
    if any(size != 1 for axis, size in enumerate(shape) if axis != 1):
        return None
    return value.reshape(-1).astype(np.float64)


def _fold(graph: Graph, linear: Node, affine: Affine) -> bool:
    weights = graph.constants[linear.inputs[1]].astype(np.float64)
    channel_axis = 0 if linear.op == "Conv" or linear.attribute("transB", 0) else 1
    channels = weights.shape[channel_axis]
    bias = graph.constants[linear.inputs[2]].astype(np.float64) if linear.input(2) else np.zeros(channels)
    if max(affine.scale.size, affine.shift.size, bias.size) > channels or bias.size not in (1, channels):
        return False
    if bool(np.any(affine.scale != 1)):
        along = [1] * weights.ndim
        along[channel_axis] = -1
        linear.inputs[1] = _store(graph, linear.inputs[1], weights * affine.scale.reshape(along))
    bias = np.broadcast_to(bias.reshape(-1) * affine.scale + affine.shift, (channels,))
    name = _store(graph, linear.input(2) or f"{linear.inputs[1]}/bias", bias)
    linear.inputs[2:] = [name]
    return True


def _store(graph: Graph, wish: str, value: np.ndarray) -> str:
    """Store a constant under a new name: another node may share the old one."""
    name = graph.fresh_name(wish)
    graph.constants[name] = value.astype(np.float32)
    return name
