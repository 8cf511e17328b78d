"""Simplified graphs compute the same with less."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest

from facecloak.onnx_gradient import simplify_recognizer

from .graphs import GraphMaker, session
from .test_networks import NETWORKS


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("name", NETWORKS)
def test_simplified_recognizer_embeds_the_same(name: str, generator: np.random.Generator) -> None:
    model = NETWORKS[name]()
    simple = simplify_recognizer(model)
    crops = generator.uniform(0, 255, (3, 3, 112, 112)).astype(np.float32)
    expected, embedding = (session(graph).run(None, {"crops": crops})[0] for graph in (model, simple))
    np.testing.assert_allclose(embedding, expected, atol=1e-5)
    values = [*simple.graph.input, *simple.graph.output]
    assert [value.name for value in values] == ["crops", "embedding"]
    assert [value.type.tensor_type.shape.dim[0].dim_param for value in values] == ["N", "N"]


def simplified(output: str, g: GraphMaker) -> Counter[str]:
    x = g.op("LpNormalization", g.op("ReduceMean", output, g.integers(2, 3), keepdims=0))
    kept = operators(simplify_recognizer(g.model(x, shape=(3, 8, 8))))
    return kept - Counter(["LpNormalization", "ReduceMean", "Identity"])


def test_batch_normalization_bias_and_padding_go_into_the_convolution() -> None:
    g = GraphMaker()
    x = g.op("Pad", "crops", g.integers(0, 0, 0, 0, 0, 0, 1, 1))
    x = g.op("Add", g.batch_norm(g.op("Dropout", g.conv(x, 3, 8, stride=2, pad=0)), 8), g.normal(8, 1, 1))
    assert simplified(x, g) == {"Conv": 1}


def test_pair_of_bounds_becomes_one_clip() -> None:
    g = GraphMaker()
    x = g.op("Min", g.op("Relu", g.conv("crops", 3, 8)), g.constant(6.0))
    assert simplified(g.op("Max", x, g.constant(0.0)), g) == {"Conv": 1, "Clip": 1}


def test_bounds_that_something_else_reads_between_are_kept() -> None:
    g = GraphMaker()
    x = g.op("Relu", g.conv("crops", 3, 8))
    assert simplified(g.op("Add", x, g.op("Min", x, g.constant(6.0))), g) == {"Conv": 1, "Relu": 1, "Clip": 1, "Add": 1}


def test_what_something_else_reads_is_not_folded() -> None:
    g = GraphMaker()
    x = g.conv("crops", 3, 8)
    assert simplified(g.op("Add", x, g.batch_norm(x, 8)), g) == {"Conv": 1, "BatchNormalization": 1, "Add": 1}


def test_padding_with_other_values_is_kept() -> None:
    g = GraphMaker()
    x = g.op("Pad", "crops", g.integers(0, 0, 0, 0, 0, 0, 1, 1), g.constant(1.0))
    assert simplified(g.conv(x, 3, 8, pad=0), g) == {"Pad": 1, "Conv": 1}


def test_constants_are_computed_once() -> None:
    g = GraphMaker()
    weights = g.op("Transpose", g.op("Mul", g.normal(3, 8, 1, 1), g.constant(2.0)), perm=[1, 0, 2, 3])
    assert simplified(g.op("Conv", "crops", weights), g) == {"Conv": 1}
