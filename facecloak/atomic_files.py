"""Files that are either there whole or not there: temporary file, fsync, rename or link, fsync of the folder."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

TEMPORARY_PREFIX = ".new-"

PRIVATE = 0o600
"""Mode of a file that only its owner may read."""
PUBLIC = 0o666
"""Mode of a file like any other: less what the umask takes away."""


def write_atomically(path: Path, data: bytes, *, mode: int = PRIVATE, durable: bool = True) -> None:
    """Write or replace ``path``. Whoever reads it, and after a crash too, finds all of the old bytes or all of the new.

    Args:
        mode: of the file, less the umask.
        durable: whether the file outlasts a power cut once this returns. False is quicker: for what can be made again.

    Raises:
        OSError: nothing was changed.
    """
    with _written(path, data, mode=mode, durable=durable) as temporary:
        temporary.replace(path)
    if durable:
        sync_folder(path.parent)


def write_new(path: Path, data: bytes, *, mode: int = PRIVATE) -> bool:
    """Write ``path`` unless it exists; of several concurrent writers one wins. Returns whether this one did.

    ``mode``: of the file, less the umask.
    """
    with _written(path, data, mode=mode, durable=True) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    sync_folder(path.parent)
    return True


def link_or_copy(source: Path, target: Path) -> None:
    """Put a file in a second place, atomically and without taking room where the file system can. Raises OSError."""
    temporary = _temporary_beside(target)
    try:
        try:
            os.link(source, temporary)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames and removals in ``folder`` last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _written(path: Path, data: bytes, *, mode: int, durable: bool) -> Iterator[Path]:
    """A temporary file beside ``path`` with ``data`` in it; gone afterward, whatever happens."""
    temporary = _temporary_beside(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _temporary_beside(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
