from __future__ import annotations

from pathlib import Path

import pytest

from facecloak.models.errors import ModelDamaged, RecognizerUnknown
from facecloak.models.repository import ModelRepository, sha256_hex
from facecloak.models.spec import ModelKind, RecognizerSpec


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    return ModelRepository(tmp_path / "models")


def test_what_is_written_is_read(repository: ModelRepository) -> None:
    written = repository.write(RecognizerSpec(name="net", embedding_size=8), model=b"model", gradient=b"gradient")
    assert repository.spec("net") == written
    assert written.model_sha256 == sha256_hex(b"model")
    assert repository.read_model("net") == b"model"
    assert repository.read_gradient("net") == b"gradient"
    assert repository.is_intact("net")
    assert (repository.root / "net_grad" / "1" / "model.onnx").read_bytes() == b"gradient"


def test_names_are_by_kind_and_leave_gradients_out(repository: ModelRepository) -> None:
    repository.write(RecognizerSpec(name="net"), model=b"1", gradient=b"2")
    repository.write(RecognizerSpec(name="boxes", kind=ModelKind.FACE_DETECTOR), model=b"3")
    assert repository.names() == ("boxes", "net")
    assert repository.names(ModelKind.RECOGNIZER) == ("net",)


def test_an_empty_or_absent_repository_has_no_models(repository: ModelRepository) -> None:
    assert repository.names() == ()
    with pytest.raises(RecognizerUnknown, match="models pull"):
        repository.spec("net")


def test_a_page_in_the_folder_is_no_model(repository: ModelRepository) -> None:
    repository.write(RecognizerSpec(name="net"), model=b"model")
    (repository.root / "README.md").write_text("# Models")
    assert repository.folders() == repository.names() == ("net",)


@pytest.mark.parametrize("name", ["../net", "a/b", "", ".", "net\0", "é"])
def test_a_name_cannot_leave_the_folder(repository: ModelRepository, name: str) -> None:
    with pytest.raises(RecognizerUnknown):
        repository.read_model(name)


@pytest.mark.parametrize("content", [b"modeL", b"", b"model and more"])
def test_a_changed_file_is_refused(repository: ModelRepository, content: bytes) -> None:
    repository.write(RecognizerSpec(name="net"), model=b"model", gradient=b"gradient")
    repository.model_path("net").write_bytes(content)
    with pytest.raises(ModelDamaged, match="not the one"):
        repository.read_model("net")
    assert not repository.is_intact("net")


def test_a_missing_file_is_refused(repository: ModelRepository) -> None:
    repository.write(RecognizerSpec(name="net"), model=b"model", gradient=b"gradient")
    repository.gradient_path("net").unlink()
    with pytest.raises(ModelDamaged):
        repository.read_gradient("net")
    assert not repository.is_intact("net")


def test_an_interrupted_write_leaves_the_old_model_or_a_refusal(
    repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.write(RecognizerSpec(name="net"), model=b"old", gradient=b"old gradient")
    replaced: list[str] = []

    def fail_second(source: Path, target: Path) -> None:
        if replaced:
            raise OSError("disk full")
        replaced.append(str(target))
        source.rename(target)

    monkeypatch.setattr(Path, "replace", fail_second)
    with pytest.raises(OSError, match="disk full"):
        repository.write(RecognizerSpec(name="net"), model=b"new", gradient=b"new gradient")
    with pytest.raises(ModelDamaged):
        repository.read_model("net")
    assert not list(repository.root.rglob(".new-*"))


def test_a_model_without_gradient_drops_the_old_one(repository: ModelRepository) -> None:
    repository.write(RecognizerSpec(name="net"), model=b"old", gradient=b"old gradient")
    spec = repository.write(RecognizerSpec(name="net"), model=b"new")
    assert not spec.has_gradient
    assert not repository.gradient_path("net").exists()


def test_one_bad_folder_does_not_hide_the_others(repository: ModelRepository) -> None:
    repository.write(RecognizerSpec(name="net"), model=b"model")
    bad = repository.root / "bad" / "spec.toml"
    bad.parent.mkdir()
    bad.write_text("name = ")
    renamed = repository.root / "renamed" / "spec.toml"
    renamed.parent.mkdir()
    renamed.write_text('name = "other"')
    assert repository.names() == ("net",)
    assert repository.folders() == ("bad", "net", "renamed")
    with pytest.raises(ModelDamaged):
        repository.spec("renamed")


def test_reading_needs_neither_onnx_nor_torch() -> None:
    """apply_service loads face finders through here."""
    import subprocess
    import sys

    code = (
        "import sys, facecloak.recognizers, facecloak.recognizers.onnx_runtime, facecloak.models.catalog,"
        " facecloak.models.pull, facecloak.commands.models;"
        "print([m for m in ('onnx', 'torch', 'grpc', 'rich') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
