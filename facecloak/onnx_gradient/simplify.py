"""Rewrites that make a graph cheaper in both directions before it is differentiated."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.reference
from onnx import TensorProto, helper

from facecloak.onnx_gradient.affine import fold_affine
from facecloak.onnx_gradient.graph import Graph, Node, tensor_protos

_RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}


def simplify(graph: Graph) -> None:
    """Simplify a graph in place; its results stay the same up to rounding."""
    drop_identities(graph)
    fold_constants(graph)
    bound_by_clip(graph)
    fold_pads(graph)
    fold_affine(graph)
    write_prelu_as_product(graph)
    graph.drop_unused()


def drop_identities(graph: Graph) -> None:
    """Remove Identity and Dropout, at inference the same."""
    replaced: dict[str, str] = {}
    kept: list[Node] = []
    for node in graph.nodes:
        node.inputs = [replaced.get(name, name) for name in node.inputs]
        if node.op in ("Identity", "Dropout") and node.outputs[0] != graph.output:
            replaced[node.outputs[0]] = node.inputs[0]
        else:
            kept.append(node)
    graph.nodes = kept


def fold_constants(graph: Graph) -> None:
    """Compute what depends on constants only."""
    kept: list[Node] = []
    for node in graph.nodes:
        if node.op in _RANDOM or any(name and name not in graph.constants for name in node.inputs):
            kept.append(node)
        else:
            graph.constants.update(zip(node.outputs, _evaluate(graph, node), strict=True))
    graph.nodes = kept


def _evaluate(graph: Graph, node: Node) -> list[np.ndarray]:
    used = {name: graph.constants[name] for name in node.inputs if name}
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.outputs]
    proto = helper.make_graph([node.to_proto()], "constant", [], outputs, tensor_protos(used))
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", graph.opset)])
    return [np.asarray(value) for value in onnx.reference.ReferenceEvaluator(model).run(None, {})]


def bound_by_clip(graph: Graph) -> None:
    """Write Min, Max and Relu with constant bounds as one Clip (or Relu): ReLU6 often comes as a pair of them."""
    producers = graph.producers()
    uses = graph.uses()
    for node in graph.nodes:
        bounds = _bounds(graph, node)
        if bounds is None:
            continue
        source, low, high = bounds
        before = producers.get(source)
        inner = _bounds(graph, before) if before is not None and uses[source] == 1 else None
        if inner is not None:
            # min(max(x, a), b) with a <= b is a Clip; other nestings are too, once their bounds are clipped.
            source = inner[0]
            low, high = (float(np.clip(bound, low, high)) for bound in inner[1:])
        _write_clip(graph, node, source, low, high)
    graph.drop_unused()


def _bounds(graph: Graph, node: Node) -> tuple[str, float, float] | None:
    """Return (bounded tensor, low, high) for nodes that clip by constant numbers."""
    if node.op == "Relu":
        return node.inputs[0], 0.0, np.inf
    if node.op == "Clip":
        low, high = (graph.constants.get(name) if name else None for name in (node.input(1), node.input(2)))
        if (node.input(1) and low is None) or (node.input(2) and high is None):
            return None
        return node.inputs[0], _number(low, default=-np.inf), _number(high, default=np.inf)
    if node.op in ("Min", "Max") and len(node.inputs) == 2:
        for bound, tensor in (node.inputs, node.inputs[::-1]):
            value = graph.constants.get(bound)
            if value is not None and value.size == 1 and value.ndim <= 1 and value.dtype == np.float32:
                number = float(value.reshape(()))
                return (tensor, -np.inf, number) if node.op == "Min" else (tensor, number, np.inf)
    return None


def _number(value: np.ndarray | None, *, default: float) -> float:
    return default if value is None else float(value.reshape(()))


def _write_clip(graph: Graph, node: Node, source: str, low: float, high: float) -> None:
    node.attributes = {}
    if (low, high) == (0.0, np.inf):
        node.op, node.inputs = "Relu", [source]
        return
    inputs = [source, "", ""]
    for position, (role, bound) in enumerate((("low", low), ("high", high)), start=1):
        if np.isfinite(bound):
            inputs[position] = _name_constant(graph, f"{node.outputs[0]}/{role}", np.array(bound, dtype=np.float32))
    node.op, node.inputs = "Clip", inputs if inputs[2] else inputs[: 2 if inputs[1] else 1]


def fold_pads(graph: Graph) -> None:
    """Let a convolution do the zero padding that a Pad before it does."""
    producers = graph.producers()
    for node in graph.nodes:
        pad = producers.get(node.inputs[0]) if node.op == "Conv" else None
        if pad is None or pad.op != "Pad" or node.attribute("auto_pad", "NOTSET") != "NOTSET":
            continue
        pads = _zero_pads(graph, pad)
        weights = graph.constants.get(node.inputs[1])
        if pads is None or weights is None or len(pads) != 2 * weights.ndim or min(pads) < 0:
            continue
        rank = weights.ndim
        if any(pads[axis] or pads[axis + rank] for axis in (0, 1)):
            continue
        own = node.attribute("pads", [0] * 2 * (rank - 2))
        total = [one + two for one, two in zip(own, pads[2:rank] + pads[rank + 2 :], strict=True)]
        node.attributes["pads"] = helper.make_attribute("pads", total)
        node.inputs[0] = pad.inputs[0]
    graph.drop_unused()


def _zero_pads(graph: Graph, pad: Node) -> list[int] | None:
    value = graph.constants.get(pad.input(2), np.zeros(()))
    pads = graph.constants.get(pad.input(1))
    plain = pad.attribute("mode", "constant") == "constant" and not pad.input(3) and not np.any(value)
    known = not pad.input(2) or pad.input(2) in graph.constants
    return pads.astype(int).tolist() if plain and known and pads is not None else None


def write_prelu_as_product(graph: Graph) -> None:
    """Write PRelu(x) as x times its slope at x, which both directions then share.

    ONNX Runtime's PRelu branches on every element, 5 to 18 ns each on a CPU with random signs; the operators written
    here take 0.8 ns together. The slope depends on the image by a comparison only, so no gradient flows through it.
    """
    kept: list[Node] = []
    for node in graph.nodes:
        slope = graph.constants.get(node.inputs[1]) if node.op == "PRelu" else None
        kept += [node] if slope is None else _slope_product(graph, node, slope)
    graph.nodes = kept


def _slope_product(graph: Graph, node: Node, slope: np.ndarray) -> list[Node]:
    image, output = node.inputs[0], node.outputs[0]
    zero = _name_constant(graph, f"{output}/zero", np.zeros((), dtype=np.float32))
    positive, mask, factor = (f"{output}/{role}" for role in ("positive", "mask", "slope"))
    nodes = [
        Node.make("Greater", [image, zero], [positive]),
        Node.make("Cast", [positive], [mask], to=TensorProto.FLOAT),
    ]
    if bool(np.all((slope >= 0) & (slope <= 1))):
        nodes.append(Node.make("Max", [mask, node.inputs[1]], [factor]))
    else:
        rest = _name_constant(graph, f"{output}/rest", 1 - slope)
        nodes.append(Node.make("Mul", [mask, rest], [f"{output}/step"]))
        nodes.append(Node.make("Add", [f"{output}/step", node.inputs[1]], [factor]))
    return [*nodes, Node.make("Mul", [image, factor], [output])]


def _name_constant(graph: Graph, wish: str, value: np.ndarray) -> str:
    name = graph.fresh_name(wish)
    graph.constants[name] = value
    return name
