"""A folder of this machine, or of a file system that all machines have mounted."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from facecloak.atomic_files import PUBLIC, TEMPORARY_PREFIX, write_new
from facecloak_backfill.errors import FileMissing, PlaceUnavailable
from facecloak_backfill.places.place import StoredFile

# Nothing takes a writer so long: what is older belongs to one that was killed.
_ABANDONED_S = 3600.0


class LocalFolder:
    """A :class:`facecloak_backfill.places.Place`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.requests: dict[str, int] = Counter()

    def names(self, folder: str = "") -> Iterator[str]:
        """See :class:`facecloak_backfill.places.Place`. Links to files are followed, links to folders are not."""
        self.requests["list"] += 1
        yield from self._names(self._root / folder)

    def read(self, name: str, *, bytes_limit: int) -> StoredFile:
        """See :class:`facecloak_backfill.places.Place`."""
        self.requests["get"] += 1
        try:
            with (self._root / name).open("rb") as file:
                return StoredFile(file.read(bytes_limit + 1), os.fstat(file.fileno()).st_mtime)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise FileMissing("There is no such file.") from error
        except OSError as error:
            raise PlaceUnavailable(f"The folder cannot be read: {error.strerror}.") from error

    def write_new(self, name: str, data: bytes) -> bool:
        """See :class:`facecloak_backfill.places.Place`. The file outlasts a power cut."""
        self.requests["put"] += 1
        path = self._root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return write_new(path, data, mode=PUBLIC)
        except OSError as error:
            raise PlaceUnavailable(f"The folder cannot be written: {error.strerror}.") from error

    def exists(self, name: str) -> bool:
        """See :class:`facecloak_backfill.places.Place`."""
        self.requests["get"] += 1
        return (self._root / name).exists()

    def sweep(self) -> None:
        """See :class:`facecloak_backfill.places.Place`."""
        oldest = time.time() - _ABANDONED_S
        for path in self._root.rglob(f"{TEMPORARY_PREFIX}*"):
            # Another run may be about to do the same.
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def _names(self, folder: Path) -> Iterator[str]:
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        except OSError as error:
            raise PlaceUnavailable(f"The folder cannot be read: {error.strerror}.") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._names(Path(entry.path))
            elif entry.is_file():
                yield Path(entry.path).relative_to(self._root).as_posix()
