"""One file of weights for both graphs of a recognizer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from facecloak.models.add import add_recognizer
from facecloak.models.convert.external_weights import SMALLEST_SHARED_BYTES, pointing_into, whole
from facecloak.models.errors import ModelDamaged
from facecloak.models.repository import ModelRepository
from facecloak.models.verify import verify_stored
from facecloak.recognizers.onnx_runtime import OnnxRuntime

SPEC = b'name = "mine"\n[preprocessing]\nmean = 127.5\nscale = 0.0078125'


@pytest.fixture
def repository(tmp_path: Path, make_network: Callable[..., onnx.ModelProto]) -> ModelRepository:
    repository = ModelRepository(tmp_path / "models")
    add_recognizer(repository, spec_toml=SPEC, onnx_file=make_network().SerializeToString())
    return repository


def test_what_points_into_the_other_file_is_the_same_model(make_network: Callable[..., onnx.ModelProto]) -> None:
    model = make_network()
    weights = b"before" + model.SerializeToString() + b"after"
    small = pointing_into(model, weights)
    outside = [tensor.name for tensor in small.graph.initializer if tensor.external_data]
    large = [one.name for one in model.graph.initializer if len(one.raw_data) >= SMALLEST_SHARED_BYTES]
    assert outside == large != []
    assert small.ByteSize() < model.ByteSize() - sum(len(one.raw_data) for one in model.graph.initializer) / 2
    restored = whole(small.SerializeToString(), weights)
    for found, expected in zip(restored.graph.initializer, model.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(found), numpy_helper.to_array(expected))


def test_other_weights_make_another_model(make_network: Callable[..., onnx.ModelProto]) -> None:
    model = make_network()
    data = model.SerializeToString()
    assert pointing_into(model, data) != pointing_into(model, data + b"\0")


@pytest.mark.parametrize("weights", [None, b"", b"short"])
def test_weights_that_are_not_there_are_refused(make_network: Callable[..., onnx.ModelProto], weights: bytes) -> None:
    model = make_network()
    small = pointing_into(model, model.SerializeToString()).SerializeToString()
    with pytest.raises(ValueError, match="another file"):
        whole(small, weights)


def test_one_inode_serves_both_and_loads_from_a_file_as_triton_does(
    repository: ModelRepository, crops: np.ndarray
) -> None:
    assert repository.weights_path("mine").samefile(repository.gradient_path("mine"))
    # Triton's own backend gives ONNX Runtime the file's path; we give it bytes whose digests were checked.
    session = ort.InferenceSession(str(repository.model_path("mine")), providers=["CPUExecutionProvider"])
    (by_path,) = session.run(["embedding"], {"crops": crops})
    np.testing.assert_array_equal(OnnxRuntime(repository.root).embed("mine", crops), by_path)


def test_a_copy_without_links_is_as_good(repository: ModelRepository, crops: np.ndarray, tmp_path: Path) -> None:
    shutil.copytree(repository.root, tmp_path / "copy")
    copy = ModelRepository(tmp_path / "copy")
    assert not copy.weights_path("mine").samefile(copy.gradient_path("mine"))
    assert verify_stored(copy, "mine") is None
    expected = OnnxRuntime(repository.root).embed("mine", crops)
    np.testing.assert_array_equal(OnnxRuntime(copy.root).embed("mine", crops), expected)


def test_a_file_system_without_links_gets_a_copy(
    tmp_path: Path, make_network: Callable[..., onnx.ModelProto], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    repository = ModelRepository(tmp_path / "models")
    add_recognizer(repository, spec_toml=SPEC, onnx_file=make_network().SerializeToString())
    assert not repository.weights_path("mine").samefile(repository.gradient_path("mine"))
    assert repository.is_intact("mine")


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damaged_weights_are_never_run(repository: ModelRepository, crops: np.ndarray, damage: str) -> None:
    path = repository.weights_path("mine")
    data = bytearray(path.read_bytes())
    path.unlink()  # the gradient graph stays whole
    if damage == "changed":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    assert not repository.is_intact("mine")
    with pytest.raises(ModelDamaged):
        OnnxRuntime(repository.root).embed("mine", crops)
    assert verify_stored(repository, "mine") is not None
    assert repository.read_gradient("mine")


def test_importing_again_leaves_one_file(
    repository: ModelRepository, make_network: Callable[..., onnx.ModelProto]
) -> None:
    changed = make_network(seed=5).SerializeToString()
    add_recognizer(repository, spec_toml=SPEC, onnx_file=changed, replace_existing=True)
    assert repository.weights_path("mine").samefile(repository.gradient_path("mine"))
    assert verify_stored(repository, "mine") is None
    add_recognizer(repository, spec_toml=SPEC, onnx_file=changed, replace_existing=True, with_gradient=False)
    assert not repository.weights_path("mine").exists()
    assert verify_stored(repository, "mine") is None
