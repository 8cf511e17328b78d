"""What nothing in a graph reads: found, and taken out."""

from __future__ import annotations

from collections.abc import Iterator

import onnx


def used_names(graph: onnx.GraphProto) -> Iterator[str]:
    """Every tensor that a node reads, those in branches included, and the graph's outputs."""
    yield from (entry.name for entry in graph.output)
    for node in graph.node:
        yield from _read_by(node)


def drop_unused_weights(graph: onnx.GraphProto) -> None:
    """Take out weights that nothing reads, in place."""
    used = set(used_names(graph))
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Take out nodes that no output comes from, and weights that nothing reads any more, in place."""
    needed, kept = {entry.name for entry in graph.output}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(_read_by(node))
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    drop_unused_weights(graph)


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    yield from node.input
    for attribute in node.attribute:
        for branch in (attribute.g, *attribute.graphs):
            if branch.node or branch.output:
                yield from used_names(branch)
