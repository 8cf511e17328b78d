"""The compiler: forward graph in, graph of loss, embedding and gradient out."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from facecloak.onnx_gradient.builder import GradientBuilder
from facecloak.onnx_gradient.errors import InvalidRecognizerGraph, UnsupportedOperator
from facecloak.onnx_gradient.graph import BATCH, Graph, Node, write_model
from facecloak.onnx_gradient.rules import RULES
from facecloak.onnx_gradient.shapes import TensorTypes, infer_types
from facecloak.onnx_gradient.simplify import simplify

CROPS, FAR, NEAR = "crops", "far", "near"
LOSS, EMBEDDING, GRADIENT = "loss", "embedding", "gradient"

_FLAT = {"Ceil", "Floor", "Round", "Sign"}
"""Operators whose derivative is zero wherever it exists."""


def compile_gradient(model: onnx.ModelProto, *, normalized: bool = True) -> onnx.ModelProto:
    """Differentiate a recognizer.

    The loss is cos(e, near) - cos(e, far) for each crop: making it smaller moves the embedding e away from ``near`` and
    toward ``far``. Weights are stored once; what the backward pass adds to the file is operators and a few constants.

    Args:
        model: graph "crops" float32 [N, 3, H, W] -> "embedding" float32 [N, D], opset 18 (older ones are converted).
            It is not changed.
        normalized: the graph's embeddings already have length 1. Otherwise they are normalized behind the graph.

    Returns:
        Graph of float32 inputs crops [N, 3, H, W], far [A, D] and near [B, D], where A and B are 1 or N. The rows of
        far and near are normalized in the graph; a row of zeros contributes nothing. Outputs are loss [N], embedding
        [N, D] of length 1, and gradient [N, 3, H, W], the derivative of each crop's loss by its own pixels.

    Raises:
        UnsupportedOperator: names every operator without a rule.
        UnknownShape: shape inference does not fix a tensor that a rule needs.
        BatchNotDynamic: the graph answers for one batch size only.
        InvalidRecognizerGraph: the graph does not map one image input to one embedding.
    """
    graph = Graph.from_model(model)
    simplify(graph)
    _claim_names(graph)
    types = infer_types(graph)
    size = _embedding_size(graph, types)
    differentiable = _differentiable(graph, types)
    builder = GradientBuilder(graph, types, differentiable)
    embedding, loss, seed = _loss(builder, graph.output, normalized=normalized)
    gradient = _backward(builder, graph, seed)
    results = {LOSS: loss, EMBEDDING: embedding, GRADIENT: gradient}
    return _assemble(graph, builder, results, embedding_size=size)


def _claim_names(graph: Graph) -> None:
    """Give the graph's input its public name and free the other public names."""
    graph.rename({name: graph.fresh_name(f"forward/{name}") for name in (CROPS, FAR, NEAR, LOSS, EMBEDDING, GRADIENT)})
    graph.rename({graph.input: CROPS})


def _embedding_size(graph: Graph, types: TensorTypes) -> int:
    shape = types.shape(graph.output)
    if len(shape) != 2 or shape[1] is None:
        raise InvalidRecognizerGraph("An embedding is one vector for each crop: shape [N, D].")
    return shape[1]


def _differentiable(graph: Graph, types: TensorTypes) -> frozenset[str]:
    """The float tensors between image and output through which a change of the image reaches the output."""
    reached = {graph.input}
    unfit: list[str] = []
    for node in graph.nodes:
        if node.op in _FLAT or not reached.intersection(node.inputs):
            continue
        for name in node.outputs:
            element_type = types.element_types.get(name, TensorProto.FLOAT)
            if element_type == TensorProto.FLOAT:
                reached.add(name)
            elif element_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE):
                unfit.append(f"{node.op} (to {TensorProto.DataType.Name(element_type)})")
    needed = {graph.output}
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            needed.update(reached.intersection(node.inputs))
    on_path = reached & needed
    missing = [node.op for node in graph.nodes if on_path.intersection(node.outputs) and node.op not in RULES]
    if missing or unfit:
        raise UnsupportedOperator([*missing, *unfit])
    if graph.input not in on_path or graph.output not in on_path:
        raise InvalidRecognizerGraph("The embedding does not depend on the image in a differentiable way.")
    return frozenset(on_path)


def _loss(builder: GradientBuilder, output: str, *, normalized: bool) -> tuple[str, str, str]:
    """Write the loss; return the names of the embedding, the loss and the gradient of the graph's output."""
    unit = {name: builder.div(name, builder.norm(name, [-1])) for name in (NEAR, FAR)}
    away = builder.sub(unit[NEAR], unit[FAR])
    if normalized:
        product = builder.mul(output, away)
        loss = builder.sum(product, [-1], keepdims=False)
        return output, loss, builder.op("Expand", away, builder.op("Shape", output))
    length = builder.norm(output, [-1])
    embedding = builder.div(output, length)
    loss = builder.sum(builder.mul(embedding, away), [-1])
    seed = builder.div(builder.sub(away, builder.mul(embedding, loss)), length)
    return embedding, builder.op("Squeeze", loss, builder.integers([-1])), seed


def _backward(builder: GradientBuilder, graph: Graph, seed: str) -> str:
    """Write the backward pass; return the gradient of the image."""
    gradients = {graph.output: seed}
    unsupported: list[str] = []
    for node in reversed(graph.nodes):
        incoming: Sequence[str | None] = [gradients.pop(name, None) for name in node.outputs]
        if not any(incoming) or node.op in _FLAT:
            continue
        try:
            contributions = RULES[node.op](builder, node, incoming)
        except UnsupportedOperator as error:
            # Go on, to name everything that is missing at once; nothing written after this is used.
            unsupported.extend(error.names)
            contributions = dict.fromkeys(range(len(node.inputs)), seed)
        for index, contribution in contributions.items():
            name = node.inputs[index]
            if builder.needs_gradient(name):
                gradients[name] = builder.add(gradients[name], contribution) if name in gradients else contribution
    if unsupported:
        raise UnsupportedOperator(unsupported)
    return gradients[graph.input]


def _assemble(
    graph: Graph, builder: GradientBuilder, results: dict[str, str], *, embedding_size: int
) -> onnx.ModelProto:
    def floats(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    # far and near may have different numbers of rows: one name for both would let a runtime share their buffers.
    inputs = [
        floats(CROPS, BATCH, *graph.input_shape),
        floats(FAR, "far_rows", embedding_size),
        floats(NEAR, "near_rows", embedding_size),
    ]
    outputs = [
        floats(LOSS, BATCH),
        floats(EMBEDDING, BATCH, embedding_size),
        floats(GRADIENT, BATCH, *graph.input_shape),
    ]
    named = [Node.make("Identity", [tensor], [name]) for name, tensor in results.items()]
    return write_model(
        [*graph.nodes, *builder.nodes, *named],
        {**graph.constants, **builder.constants},
        inputs=inputs,
        outputs=outputs,
        opset=graph.opset,
        name="recognizer_gradient",
    )
