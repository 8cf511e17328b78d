"""Files that are either there whole or not there: temporary file, fsync, rename or link, fsync of the folder."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

TEMPORARY_PREFIX = ".new-"


def write_atomic(path: Path, data: bytes) -> None:
    """Write or replace ``path`` (mode 0600). After a crash it holds all of the old bytes or all of the new ones."""
    with _written(path, data) as temporary:
        temporary.rename(path)
    sync_folder(path.parent)


def write_new(path: Path, data: bytes) -> bool:
    """Write ``path`` (mode 0600) unless it exists; of several concurrent writers one wins. Returns whether this one
    did."""
    with _written(path, data) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    sync_folder(path.parent)
    return True


def sync_folder(folder: Path) -> None:
    """Make renames and removals in ``folder`` last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _written(path: Path, data: bytes) -> Iterator[Path]:
    """A temporary file beside ``path`` with ``data`` on disk; gone afterward, whatever happens."""
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
