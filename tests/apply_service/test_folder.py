"""`facecloak apply DIR/ -o OUT/`: every photo under its own name, a report, and exit codes that can be relied on."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import simplejpeg
from click.testing import CliRunner, Result
from PIL import Image

from apply_service.commands import register
from facecloak.cli import RootGroup


@pytest.fixture
def run(model_repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("FACECLOAK_MODEL_REPOSITORY", str(model_repository))
    root = RootGroup("facecloak")
    root.add_command(click.Group("serve"))
    register(root)

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(root, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture
def album(tmp_path: Path, astronaut_photo: bytes, astronaut_srgb_u8: np.ndarray) -> Path:
    """Two photos that can be cloaked, one of them a PNG with a name that says nothing, and what else folders hold."""
    folder = tmp_path / "album"
    (folder / "2024" / "may").mkdir(parents=True)
    (folder / ".thumbnails").mkdir()
    (folder / "a.jpg").write_bytes(astronaut_photo)
    png = io.BytesIO()
    Image.fromarray(astronaut_srgb_u8).save(png, "PNG")
    (folder / "2024" / "may" / "b").write_bytes(png.getvalue())
    (folder / ".thumbnails" / "a.jpg").write_bytes(astronaut_photo)
    (folder / "notes.txt").write_text("no photo")
    return folder


@pytest.fixture(params=["here", "server"])
def where(request: pytest.FixtureRequest, service: Any) -> list[str]:
    if request.param == "server":
        return ["--target", service.server.target]
    return ["--data", str(service.settings.store.data)]


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def add_what_cannot_be_cloaked(album: Path) -> None:
    (album / "gray.jpg").write_bytes(simplejpeg.encode_jpeg(np.full((64, 64, 3), 120, np.uint8), colorspace="RGB"))
    (album / "cut.jpg").write_bytes((album / "a.jpg").read_bytes()[:4000])


def test_every_photo_is_cloaked_under_its_own_name(run: Any, album: Path, tmp_path: Path, where: list[str]) -> None:
    done = run("apply", "--user", "alice", f"{album}/", "-o", tmp_path / "out", *where)
    assert done.exit_code == 0, done.stderr
    assert files_in(tmp_path / "out") == ["2024/may/b", "a.jpg"]
    for name in files_in(tmp_path / "out"):
        cloaked, original = (Image.open(folder / name) for folder in (tmp_path / "out", album))
        assert (cloaked.format, cloaked.size) == (original.format, original.size)
        assert cloaked.tobytes() != original.tobytes()
    assert done.stdout == "2 photos: 2 CLOAKED\n"
    single = tmp_path / "single.jpg"
    assert run("apply", "--user", "alice", album / "a.jpg", "-o", single, *where).exit_code == 0
    assert Image.open(single).tobytes() == Image.open(tmp_path / "out" / "a.jpg").tobytes()
    # What is cloaked stays as it is, and is well so.
    again = run("apply", "--user", "alice", tmp_path / "out", "-o", tmp_path / "again", *where)
    assert (again.exit_code, again.stdout) == (0, "2 photos: 2 ALREADY_CLOAKED\n")


def test_one_photo_that_fails_is_named_and_the_others_go_on(
    run: Any, album: Path, tmp_path: Path, where: list[str]
) -> None:
    add_what_cannot_be_cloaked(album)
    done = run("apply", "--user", "alice", album, "-o", tmp_path / "out", *where)
    assert done.exit_code == 1
    assert files_in(tmp_path / "out") == ["2024/may/b", "a.jpg"]
    first, *others = done.stdout.splitlines()
    assert first == "4 photos: 2 CLOAKED, 1 PHOTO_TRUNCATED, 1 NO_FACE"
    assert [line.split(",")[0] for line in others] == ["cut.jpg: PHOTO_TRUNCATED", "gray.jpg: NO_FACE"]
    assert "2 of 4 photos were not written" in done.stderr


def test_what_cannot_be_cloaked_is_written_only_if_allowed(
    run: Any, album: Path, tmp_path: Path, where: list[str]
) -> None:
    add_what_cannot_be_cloaked(album)
    (album / "cut.jpg").unlink()
    options = ["--allow-uncloaked", "--json", *where]
    done = run("apply", "--user", "alice", album, "-o", tmp_path / "out", *options)
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["counts"] == {"CLOAKED": 2, "NO_FACE": 1}
    by_name = {record["photo"]: record for record in report["photos"]}
    assert by_name["gray.jpg"]["output"] == str(tmp_path / "out" / "gray.jpg")
    assert (tmp_path / "out" / "gray.jpg").read_bytes() == (album / "gray.jpg").read_bytes()
    assert len(by_name["a.jpg"]["mask_id"]) == 32


def test_a_user_without_a_mask_has_nothing_written(run: Any, album: Path, tmp_path: Path, where: list[str]) -> None:
    done = run("apply", "--user", "nobody", album, "-o", tmp_path / "out", *where)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (1, "2 photos: 2 NO_MASK")
    assert not (tmp_path / "out").exists()


def test_what_is_no_photos_fault_ends_the_run(run: Any, album: Path, tmp_path: Path) -> None:
    done = run("apply", "--user", "alice", album, "-o", tmp_path / "out", "--target", "127.0.0.1:1")
    assert done.exit_code == 1
    assert "UNAVAILABLE" in done.stderr
    assert not (tmp_path / "out").exists()
    assert run("apply", "--user", "", album, "-o", tmp_path / "out", "--data", tmp_path / "data").exit_code == 1


def test_missing_models_are_said_once(
    run: Any, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: Any
) -> None:
    monkeypatch.setenv("FACECLOAK_MODEL_REPOSITORY", str(tmp_path / "no-models"))
    done = run("apply", "--user", "alice", album, "-o", tmp_path / "out", "--data", service.settings.store.data)
    assert done.exit_code == 1
    assert done.stderr.count("models pull") == 1
    assert done.stdout == "0 photos: -\n"
    assert not (tmp_path / "out").exists() or files_in(tmp_path / "out") == []


def test_a_folder_without_photos_is_done(run: Any, tmp_path: Path, where: list[str]) -> None:
    (tmp_path / "empty").mkdir()
    done = run("apply", "--user", "alice", tmp_path / "empty", "-o", tmp_path / "out", *where)
    assert (done.exit_code, done.stdout) == (0, "0 photos: -\n")


def test_wrong_usage_is_refused_before_any_work(run: Any, album: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for arguments in (
        [album, "-o", album],
        [album, "-o", album / "out"],
        [album / "2024", "-o", album],
        [album, "-o", tmp_path / "file"],
        [album, "-o", tmp_path / "out", "--face", "1,2,3,4"],
        [album / "a.jpg", "-o", album],
    ):
        done = run("apply", "--user", "alice", *arguments, "--data", tmp_path / "data")
        assert done.exit_code == 2, (arguments, done.output)
    assert files_in(album) == [".thumbnails/a.jpg", "2024/may/b", "a.jpg", "notes.txt"]
