"""What is read from files, and again once they change: certificates, callers and keys are replaced while serving."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from facecloak.errors import ErrorCode, FaceCloakError

FILE_BYTES_LIMIT = 2**20
"""Largest file of certificates, callers or keys."""

_LOOK_SECONDS = 1.0
_log = structlog.get_logger("facecloak.files")
Value = TypeVar("Value")


class FileUnusable(FaceCloakError):
    """A file that the settings name cannot be read, is too large, or does not hold what it should."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "FILE_UNUSABLE"


def read_bounded(path: Path) -> bytes:
    """The file's content, at most FILE_BYTES_LIMIT. Raises FileUnusable, which names the file and not its content."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_LIMIT + 1)
    except OSError as error:
        raise FileUnusable(f"{path} cannot be read: {error.strerror or type(error).__name__}") from error
    if len(content) > FILE_BYTES_LIMIT:
        raise FileUnusable(f"{path} is larger than {FILE_BYTES_LIMIT} bytes")
    return content


class WatchedFiles(Generic[Value]):
    """A value that ``load`` makes from ``paths``. Thread safe.

    The files are looked at about once a second, when the value is asked for. What cannot be used is logged once and
    tried again; until then the last good value stays.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        load: Callable[[], Value],
        *,
        what: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``what`` names the value in the log. Raises what ``load`` raises: there is no last good value yet."""
        self._paths = tuple(paths)
        self._load = load
        self._what = what
        self._clock = clock
        self._lock = threading.Lock()
        self._seen = self._fingerprint()
        self._complained_of: object = None
        self._value = load()
        self._looked_at = clock()

    def current(self) -> Value:
        """The value of the files as they are now, or were when they could be used last."""
        with self._lock:
            if self._clock() - self._looked_at >= _LOOK_SECONDS:
                self._looked_at = self._clock()
                self._look()
            return self._value

    def _look(self) -> None:
        # Before reading: files that change meanwhile differ from it, and are read again.
        now = self._fingerprint()
        if now == self._seen:
            return
        try:
            self._value = self._load()
        except FaceCloakError as error:
            if self._complained_of != now:
                _log.error("files unusable", what=self._what, why=error.public_message)
                self._complained_of = now
            return
        self._seen, self._complained_of = now, None
        _log.info("files read again", what=self._what)

    def _fingerprint(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stat(path) for path in self._paths)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
