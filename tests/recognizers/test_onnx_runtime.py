from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

from facecloak.models.convert.onnx_file import convert_ready_model
from facecloak.models.errors import ModelDamaged, RecognizerFailed, RecognizerUnknown
from facecloak.models.install import store_recognizer
from facecloak.models.repository import ModelRepository
from facecloak.models.spec import ModelKind, RecognizerSpec
from facecloak.recognizers import onnx_runtime
from facecloak.recognizers.errors import BatchInvalid, GradientUnavailable
from facecloak.recognizers.onnx_runtime import OnnxRuntime


@pytest.fixture(scope="module")
def repository(
    tmp_path_factory: pytest.TempPathFactory, make_network: Callable[..., onnx.ModelProto]
) -> ModelRepository:
    store = ModelRepository(tmp_path_factory.mktemp("models"))
    for name, seed in (("first", 0), ("second", 1)):
        network = convert_ready_model(make_network(seed=seed).SerializeToString())
        store_recognizer(store, network, RecognizerSpec(name, embedding_size=16), with_gradient=name == "first")
    store.write(RecognizerSpec("boxes", kind=ModelKind.FACE_DETECTOR), model=b"detector")
    return store


@pytest.fixture
def runtime(repository: ModelRepository) -> OnnxRuntime:
    return OnnxRuntime(repository.root, threads=1)


def anchors(seed: int = 0, rows: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, 16)).astype(np.float32)


def test_it_serves_the_recognizers_only(runtime: OnnxRuntime) -> None:
    assert runtime.names() == ("first", "second")
    assert runtime.spec("first").embedding_size == 16


def test_it_can_be_told_which(repository: ModelRepository) -> None:
    assert OnnxRuntime(repository.root, names=["second"]).names() == ("second",)
    with pytest.raises(RecognizerUnknown):
        OnnxRuntime(repository.root, names=["third"])
    with pytest.raises(RecognizerUnknown, match="not a recognizer"):
        OnnxRuntime(repository.root, names=["boxes"])


def test_embeddings_are_of_unit_length_and_do_not_depend_on_the_batch(runtime: OnnxRuntime, crops: np.ndarray) -> None:
    together = runtime.embed("first", crops)
    assert together.shape == (3, 16)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(
        np.concatenate([runtime.embed("first", crop[None]) for crop in crops]), together, atol=1e-6
    )
    np.testing.assert_array_equal(runtime.embed("first", crops.astype(np.uint8)),
                                  runtime.embed("first", crops.astype(np.uint8).astype(np.float32)))  # fmt: skip


def test_large_batches_are_split(runtime: OnnxRuntime, crops: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    many = np.concatenate([crops] * 3)[:8]
    far, near = anchors(1, rows=8), anchors(2)
    whole, whole_gradient = runtime.embed("first", many), runtime.gradient("first", many, far=far, near=near)
    monkeypatch.setattr(onnx_runtime, "MAX_BATCH", 3)
    split = runtime.gradient("first", many, far=far, near=near)
    np.testing.assert_allclose(runtime.embed("first", many), whole, atol=1e-6)
    np.testing.assert_allclose(split.loss, whole_gradient.loss, atol=1e-6)
    np.testing.assert_allclose(split.gradient, whole_gradient.gradient, atol=1e-7)


def test_an_empty_batch_is_an_empty_answer(runtime: OnnxRuntime) -> None:
    empty = np.zeros((0, 3, 112, 112), np.float32)
    assert runtime.embed("first", empty).shape == (0, 16)
    result = runtime.gradient("first", empty, far=anchors(), near=anchors())
    assert (result.loss.shape, result.embedding.shape, result.gradient.shape) == ((0,), (0, 16), empty.shape)


def test_the_loss_is_nearness_less_farness(runtime: OnnxRuntime, crops: np.ndarray) -> None:
    far, near = anchors(1), anchors(2)
    result = runtime.gradient("first", crops, far=far, near=near[0])
    embedding = runtime.embed("first", crops)
    expected = embedding @ (near / np.linalg.norm(near))[0] - embedding @ (far / np.linalg.norm(far))[0]
    np.testing.assert_allclose(result.loss, expected, atol=1e-5)
    np.testing.assert_allclose(result.embedding, embedding, atol=1e-5)
    assert result.gradient.shape == crops.shape


def test_a_step_against_the_gradient_lowers_the_loss(runtime: OnnxRuntime, crops: np.ndarray) -> None:
    far, near = anchors(1), runtime.embed("first", crops[:1])
    before = runtime.gradient("first", crops, far=far, near=near)
    after = runtime.gradient("first", crops - 2 * np.sign(before.gradient), far=far, near=near)
    assert (after.loss < before.loss).all()


def test_a_zero_anchor_contributes_nothing(runtime: OnnxRuntime, crops: np.ndarray) -> None:
    zero = np.zeros(16)
    result = runtime.gradient("first", crops, far=zero, near=zero)
    np.testing.assert_allclose(result.loss, 0, atol=1e-7)
    np.testing.assert_allclose(result.gradient, 0, atol=1e-9)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((3, 112, 112), np.float32),
        np.zeros((1, 112, 112, 3), np.float32),
        np.zeros((1, 3, 112, 111), np.float32),
        np.zeros((1, 3, 112, 112), np.int64),
        np.full((1, 3, 112, 112), np.nan, np.float32),
        np.full((1, 3, 112, 112), np.inf, np.float32),
        "crops",
    ],
    ids=["rank", "layout", "size", "type", "nan", "inf", "text"],
)
def test_bad_crops_are_refused(runtime: OnnxRuntime, bad: np.ndarray) -> None:
    with pytest.raises(BatchInvalid):
        runtime.embed("first", bad)
    with pytest.raises(BatchInvalid):
        runtime.gradient("first", bad, far=anchors(), near=anchors())


@pytest.mark.parametrize(
    "bad",
    [np.zeros(15), np.zeros((2, 16)), np.zeros((1, 1, 16)), np.full(16, np.nan)],
    ids=["size", "rows", "rank", "nan"],
)
def test_bad_anchors_are_refused_by_name(runtime: OnnxRuntime, crops: np.ndarray, bad: np.ndarray) -> None:
    with pytest.raises(BatchInvalid, match="far"):
        runtime.gradient("first", crops, far=bad, near=anchors())
    with pytest.raises(BatchInvalid, match="near"):
        runtime.gradient("first", crops, far=anchors(), near=bad)


def test_an_evaluator_has_no_gradient(runtime: OnnxRuntime, crops: np.ndarray) -> None:
    assert runtime.embed("second", crops).shape == (3, 16)
    with pytest.raises(GradientUnavailable, match="second"):
        runtime.gradient("second", crops, far=anchors(), near=anchors())


def test_an_unknown_recognizer_is_named(runtime: OnnxRuntime, crops: np.ndarray) -> None:
    with pytest.raises(RecognizerUnknown, match="third"):
        runtime.embed("third", crops)


def test_a_changed_model_is_never_run(tmp_path: Path, repository: ModelRepository, crops: np.ndarray) -> None:
    store = ModelRepository(tmp_path)
    store.write(repository.spec("second"), model=repository.read_model("second"))
    store.model_path("second").write_bytes(repository.read_model("first"))
    with pytest.raises(ModelDamaged):
        OnnxRuntime(tmp_path).embed("second", crops)


def test_a_model_that_does_not_load_is_named(tmp_path: Path, crops: np.ndarray) -> None:
    ModelRepository(tmp_path).write(RecognizerSpec("broken", embedding_size=4), model=b"no onnx")
    with pytest.raises(RecognizerFailed, match="broken"):
        OnnxRuntime(tmp_path).embed("broken", crops)


def test_threads_share_it(runtime: OnnxRuntime, crops: np.ndarray) -> None:
    expected = runtime.gradient("first", crops, far=anchors(1), near=anchors(2)).gradient
    fresh = OnnxRuntime(runtime._repository.root, threads=1)
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(fresh.gradient, "first", crops, far=anchors(1), near=anchors(2)) for _ in range(32)]
        for job in jobs:
            np.testing.assert_array_equal(job.result().gradient, expected)


def test_it_leaves_the_floating_point_mode_alone(repository: ModelRepository) -> None:
    """session.set_denormal_as_zero would change how the whole process calculates."""
    code = (
        "import sys, numpy as np; from facecloak.recognizers import OnnxRuntime;"
        "OnnxRuntime(sys.argv[1], threads=1).embed('first', np.zeros((1, 3, 112, 112), np.float32));"
        "print(np.float32(1e-38) * np.float32(0.01) > 0)"
    )
    out = subprocess.run([sys.executable, "-c", code, repository.root], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "True"


def test_a_closed_runtime_says_so(runtime: OnnxRuntime, crops: np.ndarray) -> None:
    runtime.close()
    with pytest.raises(RecognizerFailed, match="closed"):
        runtime.embed("first", crops)
