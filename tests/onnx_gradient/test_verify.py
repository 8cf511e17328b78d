"""The check of compiled gradients passes right ones and catches wrong ones."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from facecloak.onnx_gradient import GradientMismatch, check_gradient, compile_gradient

from .graphs import GraphMaker

SHAPE = (3, 24, 24)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    g = GraphMaker()
    x = g.op("Mul", g.op("Sub", "crops", g.constant(127.5)), g.constant(1 / 128))
    x = g.op("PRelu", g.batch_norm(g.conv(x, 3, 8), 8), g.uniform(0.1, 0.4, 8, 1, 1))
    x = g.op("Add", x, g.op("Relu", g.conv(x, 8, 8)))
    x = g.op("Relu", g.conv(x, 8, 16, stride=2))
    return g.model(g.project(g.op("Flatten", x), 16 * 144), shape=SHAPE)


@pytest.fixture(scope="module")
def compiled(model: onnx.ModelProto) -> onnx.ModelProto:
    return compile_gradient(model)


def test_right_gradient_passes(model: onnx.ModelProto, compiled: onnx.ModelProto) -> None:
    report = check_gradient(model, compiled, seed=3)
    assert report.gradient_error < 0.03
    assert report.embedding_error < 1e-5
    assert report.batch_error < 1e-3
    assert report.slopes == 24


def test_same_seed_gives_the_same_report(model: onnx.ModelProto, compiled: onnx.ModelProto) -> None:
    assert check_gradient(model, compiled, seed=5) == check_gradient(model, compiled, seed=5)


def test_given_crops_are_used(
    model: onnx.ModelProto, compiled: onnx.ModelProto, generator: np.random.Generator
) -> None:
    crops = generator.uniform(0, 255, (4, *SHAPE)).astype(np.float32)
    assert check_gradient(model, compiled, crops=crops).gradient_error < 0.05


def backward(model: onnx.ModelProto, op: str) -> onnx.NodeProto:
    """The first backward node of an operator."""
    return next(node for node in model.graph.node if node.op_type == op and node.name.split("/")[1] == "backward")


def open_the_wrong_way(model: onnx.ModelProto) -> None:
    """Pass the gradient where a ReLU was closed."""
    backward(model, "Greater").op_type = "Less"


def forget_a_branch(model: onnx.ModelProto) -> None:
    """Drop one of two gradients that should add up."""
    node = backward(model, "Add")
    node.op_type = "Identity"
    del node.input[1:]


def forget_the_slope(model: onnx.ModelProto) -> None:
    """Take the gradient past PReLU as if its slope were 1."""
    slopes = {node.output[0] for node in model.graph.node if node.op_type == "Max" and "forward" not in node.name}
    node = next(node for node in model.graph.node if "backward" in node.name and slopes.intersection(node.input))
    node.op_type = "Identity"
    del node.input[1:]


def forget_to_turn(model: onnx.ModelProto) -> None:
    """Use a convolution's weights as they are."""
    backward(model, "Slice").op_type = "Identity"
    node = backward(model, "Identity")
    del node.input[1:]


def change_sign(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.output[0] == "gradient").op_type = "Neg"


def scale_by_a_tenth_more(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.output[0] == "gradient")
    model.graph.initializer.append(numpy_helper.from_array(np.array(1.1, np.float32), "more"))
    node.op_type = "Mul"
    node.input.append("more")


def produce_nan(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.output[0] == "gradient")
    model.graph.initializer.append(numpy_helper.from_array(np.array(np.nan, np.float32), "nan"))
    node.op_type = "Mul"
    node.input.append("nan")


def mix_the_batch(model: onnx.ModelProto) -> None:
    """Give every crop the sum of all crops' gradients."""
    node = next(node for node in model.graph.node if node.output[0] == "gradient")
    node.output[0] = "own"
    axes = numpy_helper.from_array(np.array([0]), "batch_axis")
    model.graph.initializer.append(axes)
    total = helper.make_node("ReduceSum", ["own", "batch_axis"], ["total"])
    zero = helper.make_node("Sub", ["own", "own"], ["zero"])
    model.graph.node.extend([total, zero, helper.make_node("Add", ["zero", "total"], ["gradient"])])


WRONG = [
    open_the_wrong_way,
    forget_a_branch,
    forget_the_slope,
    forget_to_turn,
    change_sign,
    scale_by_a_tenth_more,
    produce_nan,
    mix_the_batch,
]


@pytest.mark.parametrize("spoil", WRONG)
def test_wrong_gradient_is_caught(
    spoil: Callable[[onnx.ModelProto], None], model: onnx.ModelProto, compiled: onnx.ModelProto
) -> None:
    wrong = copy.deepcopy(compiled)
    spoil(wrong)
    onnx.checker.check_model(wrong, full_check=True)
    with pytest.raises(GradientMismatch):
        check_gradient(model, wrong, seed=3)


def test_gradient_of_another_recognizer_is_caught(compiled: onnx.ModelProto) -> None:
    g = GraphMaker(seed=9)
    x = g.op("ReduceMean", g.op("Relu", g.conv("crops", 3, 8)), g.integers(2, 3), keepdims=0)
    with pytest.raises(GradientMismatch):
        check_gradient(g.model(g.project(x, 8), shape=SHAPE), compiled)


def test_embedding_of_another_length_is_caught() -> None:
    g = GraphMaker()
    x = g.op("ReduceMean", g.op("Relu", g.conv("crops", 3, 8)), g.integers(2, 3), keepdims=0)
    model = g.model(g.op("MatMul", x, g.normal(8, 16)), shape=SHAPE)
    with pytest.raises(GradientMismatch, match="length_error"):
        check_gradient(model, compile_gradient(model))
