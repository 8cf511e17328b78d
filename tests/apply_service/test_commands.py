"""`facecloak apply`: in process and through a server; never a silent success."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import simplejpeg
from click.testing import CliRunner, Result

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
def photo(tmp_path: Path, astronaut_photo: bytes) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(astronaut_photo)
    return path


@pytest.fixture(params=["here", "server"])
def where(request: pytest.FixtureRequest, service: Any) -> list[str]:
    """The options that choose this process or a server, both on the same store."""
    if request.param == "server":
        return ["--target", service.server.target]
    return ["--data", str(service.settings.store.data)]


def test_the_cloaked_photo_is_written(run: Any, photo: Path, tmp_path: Path, where: list[str]) -> None:
    output = tmp_path / "out.jpg"
    done = run("apply", "--user", "alice", photo, "-o", output, "--json", *where)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == {"outcome": "CLOAKED", "output": str(output)}
    assert output.read_bytes() != photo.read_bytes()
    assert simplejpeg.decode_jpeg(output.read_bytes()).shape == (512, 512, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jpg", "photo.jpg"]


def test_here_and_at_a_server_the_result_is_the_same(run: Any, photo: Path, tmp_path: Path, service: Any) -> None:
    written = []
    for name, options in (("a", ["--target", service.server.target]), ("b", ["--data", service.settings.store.data])):
        assert run("apply", "--user", "alice", photo, "-o", tmp_path / name, *options).exit_code == 0
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]


def test_what_is_not_cloaked_is_not_written(run: Any, photo: Path, tmp_path: Path, where: list[str]) -> None:
    output = tmp_path / "out.jpg"
    done = run("apply", "--user", "nobody", photo, "-o", output, "--json", *where)
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {"outcome": "NO_MASK", "output": None}
    assert "not cloaked: NO_MASK" in done.stderr
    assert not output.exists()


def test_unless_that_is_allowed(run: Any, photo: Path, tmp_path: Path, where: list[str]) -> None:
    output = tmp_path / "out.jpg"
    done = run("apply", "--user", "nobody", photo, "-o", output, "--allow-uncloaked", *where)
    assert done.exit_code == 0
    assert "not cloaked: NO_MASK" in done.stderr
    assert output.read_bytes() == photo.read_bytes()


def test_two_faces_need_the_face_option(
    run: Any, tmp_path: Path, astronaut_srgb_u8: np.ndarray, where: list[str]
) -> None:
    twins, output = tmp_path / "twins.jpg", tmp_path / "out.jpg"
    pixels = np.ascontiguousarray(np.hstack([astronaut_srgb_u8, astronaut_srgb_u8]))
    twins.write_bytes(simplejpeg.encode_jpeg(pixels, colorspace="RGB"))
    unclear = run("apply", "--user", "alice", twins, "-o", output, *where)
    assert unclear.exit_code == 1
    assert "AMBIGUOUS_FACE" in unclear.stderr
    assert run("apply", "--user", "alice", twins, "-o", output, "--face", "160,50,130,160", *where).exit_code == 0


def test_a_refusal_is_exit_code_1(run: Any, tmp_path: Path, where: list[str]) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not a photo")
    done = run("apply", "--user", "alice", broken, "-o", tmp_path / "out.jpg", *where)
    assert done.exit_code == 1
    assert "UNSUPPORTED_PHOTO" in done.stderr
    assert run("apply", "--user", "", broken, "-o", tmp_path / "out.jpg", *where).exit_code == 1
    assert not (tmp_path / "out.jpg").exists()


def test_wrong_usage_is_exit_code_2(run: Any, photo: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "out.jpg")
    for arguments in (
        ["apply", "--user", "a", photo],
        ["apply", "--user", "a", photo, "-o", photo],
        ["apply", "--user", "a", photo, "-o", output, "--face", "1,2,3"],
        ["apply", "--user", "a", photo, "-o", output, "--face", "a,b,c,d"],
        ["apply", "--user", "a", photo, "-o", output, "--target", "h:1", "--data", "d"],
    ):
        assert run(*arguments).exit_code == 2


def test_an_output_that_cannot_be_written_is_exit_code_1(run: Any, photo: Path, service: Any) -> None:
    done = run("apply", "--user", "alice", photo, "-o", "/no/such/folder/x.jpg", "--target", service.server.target)
    assert done.exit_code == 1
    assert "/no/such/folder/x.jpg" in done.stderr
