"""What a compiled gradient graph promises, and what the compiler refuses."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from facecloak.onnx_gradient import (
    BatchNotDynamic,
    InvalidRecognizerGraph,
    UnknownShape,
    UnsupportedOperator,
    compile_gradient,
)

from .graphs import EMBEDDING_SIZE, GraphMaker, assert_gradient_agrees, run_gradient, targets

SHAPE = (3, 12, 10)


def small_net(g: GraphMaker, *, unit: bool = True) -> str:
    x = g.op("PRelu", g.batch_norm(g.conv("crops", 3, 8), 8), g.uniform(0.1, 0.4, 8, 1, 1))
    x = g.op("ReduceMean", g.op("Relu", g.conv(x, 8, 8, stride=2)), g.integers(2, 3), keepdims=0)
    return g.project(x, 8) if unit else g.op("MatMul", x, g.normal(8, EMBEDDING_SIZE))


@pytest.fixture
def model() -> onnx.ModelProto:
    g = GraphMaker()
    return g.model(small_net(g), shape=SHAPE)


@pytest.fixture
def crops(generator: np.random.Generator) -> np.ndarray:
    return generator.standard_normal((3, *SHAPE)).astype(np.float32)


def interface(values: object) -> dict[str, list[int | str]]:
    return {
        value.name: [dimension.dim_value or dimension.dim_param for dimension in value.type.tensor_type.shape.dim]
        for value in values
    }


def test_interface(model: onnx.ModelProto) -> None:
    compiled = compile_gradient(model)
    onnx.checker.check_model(compiled, full_check=True)
    assert interface(compiled.graph.input) == {
        "crops": ["N", *SHAPE],
        "far": ["far_rows", EMBEDDING_SIZE],
        "near": ["near_rows", EMBEDDING_SIZE],
    }
    assert interface(compiled.graph.output) == {
        "loss": ["N"],
        "embedding": ["N", EMBEDDING_SIZE],
        "gradient": ["N", *SHAPE],
    }
    assert compiled.ir_version <= 10
    assert {entry.domain: entry.version for entry in compiled.opset_import} == {"": 18}


def test_input_is_left_alone_and_output_is_reproducible(model: onnx.ModelProto) -> None:
    before = model.SerializeToString(deterministic=True)
    first, second = (compile_gradient(model).SerializeToString(deterministic=True) for _ in range(2))
    assert model.SerializeToString(deterministic=True) == before
    assert first == second


def test_weights_are_stored_once(model: onnx.ModelProto) -> None:
    def elements(of: onnx.ModelProto) -> int:
        return sum(int(np.prod(item.dims)) for item in of.graph.initializer if len(item.dims) > 1 and item.dims[0] > 1)

    assert elements(compile_gradient(model)) == elements(model)


def test_target_of_one_row_serves_all_crops(
    model: onnx.ModelProto, crops: np.ndarray, generator: np.random.Generator
) -> None:
    compiled = compile_gradient(model)
    far, near = targets(compiled, generator, 3)
    mixed = run_gradient(compiled, crops, far[:1], near)
    spread = run_gradient(compiled, crops, np.repeat(far[:1], 3, axis=0), near)
    for one, other in zip(mixed, spread, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_targets_are_normalized_inside(
    model: onnx.ModelProto, crops: np.ndarray, generator: np.random.Generator
) -> None:
    compiled = compile_gradient(model)
    far, near = targets(compiled, generator, 3)
    for one, other in zip(
        run_gradient(compiled, crops, far, near), run_gradient(compiled, crops, 1e3 * far, 1e-3 * near), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_zero_target_contributes_nothing(
    model: onnx.ModelProto, crops: np.ndarray, generator: np.random.Generator
) -> None:
    compiled = compile_gradient(model)
    far, near = targets(compiled, generator, 3)
    none = np.zeros_like(far)
    both, only_far, only_near, neither = (
        run_gradient(compiled, crops, *pair) for pair in ((far, near), (far, none), (none, near), (none, none))
    )
    assert not neither[0].any()
    assert not neither[2].any()
    np.testing.assert_allclose(only_far[0] + only_near[0], both[0], atol=1e-6)
    np.testing.assert_allclose(only_far[2] + only_near[2], both[2], atol=1e-6)


def test_minimizing_the_loss_moves_from_near_to_far(model: onnx.ModelProto, crops: np.ndarray) -> None:
    compiled = compile_gradient(model)
    far = np.ones((1, EMBEDDING_SIZE), np.float32)
    near = -far
    loss, _, gradient = run_gradient(compiled, crops, far, near)
    moved, _, _ = run_gradient(compiled, crops - 0.1 * gradient / np.abs(gradient).max(), far, near)
    assert (moved < loss).all()


def test_embeddings_of_any_length_are_normalized_on_demand(crops: np.ndarray, generator: np.random.Generator) -> None:
    g = GraphMaker()
    model = g.model(small_net(g, unit=False), shape=SHAPE)
    assert_gradient_agrees(model, crops, generator=generator, normalized=False)


def test_baked_batch_in_the_declared_input_only_is_freed(crops: np.ndarray, generator: np.random.Generator) -> None:
    g = GraphMaker()
    model = g.model(small_net(g), shape=SHAPE, batch=1)
    compiled = compile_gradient(model)
    far, near = targets(compiled, generator, 3)
    assert run_gradient(compiled, crops, far, near)[2].shape == crops.shape


def test_older_operator_set_is_converted(crops: np.ndarray, generator: np.random.Generator) -> None:
    g = GraphMaker()
    x = g.op("Relu", g.conv("crops", 3, 8))
    x = g.op("ReduceMean", g.op("Dropout", x), axes=[2, 3], keepdims=0)
    model = g.model(g.op("LpNormalization", g.op("MatMul", x, g.normal(8, EMBEDDING_SIZE))), shape=SHAPE, opset=13)
    assert_gradient_agrees(model, crops, generator=generator)


def test_initializers_listed_as_inputs_are_no_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.extend(
        helper.make_tensor_value_info(item.name, item.data_type, item.dims) for item in model.graph.initializer
    )
    assert set(interface(compile_gradient(model).graph.input)) == {"crops", "far", "near"}


def test_names_inside_the_graph_may_be_anything(crops: np.ndarray, generator: np.random.Generator) -> None:
    g = GraphMaker()
    x = g.op("Relu", g.conv("crops", 3, 8))
    x = g.op("ReduceMean", x, g.integers(2, 3), keepdims=0)
    model = g.model(g.project(x, 8), shape=SHAPE)
    taken = {x: "gradient", "Relu_1_0": "far", "Conv_0_0": "backward/Where_0_0", "crops": "near", "embedding": "loss"}
    for node in model.graph.node:
        node.input[:] = [taken.get(name, name) for name in node.input]
        node.output[:] = [taken.get(name, name) for name in node.output]
    model.graph.input[0].name, model.graph.output[0].name = "near", "loss"
    assert_gradient_agrees(model, crops, generator=generator)


def test_all_unsupported_operators_are_named_at_once() -> None:
    g = GraphMaker()
    x = g.op("Det", g.op("MatMul", "crops", g.normal(10, 12)))
    x = g.op(
        "Add", x, g.op("ReduceMean", g.op("CumSum", "crops", g.constant(1, np.int64)), g.integers(2, 3), keepdims=0)
    )
    with pytest.raises(UnsupportedOperator) as caught:
        compile_gradient(g.model(g.project(x, 3), shape=SHAPE))
    assert caught.value.names == ("CumSum", "Det")
    assert caught.value.reason == "RECOGNIZER_OPERATOR_UNSUPPORTED"


def test_all_unsupported_forms_are_named_at_once() -> None:
    g = GraphMaker()
    x = g.op("Pad", "crops", g.integers(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect")
    x = g.op("DepthToSpace", g.conv(x, 3, 8), blocksize=2, mode="CRD")
    x = g.op("LpNormalization", g.op("ReduceMean", x, g.integers(2, 3), keepdims=0), p=1)
    with pytest.raises(UnsupportedOperator) as caught:
        compile_gradient(g.model(x, shape=SHAPE))
    assert caught.value.names == ("DepthToSpace (mode=CRD)", "LpNormalization (p=1)", "Pad (mode=reflect)")


def test_operators_off_the_path_need_no_rule(crops: np.ndarray, generator: np.random.Generator) -> None:
    g = GraphMaker()
    count = g.op("Cast", g.op("Size", g.op("NonZero", g.constant([1.0, 0.0, 2.0]))), to=TensorProto.FLOAT)
    x = g.op("Mul", g.op("Relu", g.conv("crops", 3, 8)), count)
    model = g.model(g.project(g.op("ReduceMean", x, g.integers(2, 3), keepdims=0), 8), shape=SHAPE)
    compiled = compile_gradient(model)
    far, near = targets(compiled, generator, 3)
    assert np.isfinite(run_gradient(compiled, crops, far, near)[2]).all()


def test_sub_graphs_and_foreign_operators_are_refused(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    next(node for node in model.graph.node if node.op_type == "Relu").domain = "com.example"
    with pytest.raises(UnsupportedOperator) as caught:
        compile_gradient(model)
    assert caught.value.names == ("com.example.Relu",)


def test_unknown_shape_names_the_tensor() -> None:
    g = GraphMaker()
    # The target shape of the reshape is computed from pixel values: nothing can be said before running.
    rows = g.op("Cast", g.op("ReduceMax", "crops", keepdims=0), to=TensorProto.INT64)
    shape = g.op("Concat", g.integers(-1), g.op("Unsqueeze", rows, g.integers(0)), g.integers(6), axis=0)
    x = g.op("ReduceMean", g.op("Relu", g.op("Reshape", "crops", shape)), g.integers(1, 2), keepdims=1)
    x = g.op("Reshape", g.op("Mul", x, g.normal(1, 1, 8)), g.integers(-1, 8))
    with pytest.raises(UnknownShape) as caught:
        compile_gradient(g.model(g.project(x, 8), shape=SHAPE))
    assert caught.value.tensor == "Reshape_4_0"


@pytest.mark.parametrize("shape", [(1, 960), (1, -1)])
def test_baked_batch_is_named(shape: tuple[int, int]) -> None:
    g = GraphMaker()
    x = g.op("Reshape", g.op("Relu", g.conv("crops", 3, 8)), g.integers(*shape))
    with pytest.raises(BatchNotDynamic) as caught:
        compile_gradient(g.model(g.op("LpNormalization", x), shape=SHAPE))
    assert caught.value.tensor == "Reshape_2_0"


@pytest.mark.parametrize("outputs", [2, 0])
def test_graph_of_another_interface_is_refused(model: onnx.ModelProto, outputs: int) -> None:
    value = helper.make_tensor_value_info("Relu_3_0", TensorProto.FLOAT, ["N", 8, 6, 5])
    del model.graph.output[:]
    model.graph.output.extend([value] * outputs)
    with pytest.raises(InvalidRecognizerGraph):
        compile_gradient(model)


def test_embedding_that_ignores_the_image_is_refused() -> None:
    g = GraphMaker()
    x = g.op("Floor", g.op("ReduceMean", "crops", g.integers(2, 3), keepdims=0))
    with pytest.raises(InvalidRecognizerGraph):
        compile_gradient(g.model(g.project(x, 3), shape=SHAPE))


def test_feature_map_is_no_embedding() -> None:
    g = GraphMaker()
    model = g.model(g.project(g.op("ReduceMean", "crops", g.integers(2, 3), keepdims=0), 3), shape=SHAPE)
    model.graph.node[-1].input[0] = "crops"
    with pytest.raises(InvalidRecognizerGraph):
        compile_gradient(model)
