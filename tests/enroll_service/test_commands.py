"""enroll, delete, anchors, pool: in process and through a server."""

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

from enroll_service.commands import register
from enroll_service.pipeline.perturb.anchors import AnchorPool
from enroll_service.pipeline.synthesize.face_morphing import FACES_FILE, FacePool
from facecloak.cli import RootGroup
from facecloak_rpc.storage import StoreSettings, open_configured_store
from tests.users import ALICE


@pytest.fixture
def run(model_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("FACECLOAK_MODEL_REPOSITORY", str(model_repository))
    monkeypatch.setenv("FACECLOAK_ENROLL_SURROGATES", '["mobileface"]')
    monkeypatch.setenv("FACECLOAK_ENROLL_RECIPE", str(Path(__file__).parents[1] / "recipes" / "quick.toml"))
    monkeypatch.setenv("FACECLOAK_ENROLL_STORE__DATA", str(tmp_path / "data"))
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


def test_enroll_and_delete_in_process(run: Any, photo: Path, tmp_path: Path) -> None:
    data = tmp_path / "elsewhere"
    done = run("enroll", "--user", "alice", photo, "--data", data, "--seed", 3, "--json")
    assert done.exit_code == 0, done.stderr
    printed = json.loads(done.stdout)
    assert "seed" not in printed
    assert open_configured_store(StoreSettings(data=data)).get(ALICE).seed == 3
    assert printed["report"]["surrogates"] == ["mobileface"]
    assert open_configured_store(StoreSettings(data=data)).get(ALICE).mask_id == printed["mask_id"]
    added = run("enroll", "--user", "alice", photo, "--add", "--data", data, "--json")
    assert json.loads(added.stdout)["report"]["photo_count"] == 2
    assert json.loads(run("delete", "--user", "alice", "--data", data, "--json").stdout) == {"deleted": True}
    nothing = run("enroll", "--user", "alice", photo, "--add", "--data", data)
    assert (nothing.exit_code, "MASK_NOT_FOUND" in nothing.stderr) == (1, True)
    assert run("delete", "--user", "alice", "--data", data).stdout == "there was no mask\n"


def test_photos_that_do_not_qualify_are_left_out_where_asked(run: Any, photo: Path, tmp_path: Path) -> None:
    blank = tmp_path / "blank.jpg"
    blank.write_bytes(simplejpeg.encode_jpeg(np.full((300, 400, 3), 120, np.uint8), colorspace="RGB"))
    options = ("enroll", "--user", "alice", "--data", tmp_path / "elsewhere", "--leave-out-unfit")
    report = json.loads(run(*options, blank, photo, "--json").stdout)["report"]
    assert (report["photo_count"], report["photos_left_out"]) == (1, [{"photo": 0, "reason": "NO_FACE"}])
    assert (
        "warning: Photo 0 (counted from 0) was left out: No face was found in the photo."
        in run(*options, blank, photo).stdout
    )
    nobody = run(*options, blank)
    assert (nobody.exit_code, "NO_FACE" in nobody.stderr) == (1, True)


def test_a_face_is_pointed_at_in_one_photo_only(run: Any, photo: Path, tmp_path: Path) -> None:
    there, nowhere = "160,50,120,150", "0,300,60,60"
    options = ("enroll", "--user", "alice", "--data", tmp_path / "elsewhere")
    assert run(*options, photo, "--face", there).exit_code == 0
    refused = run(*options, photo, "--face", nowhere)
    assert refused.exit_code == 1
    assert "NO_FACE" in refused.stderr
    assert run(*options, photo, photo, "--face", there).exit_code == 2
    assert run(*options, photo, "--face", "1,2,3").exit_code == 2


def test_enroll_and_delete_through_a_server(run: Any, photo: Path, service: Any) -> None:
    service.gate.open()
    target = service.server.target
    done = run("enroll", "--user", "alice", photo, photo, "--target", target, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["report"]["photo_count"] == 2
    assert service.store.get(ALICE).mask_id == json.loads(done.stdout)["mask_id"]
    assert run("enroll", "--user", "alice", photo, "--add", "--target", target).exit_code == 0
    assert service.gate.earlier == [None, json.loads(done.stdout)["mask_id"]]
    assert run("enroll", "--user", "alice", photo, "--leave-out-unfit", "--target", target).exit_code == 0
    assert service.gate.leave_out_unfit == [False, False, True]
    assert run("delete", "--user", "alice", "--target", target).stdout == "deleted\n"


def test_consent_is_recorded_by_options(run: Any, photo: Path, service: Any) -> None:
    service.gate.open()
    options = ("enroll", "--user", "alice", photo, "--target", service.server.target)
    at = ("--consent-given", "2026-01-31T12:00:00+02:00", "--consent-expires", "2035-01-31T12:00:00+02:00")
    done = run(*options, "--consent", "v7", "--consent-purpose", "cloaking", *at, "--json")
    assert done.exit_code == 0, done.stderr
    kept = service.store.get(ALICE).consent
    assert (kept.text_version, kept.purpose, kept.given_at[:19]) == ("v7", "cloaking", "2026-01-31T10:00:00")
    told = json.loads(done.stdout)["consent"]
    assert {name: text[:19] for name, text in told.items()} == {
        "text_version": "v7", "purpose": "cloaking", "given_at": "2026-01-31T10:00:00",
        "expires_at": "2035-01-31T10:00:00",
    }  # fmt: skip
    assert "consent to v7" in run(*options, "--consent", "v7", "--consent-purpose", "cloaking").stdout
    for wrong in (
        ("--consent", "v7"), at, ("--consent", "v7", "--consent-purpose", "p", "--consent-given", "yesterday"),
    ):  # fmt: skip
        assert run(*options, *wrong).exit_code == 2
    over = ("--consent-given", "2020-01-31", "--consent-expires", "2021-01-31")
    refused = run(*options, "--consent", "v7", "--consent-purpose", "p", *over)
    assert (refused.exit_code, "CONSENT_INVALID" in refused.stderr) == (1, True)


def test_a_refusal_is_one_line_and_exit_code_1(run: Any, tmp_path: Path) -> None:
    blank = tmp_path / "blank.jpg"
    blank.write_bytes(simplejpeg.encode_jpeg(np.full((300, 400, 3), 120, np.uint8), colorspace="RGB"))
    for arguments in (["enroll", "--user", "a", blank], ["enroll", "--user", "", blank], ["delete", "--user", "\n"]):
        done = run(*arguments)
        assert done.exit_code == 1
        assert done.stderr.strip().splitlines()[-1].startswith("facecloak: ")
    assert f"{blank}: No face was found in the photo. (NO_FACE)" in run("enroll", "--user", "a", blank).stderr


def test_the_file_at_fault_is_named(run: Any, photo: Path, tmp_path: Path) -> None:
    blank, broken = tmp_path / "blank.jpg", tmp_path / "broken.jpg"
    blank.write_bytes(simplejpeg.encode_jpeg(np.full((300, 400, 3), 120, np.uint8), colorspace="RGB"))
    broken.write_bytes(b"no photo")
    for bad, reason in ((blank, "NO_FACE"), (broken, "UNSUPPORTED_PHOTO")):
        done = run("enroll", "--user", "a", photo, bad)
        assert done.exit_code == 1
        line = done.stderr.strip().splitlines()[-1]
        assert line.startswith(f"facecloak: {bad}: ")
        assert line.endswith(f"({reason})")


def test_the_faces_to_choose_from_are_printed(run: Any, tmp_path: Path, astronaut_srgb_u8: np.ndarray) -> None:
    twins = tmp_path / "twins.jpg"
    pixels = np.ascontiguousarray(np.hstack([astronaut_srgb_u8, astronaut_srgb_u8]))
    twins.write_bytes(simplejpeg.encode_jpeg(pixels, colorspace="RGB"))
    done = run("enroll", "--user", "a", twins)
    assert (done.exit_code, "SEVERAL_FACES" in done.stderr) == (1, True)
    boxes = re.findall(r"\d+,\d+,\d+,\d+", done.stderr)
    assert len(boxes) == 2
    for box in boxes:
        assert run("enroll", "--user", "a", twins, "--face", box).exit_code == 0


def test_a_server_that_is_not_there_is_exit_code_1(run: Any, photo: Path) -> None:
    done = run("enroll", "--user", "a", photo, "--target", "127.0.0.1:1", "--timeout", "5")
    assert done.exit_code == 1
    assert "UNAVAILABLE" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["enroll", "--user", "a"],
        ["enroll", "photo.jpg"],
        ["enroll", "--user", "a", "no-such-file.jpg"],
        ["delete", "--user", "a", "--target", "h:1", "--data", "d"],
    ],
)
def test_wrong_usage_is_exit_code_2(run: Any, arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_anchors_are_built_from_portraits(
    run: Any, tmp_path: Path, astronaut_srgb_u8: np.ndarray, astronaut_photo: bytes
) -> None:
    folder, pool = tmp_path / "portraits", tmp_path / "pool.npz"
    folder.mkdir()
    (folder / "notes.txt").write_text("not a photo")
    (folder / "one.jpg").write_bytes(astronaut_photo)
    few = run("anchors", "build", folder, "-o", pool)
    assert few.exit_code == 1
    assert "ANCHOR_POOL_UNUSABLE" in few.stderr
    for number in range(20):
        varied = np.clip(astronaut_srgb_u8.astype(int) + number, 0, 255).astype(np.uint8)
        (folder / f"{number}.jpg").write_bytes(simplejpeg.encode_jpeg(varied, colorspace="RGB"))
    done = run("anchors", "build", folder, "-o", pool, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == {"portraits": 21, "skipped": 1, "output": str(pool)}
    assert list(AnchorPool.load(pool).centers) == ["mobileface"]


def test_a_pool_of_faces_is_built_from_pictures_and_used(
    run: Any, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, pool = tmp_path / "pictures", tmp_path / "faces.jpg"
    (folder / "below").mkdir(parents=True)
    sheet = simplejpeg.decode_jpeg(FACES_FILE.read_bytes(), colorspace="RGB")
    # Four rows of eight faces, and a picture that is none.
    (folder / "below" / "faces.jpg").write_bytes(simplejpeg.encode_jpeg(sheet[: 4 * 112].copy(), colorspace="RGB"))
    (folder / "notes.txt").write_text("not a photo")
    monkeypatch.setenv("FACECLOAK_ENROLL_INTAKE", '{"min_sharpness": 1}')
    done = run("pool", "faces", folder, "-o", pool, "--count", "20", "--json")
    assert done.exit_code == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["faces"] >= 20
    assert counts["skipped"] >= 1
    assert counts | {"blends": 20, "output": str(pool)} == counts
    assert FacePool.load(pool).faces.shape == (20, 112, 112, 3)
    monkeypatch.setenv("FACECLOAK_ENROLL_FACE_POOL", str(pool))
    enrolled = run("enroll", "--user", "morphed", photo, "--json")
    assert enrolled.exit_code == 0, enrolled.stderr
    assert FacePool.load(pool).identity in enrolled.stdout
    assert str(pool) not in enrolled.stdout
    (folder / "below" / "faces.jpg").write_bytes(simplejpeg.encode_jpeg(sheet[:112].copy(), colorspace="RGB"))
    few = run("pool", "faces", folder, "-o", pool)
    assert few.exit_code == 1
    assert "FACE_POOL_UNUSABLE" in few.stderr
