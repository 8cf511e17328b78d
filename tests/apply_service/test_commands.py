"""`facecloak apply`: in process and through a server; never a silent success."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import simplejpeg
from click.testing import CliRunner, Result

from apply_service.commands import register
from facecloak.cli import RootGroup
from facecloak.users import User


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
    record = json.loads(done.stdout)
    assert (record["outcome"], record["output"]) == ("CLOAKED", str(output))
    assert (record["placement"], record["strength"], record["encoding_path"]) == ("LANDMARKS", 1.0, "SPLICED")
    assert len(record["mask_id"]) == 32
    left, top, width, height = record["face"]["box"]
    assert 170 < left < 190 < 250 < left + width
    assert 45 < top < 70 < 160 < top + height
    assert len(record["face"]["landmarks"]) == 5
    assert (record["advice"], record["faces"]) == ("", [])
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
    record = json.loads(done.stdout)
    assert (record["outcome"], record["output"], record["mask_id"], record["placement"]) == (
        "NO_MASK",
        None,
        None,
        None,
    )
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
    # The faces are printed as the option takes them.
    first, second = re.findall(r"--face: (\S+)$", unclear.stdout, re.MULTILINE)
    for face in (first, second, "160,50,130,160"):
        assert run("apply", "--user", "alice", twins, "-o", output, "--face", face, *where).exit_code == 0


def test_what_was_done_is_printed(run: Any, photo: Path, tmp_path: Path, where: list[str]) -> None:
    output = tmp_path / "out.jpg"
    done = run("apply", "--user", "alice", photo, "-o", output, *where)
    assert done.exit_code == 0, done.stderr
    assert re.fullmatch(
        rf"CLOAKED: {output}\nface: \d+,\d+,\d+,\d+\nplaced by: LANDMARKS, strength 1.00\nmask: [0-9a-f]{{32}}\n",
        done.stdout,
    )
    again = run("apply", "--user", "alice", output, "-o", tmp_path / "again.jpg", *where)
    assert again.exit_code == 0
    assert again.stdout.startswith("ALREADY_CLOAKED: ")
    assert (tmp_path / "again.jpg").read_bytes() == output.read_bytes()


def test_the_photo_goes_to_standard_output(run: Any, photo: Path, tmp_path: Path, where: list[str]) -> None:
    output = tmp_path / "out.jpg"
    assert run("apply", "--user", "alice", photo, "-o", output, *where).exit_code == 0
    done = run("apply", "--user", "alice", photo, "-o", "-", "--json", *where)
    assert done.exit_code == 0, done.stderr
    assert done.stdout_bytes == output.read_bytes()
    assert json.loads(done.stderr.splitlines()[-1])["outcome"] == "CLOAKED"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jpg", "photo.jpg"]
    assert not Path("-").exists()


@pytest.mark.parametrize("name", ["x.png", "x.webp", "x.HEIC", "x.gif"])
def test_a_name_of_another_format_is_refused(run: Any, photo: Path, tmp_path: Path, name: str) -> None:
    done = run("apply", "--user", "alice", photo, "-o", tmp_path / name, "--data", tmp_path / "data")
    assert done.exit_code == 2
    assert "a photo keeps its format" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.jpg"]


@pytest.mark.parametrize("name", ["x.jpeg", "x.JPG", "x", "x.bin"])
def test_other_names_are_free(run: Any, photo: Path, tmp_path: Path, service: Any, name: str) -> None:
    options = ["--target", service.server.target]
    assert run("apply", "--user", "alice", photo, "-o", tmp_path / name, *options).exit_code == 0
    assert simplejpeg.decode_jpeg((tmp_path / name).read_bytes()).shape == (512, 512, 3)


def test_an_older_mask_is_told_and_put_over_only_when_asked(
    run: Any, photo: Path, tmp_path: Path, service: Any, where: list[str]
) -> None:
    older, output = tmp_path / "older.jpg", tmp_path / "out.jpg"
    service.store.put(User("", "dora"), service.masks["alice"])
    assert run("apply", "--user", "dora", photo, "-o", older, *where).exit_code == 0
    service.store.put(User("", "dora"), service.masks["bob"])
    done = run("apply", "--user", "dora", older, "-o", output, *where)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("OLDER_CLOAK: ")
    assert output.read_bytes() == older.read_bytes()
    done = run("apply", "--user", "dora", older, "-o", output, "--recloak", *where)
    assert done.stdout.startswith("CLOAKED: ")
    assert output.read_bytes() != older.read_bytes()


@pytest.fixture(params=["here", "server"])
def finding(request: pytest.FixtureRequest, service: Any) -> list[str]:
    return ["--target", service.server.target] if request.param == "server" else []


def test_faces_are_listed(run: Any, photo: Path, tmp_path: Path, finding: list[str]) -> None:
    done = run("faces", photo, "--json", *finding)
    assert done.exit_code == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["width"], record["height"]) == (512, 512)
    (face,) = record["faces"]
    assert len(face["landmarks"]) == 5
    assert 0.5 < face["score"] <= 1
    done = run("faces", photo, *finding)
    assert re.fullmatch(r"\d+,\d+,\d+,\d+  score \d\.\d\d\n", done.stdout)
    assert [round(number) for number in face["box"]] == [int(part) for part in done.stdout.split()[0].split(",")]


def test_no_face_is_said(run: Any, tmp_path: Path, finding: list[str]) -> None:
    gray = tmp_path / "gray.jpg"
    gray.write_bytes(simplejpeg.encode_jpeg(np.full((64, 64, 3), 120, np.uint8), colorspace="RGB"))
    done = run("faces", gray, *finding)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no face" in done.stderr
    assert json.loads(run("faces", gray, "--json", *finding).stdout)["faces"] == []
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not a photo")
    assert run("faces", broken, *finding).exit_code == 1


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
