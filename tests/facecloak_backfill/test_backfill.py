"""`facecloak backfill` as it is run: each photo once, whatever is killed, and every one that is not there is named."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from tests.facecloak_backfill.conftest import Archive
from tests.stores.conftest import S3Server

BY_FOLDER = ("--user-pattern", "{user}/**")


def wait_for(condition: Callable[[], bool], *, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def processes_of(session: int) -> list[int]:
    """Who is alive in a process group."""
    alive = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == session and fields[0] != "Z":
            alive.append(int(stat.parent.name))
    return alive


def test_every_photo_is_cloaked_and_what_cannot_be_is_named(archive: Archive, astronaut_photo: bytes) -> None:
    archive.add(6, photo=astronaut_photo)
    good = archive.names()
    gray = simplejpeg.encode_jpeg(np.full((90, 90, 3), 99, np.uint8), colorspace="RGB")
    (archive.source / "alice" / "gray.jpg").write_bytes(gray)
    (archive.source / "bob" / "cut.jpg").write_bytes(astronaut_photo[:5000])
    (archive.source / "carol").mkdir()
    (archive.source / "carol" / "1.jpg").write_bytes(astronaut_photo)
    (archive.source / "alice" / "notes.txt").write_text("no photo")
    (archive.source / "alice" / ".hidden.jpg").write_bytes(astronaut_photo)
    done = archive.run(*BY_FOLDER, "--json")
    assert done.returncode == 1, done.stderr
    assert archive.written() == good
    report = json.loads(done.stdout)
    assert report["fates"] == {"written": 6, "skipped": 0, "dead": 3, "left": 0}
    assert report["left_out_by_name"] == 1
    assert report["a_photo"]["bytes_read"] > 10_000
    assert report["a_photo"]["cpu_ms"] > 0
    assert report["requests_of_listing_and_ledger"]["list"] >= 1
    dead = {record["name"]: record["outcome"] for record in archive.records(kind="dead")}
    assert dead == {"alice/gray.jpg": "NO_FACE", "bob/cut.jpg": "PHOTO_TRUNCATED", "carol/1.jpg": "NO_MASK"}
    for name in ("alice/gray.jpg", "bob/cut.jpg", "carol/1.jpg"):
        (archive.source / name).unlink()
    archive.assert_cloaked_once()
    # Dead letters stay what they are, until somebody asks to try again.
    again = json.loads(archive.run(*BY_FOLDER, "--json").stdout)
    assert (again["photos"], again["done_before"]) == (0, 6)


def test_without_models_no_photo_is_to_blame(archive: Archive, astronaut_photo: bytes, tmp_path: Path) -> None:
    archive.add(2, photo=astronaut_photo)
    nowhere = replace(archive, model_repository=tmp_path / "no-models")
    done = nowhere.run(*BY_FOLDER, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["fates"] == {"written": 0, "skipped": 0, "dead": 0, "left": 2}
    # The report lies where a person is told to look.
    told = nowhere.run(*BY_FOLDER).stdout
    assert "2 left" in told
    assert Path(told.splitlines()[-1].removeprefix("report: ")).is_file()
    assert archive.written() == []
    # Nothing has to be asked for to try them again.
    done = archive.run(*BY_FOLDER, "--json")
    assert done.returncode == 0, done.stderr
    assert archive.written() == archive.names()


def test_outcomes_may_be_accepted_and_dead_letters_tried_again(archive: Archive, astronaut_photo: bytes) -> None:
    archive.add(2, photo=astronaut_photo)
    gray = simplejpeg.encode_jpeg(np.full((90, 90, 3), 99, np.uint8), colorspace="RGB")
    (archive.source / "alice" / "gray.jpg").write_bytes(gray)
    assert archive.run(*BY_FOLDER).returncode == 1
    done = archive.run(*BY_FOLDER, "--retry-dead", "--accept", "NO_FACE", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcomes"] == {"written: NO_FACE": 1}
    assert (archive.destination / "alice" / "gray.jpg").read_bytes() == gray


def test_a_run_that_is_killed_goes_on(archive: Archive, astronaut_photo: bytes) -> None:
    archive.add(60, photo=astronaut_photo)
    # A session that ends well first, so that there are records as well as photos without one.
    assert archive.run(*BY_FOLDER, "--limit", 10).returncode == 0
    assert len(archive.records()) == 10
    killed = archive.start(*BY_FOLDER, "--workers", 2)
    wait_for(lambda: len(archive.written()) >= 20)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    # Its processes end by themselves.
    wait_for(lambda: not processes_of(killed.pid), seconds=30)
    assert 20 <= len(archive.written()) < 60
    before = {name: (archive.destination / name).stat().st_mtime_ns for name in archive.written()}
    assert len(archive.records()) == 10
    done = archive.run(*BY_FOLDER, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["photos"], report["done_before"]) == (50, 10)
    assert report["found_at_destination"] == len(before) - 10
    # Nothing is lost, written again, or told twice.
    assert archive.written() == archive.names()
    assert {name: (archive.destination / name).stat().st_mtime_ns for name in before} == before
    assert sorted(record["name"] for record in archive.records()) == archive.names()
    assert not [path for path in archive.destination.rglob(".new-*") if time.time() - path.stat().st_mtime > 3600]
    archive.assert_cloaked_once()
    assert "nothing to do" in archive.run(*BY_FOLDER).stdout


def test_object_storage_is_like_a_folder(
    archive: Archive, astronaut_photo: bytes, s3_environment: S3Server, tmp_path: Path
) -> None:
    pytest.importorskip("obstore", reason="needs the extra backfill")
    archive.add(6, photo=astronaut_photo)
    client, bucket, prefix = s3_environment.client, s3_environment.bucket, tmp_path.name
    for name in archive.names():
        data = (archive.source / name).read_bytes()
        client.put_object(bucket, f"{prefix}/in/{name}", io.BytesIO(data), len(data))
    places = {"source": f"s3://{bucket}/{prefix}/in", "destination": f"s3://{bucket}/{prefix}/out"}
    half = archive.run(*BY_FOLDER, "--limit", 3, "--json", **places)
    assert half.returncode == 0, half.stderr
    # One that a killed session wrote and could not record, and one that is somebody else's.
    client.put_object(bucket, f"{prefix}/out/bob/0005.jpg", io.BytesIO(b"not ours"), 8)
    done = archive.run(*BY_FOLDER, "--json", **places)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert (report["photos"], report["done_before"]) == (3, 3)
    assert report["outcomes"] == {"written: CLOAKED": 2, "dead: OCCUPIED": 1}
    # A get and a put each, a head of what may be there, and the look at what was.
    assert report["a_photo"]["requests"]["put"] == 1
    assert client.get_object(bucket, f"{prefix}/out/bob/0005.jpg").read() == b"not ours"
    (archive.source / "bob" / "0005.jpg").unlink()
    archive.assert_cloaked_once(lambda name: client.get_object(bucket, f"{prefix}/out/{name}").read())


def test_what_another_process_wrote_is_found(archive: Archive, astronaut_photo: bytes) -> None:
    """Two runs over the same photos, as after a kill without a trace of the first."""
    archive.add(4, photo=astronaut_photo)
    assert archive.run(*BY_FOLDER).returncode == 0
    done = archive.run(*BY_FOLDER, "--run", "other", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["found_at_destination"] == 4
    archive.assert_cloaked_once()


def test_a_manifest_says_who_is_where(archive: Archive, astronaut_srgb_u8: np.ndarray, tmp_path: Path) -> None:
    both = simplejpeg.encode_jpeg(np.hstack([astronaut_srgb_u8, astronaut_srgb_u8]), quality=90, colorspace="RGB")
    (archive.source / "both.jpg").write_bytes(both)
    manifest = tmp_path / "people.csv"
    manifest.write_text(
        'path,user_id,face\nboth.jpg,alice,"160,50,130,160"\nboth.jpg,bob,"672,50,130,160"\nmissing.jpg,alice,\n'
    )
    done = archive.run("--manifest", manifest, "--json")
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["outcomes"] == {"written: CLOAKED": 1, "dead: FILE_MISSING": 1}
    pixels = simplejpeg.decode_jpeg((archive.destination / "both.jpg").read_bytes())
    changed = np.abs(pixels.astype(int) - simplejpeg.decode_jpeg(both)).sum(axis=(0, 2)) > 0
    assert changed[:512].any()
    assert changed[512:].any()


def test_rules_leave_photos_out(archive: Archive, astronaut_photo: bytes) -> None:
    archive.add(4, photo=astronaut_photo)
    (archive.source / "alice" / "tiny.jpg").write_bytes(astronaut_photo[:500])
    rules = ("--exclude", "bob/*", "--smallest-bytes", 1000)
    done = archive.run("--user", "alice", *rules, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["outcomes"] == {"written: CLOAKED": 2, "skipped: SMALL": 1}
    assert report["left_out_by_name"] == 2
    assert archive.written() == ["alice/0000.jpg", "alice/0002.jpg"]


def test_what_cannot_be_meant_is_refused_before_any_work(archive: Archive, astronaut_photo: bytes) -> None:
    archive.add(1, photo=astronaut_photo)
    for code, arguments, places in (
        (2, [], {}),
        (2, ["--user", "a", *BY_FOLDER], {}),
        (2, ["--user", "alice", "--accept", "EVERYTHING"], {}),
        (1, ["--user", "alice"], {"destination": str(archive.source / "out")}),
        (1, ["--user", "alice"], {"source": "ftp://host/photos"}),
        (1, ["--user", ""], {}),
        (1, ["--user-pattern", "photos/**"], {}),
        (1, ["--user", "alice", "--data", str(archive.data.parent / "nowhere")], {}),
    ):
        done = archive.run(*arguments, **places)
        assert done.returncode == code, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
    assert archive.written() == []


def test_a_run_keeps_to_its_source(archive: Archive, astronaut_photo: bytes, tmp_path: Path) -> None:
    archive.add(1, photo=astronaut_photo)
    assert archive.run(*BY_FOLDER).returncode == 0
    (tmp_path / "elsewhere").mkdir()
    done = archive.run(*BY_FOLDER, source=str(tmp_path / "elsewhere"))
    assert done.returncode == 1
    assert "OTHER_RUN" in done.stderr
