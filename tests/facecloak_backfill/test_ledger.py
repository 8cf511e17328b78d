"""The ledger and the folder that it lies in; processes that die."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from facecloak.errors import InvalidInput
from facecloak_backfill import process_pool
from facecloak_backfill.errors import FileMissing, InvalidManifest, InvalidPlace, OtherRun
from facecloak_backfill.job import BackfillJob
from facecloak_backfill.ledger import RunLedger
from facecloak_backfill.people import PersonInPhoto, PhotoTask
from facecloak_backfill.places import check_name, open_place
from facecloak_backfill.places.open_place import check_apart
from facecloak_backfill.record import Fate, PhotoRecord


def record(name: str, fate: Fate = Fate.WRITTEN) -> PhotoRecord:
    return PhotoRecord(name, fate, "CLOAKED", cpu_ms=1.25, requests=(("get", 1), ("put", 1)))


def test_a_record_survives_its_line() -> None:
    for name in ("a.jpg", 'ü "quoted"\n.jpg'):
        assert PhotoRecord.from_line(record(name).to_line()) == record(name)
        assert record(name).to_line().count(b"\n") == 1


def test_what_was_done_is_known_to_the_next_session(tmp_path: Path) -> None:
    place = open_place(str(tmp_path))
    first = RunLedger(place, "run", source="here")
    assert not first.is_resumed
    assert first.take("a.jpg")
    first.add([record("a.jpg"), record("dead.jpg", Fate.DEAD), record("left.jpg", Fate.LEFT)])
    assert list(place.names(".facecloak/run")) == [".facecloak/run/run.json"]  # not a part a record
    first.flush()
    second = RunLedger(place, "run", source="here")
    assert second.is_resumed
    second.load(with_dead=True)
    assert [second.take(name) for name in ("a.jpg", "dead.jpg", "left.jpg")] == [False, False, True]
    third = RunLedger(place, "run", source="here")
    third.load(with_dead=False)
    assert [third.take(name) for name in ("a.jpg", "dead.jpg")] == [False, True]


def test_a_photo_is_named_once(tmp_path: Path) -> None:
    ledger = RunLedger(open_place(str(tmp_path)), "run", source="here")
    assert ledger.take("a.jpg")
    with pytest.raises(InvalidManifest, match="twice"):
        ledger.take("a.jpg")


def test_another_runs_state_is_not_gone_on_with(tmp_path: Path) -> None:
    place = open_place(str(tmp_path))
    RunLedger(place, "run", source="here")
    with pytest.raises(OtherRun):
        RunLedger(place, "run", source="there")
    RunLedger(place, "second", source="there")
    for name in ("", "../x", "a b"):
        with pytest.raises(InvalidInput):
            RunLedger(place, name, source="here")


def test_a_damaged_part_is_told(tmp_path: Path) -> None:
    place = open_place(str(tmp_path))
    ledger = RunLedger(place, "run", source="here")
    (tmp_path / ".facecloak/run/part-1-0.jsonl").write_text('{"name": "a.jpg"}\n')
    with pytest.raises(OtherRun, match="part-1-0"):
        ledger.load(with_dead=True)


def test_a_folder_keeps_what_is_there(tmp_path: Path) -> None:
    place = open_place(tmp_path.as_uri())
    assert place.write_new("a/b.jpg", b"first")
    assert not place.write_new("a/b.jpg", b"second")
    assert place.read("a/b.jpg", bytes_limit=100).data == b"first"
    assert place.read("a/b.jpg", bytes_limit=2).data == b"fir"  # one more than the limit tells that it is larger
    assert place.exists("a/b.jpg")
    assert not place.exists("a/c.jpg")
    for name in ("a/c.jpg", "a"):
        with pytest.raises(FileMissing):
            place.read(name, bytes_limit=10)
    assert (tmp_path / "a" / "b.jpg").stat().st_mode & 0o777 == 0o666 & ~_umask()
    half, young = tmp_path / "a" / ".new-00", tmp_path / "a" / ".new-01"
    for path in (half, young):
        path.write_bytes(b"half")
    os.utime(half, (time.time() - 7200, time.time() - 7200))
    place.sweep()
    assert (half.exists(), young.exists()) == (False, True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    "name", ["", "/a", "a//b", "../a", "a/../b", "./a", "a/", ".hidden", "a\\b", "a\0b", "x" * 1025]
)
def test_names_lead_nowhere_else(name: str) -> None:
    with pytest.raises(InvalidPlace):
        check_name(name)


@pytest.mark.parametrize(
    ("source", "destination", "fit"),
    [
        ("/a", "/b", True), ("/a", "/ab", True), ("/a", "/a/b", False), ("/a/b", "/a", False), ("/a", "/a/", False),
        ("s3://x/a", "s3://x/b", True), ("s3://x", "s3://x/b", False), ("s3://x/a", "s3://x/a/b/", False),
        ("s3://x/a", "s3://y/a", True), ("/x/a", "s3://x/a", True), ("file:///a", "/a/b", False),
    ],
)  # fmt: skip
def test_source_and_destination_lie_apart(source: str, destination: str, fit: bool) -> None:
    if fit:
        check_apart(source, destination)
    else:
        with pytest.raises(InvalidPlace):
            check_apart(source, destination)


def deadly_work(batch: tuple[PhotoTask, ...]) -> list[PhotoRecord]:
    """A decoder that crashes on one photo."""
    if any(task.name == "deadly.jpg" for task in batch):
        os._exit(1)
    return [record(task.name) for task in batch]


def test_a_photo_that_kills_its_process_is_a_dead_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_pool, "_work", deadly_work)
    names = [f"{index}.jpg" for index in range(20)]
    names[7] = "deadly.jpg"
    tasks = [PhotoTask(name, (PersonInPhoto("alice"),)) for name in names]
    batches = [tuple(tasks[at : at + 4]) for at in range(0, 20, 4)]
    job = BackfillJob(source=str(tmp_path / "in"), destination=str(tmp_path / "out"))
    done = [found for records in process_pool.work_in_processes(job, batches, processes=2) for found in records]
    assert sorted(found.name for found in done) == sorted(names)
    assert [(found.name, found.outcome) for found in done if found.fate is Fate.DEAD] == [("deadly.jpg", "WORKER_DIED")]
