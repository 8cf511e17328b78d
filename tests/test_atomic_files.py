"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from facecloak.atomic_files import PRIVATE, PUBLIC, link_or_copy, write_atomically, write_new


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize(("mode", "expected"), [(PRIVATE, 0o600), (PUBLIC, 0o644), (0o777, 0o755)])
def test_the_mode_is_less_the_umask(
    tmp_path: Path, usual_umask: None, *, mode: int, expected: int, durable: bool
) -> None:
    path = tmp_path / "file"
    for content in (b"old", b"new"):
        write_atomically(path, content, mode=mode, durable=durable)
        assert (path.read_bytes(), mode_of(path)) == (content, expected)
    assert os.listdir(tmp_path) == ["file"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_new_file_never_replaces_one(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert write_new(path, b"first") is True
    assert write_new(path, b"second") is False
    assert (path.read_bytes(), mode_of(path)) == (b"first", 0o600)
    assert os.listdir(tmp_path) == ["key"]


@pytest.mark.parametrize("links", [True, False])
def test_a_second_place_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, links: bool) -> None:
    source, target = tmp_path / "model", tmp_path / "served"
    source.write_bytes(b"weights")
    target.write_bytes(b"older")
    if not links:

        def no_links(*_: object) -> None:
            raise OSError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", no_links)
    link_or_copy(source, target)
    assert target.read_bytes() == b"weights"
    assert source.samefile(target) is links
    assert sorted(os.listdir(tmp_path)) == ["model", "served"]
