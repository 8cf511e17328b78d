"""The audit log: what a line says, that its chain tells every change, and what happens where it cannot be written."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from facecloak.stores.names import StoreNames
from facecloak.users import User
from facecloak_rpc import audit as audit_module
from facecloak_rpc.audit import AuditBroken, AuditLog, AuditUnavailable, absent_files, entries, verify_folder
from tests.users import ALICE

NAMES = StoreNames(bytes(range(32)))


def log_in(folder: Path) -> AuditLog:
    return AuditLog(folder, lambda: NAMES)


def file_of(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_lines_say_who_by_a_pseudonym_that_stays(tmp_path: Path) -> None:
    for _ in range(2):  # two processes
        log = log_in(tmp_path)
        log.record("enroll", outcome="STORED", user=ALICE, mask_id="m")
        log.record("enroll", outcome="STORED", user=User("acme", "alice"))
        log.close()
    found = entries(tmp_path)
    assert [entry["user"] for entry in found].count(NAMES.pseudonym(ALICE)) == 2
    assert len({entry["user"] for entry in found}) == 2
    assert all("alice" not in path.read_text() for path in tmp_path.iterdir())
    assert StoreNames(bytes(32)).pseudonym(ALICE) != NAMES.pseudonym(ALICE)
    assert [(one.lines, one.torn) for one in verify_folder(tmp_path, NAMES)] == [(2, False)] * 2
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())


def test_many_threads_write_one_chain(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: log.record("delete", outcome="ERASED", number=number), range(100)))
    log.close()
    assert [one.lines for one in verify_folder(tmp_path, NAMES)] == [100]


def changed(lines: list[bytes], how: str) -> list[bytes]:
    if how == "changed":
        return [lines[0], lines[1].replace(b"OK", b"NO"), *lines[2:]]
    if how == "taken out":
        return [lines[0], *lines[2:]]
    if how == "first taken out":
        return lines[1:]
    if how == "twice":
        return [lines[0], lines[1], lines[1], *lines[2:]]
    if how == "put in":
        forged = {**json.loads(lines[0]), "outcome": "FORGED"}
        return [*lines, json.dumps(forged).encode() + b"\n"]
    return [lines[1], lines[0], *lines[2:]]


@pytest.mark.parametrize("how", ["changed", "taken out", "first taken out", "twice", "put in", "swapped"])
def test_what_was_done_to_the_file_is_found(tmp_path: Path, how: str) -> None:
    log = log_in(tmp_path)
    for _ in range(4):
        log.record("key.rotate", outcome="OK")
    log.close()
    path = file_of(tmp_path)
    path.write_bytes(b"".join(changed(path.read_bytes().splitlines(keepends=True), how)))
    with pytest.raises(AuditBroken):
        list(verify_folder(tmp_path, NAMES))


def test_lines_that_are_cut_off_are_told_by_files_that_were_begun_later(tmp_path: Path) -> None:
    first = log_in(tmp_path)
    for _ in range(3):
        first.record("enroll", outcome="STORED")
    second = log_in(tmp_path)
    second.record("enroll", outcome="STORED")
    first.record("enroll", outcome="STORED")  # it goes on meanwhile
    for log in (first, second):
        log.close()
    path = next(path for path in tmp_path.iterdir() if path.read_bytes().count(b"\n") == 4)
    other = next(one for one in tmp_path.iterdir() if one != path)
    assert sorted(one.lines for one in verify_folder(tmp_path, NAMES)) == [1, 4]
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]))
    assert len(list(verify_folder(tmp_path, NAMES))) == 2, "what came after the second file began nobody tells"
    for cut in (b"".join(lines[:2]), b"".join(lines[:2]) + lines[2][:20], b""):
        path.write_bytes(cut)
        with pytest.raises(AuditBroken, match="once"):
            list(verify_folder(tmp_path, NAMES))
    path.unlink()
    assert absent_files(tmp_path) == [path.name]
    path.write_bytes(whole)
    assert absent_files(tmp_path) == []
    # A first line that says otherwise is one that was changed.
    other.write_bytes(other.read_bytes().replace(b'[3,"', b'[2,"'))
    with pytest.raises(AuditBroken):
        list(verify_folder(tmp_path, NAMES))


def test_many_and_odd_files_in_the_folder_fit_into_a_first_line(tmp_path: Path) -> None:
    for number in range(40):
        log = log_in(tmp_path)
        log.record("delete", outcome="ERASED", number=number)
        log.close()
    (tmp_path / "20260101T000000Z-empty.audit.jsonl").write_bytes(b"")
    (tmp_path / "29260101T000000Z-odd.audit.jsonl").write_bytes(b"no line")
    log = log_in(tmp_path)
    log.record("delete", outcome="ERASED")
    log.close()
    newest = max(
        (path for path in tmp_path.iterdir() if "odd" not in path.name), key=lambda path: path.stat().st_mtime_ns
    )
    assert 20 < len(json.loads(newest.read_bytes())["earlier"]) <= 32
    (tmp_path / "29260101T000000Z-odd.audit.jsonl").unlink()
    assert len(list(verify_folder(tmp_path, NAMES))) == 42


def test_another_stores_log_is_told(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    log.record("delete", outcome="ERASED")
    log.close()
    with pytest.raises(AuditBroken):
        list(verify_folder(tmp_path, StoreNames(bytes(32))))


def test_a_line_that_a_power_cut_left_is_told_apart(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    log.record("delete", outcome="ERASED")
    log.close()
    with file_of(tmp_path).open("ab") as file:
        file.write(b'{"sequence":1,"at"')
    assert [(one.lines, one.torn) for one in verify_folder(tmp_path, NAMES)] == [(1, True)]


def test_a_full_disk_is_an_error_and_breaks_no_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_in(tmp_path)
    log.record("enroll", outcome="STORING")
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        return write(descriptor, data[:20])

    monkeypatch.setattr(audit_module.os, "write", half)
    with pytest.raises(AuditUnavailable):
        log.record("enroll", outcome="STORING")
    monkeypatch.undo()
    log.record("enroll", outcome="STORED")
    log.close()
    assert [one.lines for one in verify_folder(tmp_path, NAMES)] == [2]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditUnavailable):
        log_in(tmp_path / "file").record("enroll", outcome="STORING")
