"""The audit log: who was enrolled or deleted and when, what was refused, what was done with keys. Nothing biometric.

JSON lines, one file for each process and start, only ever appended to. Each line holds a keyed hash over itself and
the line before (HMAC-SHA-256 under a key that derives from the store's secret): a line that was changed, taken out or
put in breaks the chain, and who lacks the store's key cannot mend it. A file's first line names how far the others in
the folder had grown by then, so lines that are missing at the end of an earlier file, or a whole one, are told by the
later ones. What cannot be told from the files alone is what is missing since: ship them elsewhere as they grow.

Users appear under a pseudonym that is theirs in this store for ever: keyed, so that nobody who lacks the store's key
can try user ids.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.stores.names import StoreNames
from facecloak.users import User

_FIRST = "0" * 64
_MAX_LINE_BYTES = 16 * 1024
# Earlier files that a file names: 250 bytes each.
_EARLIER_LIMIT = 32
_SUFFIX = ".audit.jsonl"
# Events that change an object of the store: they name it, so that the store can be compared with the log.
_OF_OBJECTS = frozenset({"enroll", "delete"})


class AuditUnavailable(FaceCloakError):
    """The audit log cannot be written: what must be recorded is not done."""

    code = ErrorCode.UNAVAILABLE
    reason = "AUDIT_UNAVAILABLE"
    advice = "is the audit folder there and writable, and its disk not full?"


class AuditBroken(FaceCloakError):
    """An audit log's chain is broken."""

    reason = "AUDIT_BROKEN"


class AuditSettings(BaseModel):
    """Where the audit log is written."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    folder: Path | None = None
    """Folder of the audit log's files, one for each process; made where there is none. Empty: no audit log."""

    sync: bool = True
    """Whether a line is on the disk (fsync) before the call that it is about goes on. Without it a power cut may lose
    the last lines."""


class Audit(Protocol):
    """What events are told to."""

    def record(self, event: str, *, outcome: str, user: User | None = None, **facts: str | int | bool) -> None:
        """Notes an event durably; raises :class:`AuditUnavailable`."""
        ...

    def close(self) -> None:
        """Ends it."""
        ...


class NoAudit:
    """An :class:`Audit` that notes nothing."""

    def record(self, event: str, *, outcome: str, user: User | None = None, **facts: str | int | bool) -> None:
        """See :class:`Audit`."""

    def close(self) -> None:
        """See :class:`Audit`."""


class AuditLog:
    """An :class:`Audit` in a file of its own in ``folder``. Thread safe."""

    def __init__(self, folder: Path, names: Callable[[], StoreNames], *, sync: bool = True) -> None:
        """``names`` is asked at the first event: the store may be away before."""
        self.folder = folder
        self._names = names
        self._sync = sync
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._last = _FIRST
        self._sequence = 0
        self._size = 0

    def record(self, event: str, *, outcome: str, user: User | None = None, **facts: str | int | bool) -> None:
        """See :class:`Audit`."""
        names = self._names()
        entry: dict[str, Any] = {"event": event, "outcome": outcome, **facts}
        if user is not None:
            entry |= {"tenant": user.tenant, "user": names.pseudonym(user)}
            if event in _OF_OBJECTS:
                entry["object"] = names.mask(user)
        with self._lock:
            try:
                self._append(names, entry)
            except OSError as error:
                raise AuditUnavailable("The audit log cannot be written.", fault=str(error.errno)) from error

    def close(self) -> None:
        """See :class:`Audit`."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _append(self, names: StoreNames, entry: dict[str, Any]) -> None:
        if self._descriptor is None:
            self._open()
            entry = {**entry, "earlier": _grown(self.folder)}
        assert self._descriptor is not None
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        whole = {"sequence": self._sequence, "at": now, "store": names.store_id, **entry, "previous": self._last}
        line, digest = _line(names.audit_key, whole)
        try:
            if os.write(self._descriptor, line) != len(line):
                raise OSError(28, "only a part was written")
            if self._sync:
                os.fsync(self._descriptor)
        except OSError:
            # A line that is half there must not break the chain of the next one.
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(line)
        self._sequence += 1
        self._last = digest

    def _open(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        began = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        host = "".join(one for one in socket.gethostname() if one.isalnum() or one in "-.")[:64] or "host"
        path = self.folder / f"{began}-{host}-{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._descriptor = descriptor
        self._last, self._sequence, self._size = _FIRST, 0, 0


def open_audit(settings: AuditSettings, names: Callable[[], StoreNames]) -> Audit:
    """As the settings want it; nothing is opened yet."""
    return NoAudit() if settings.folder is None else AuditLog(settings.folder, names, sync=settings.sync)


def prove_writable(folder: Path) -> None:
    """Writes a file there and removes it, and the folder if it was not there. Raises :class:`AuditUnavailable`."""
    path, was_there = folder / f".write-test-{secrets.token_hex(8)}", folder.exists()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with path.open("xb") as file:
                file.write(bytes(_MAX_LINE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        finally:
            path.unlink(missing_ok=True)
            if not was_there:
                folder.rmdir()
    except OSError as error:
        raise AuditUnavailable("The audit log cannot be written.", fault=str(error.errno)) from error


@dataclass(frozen=True)
class Verified:
    """A file whose chain holds: its name and how many lines it has; ``torn`` where the last one was not finished, as a
    power cut leaves it."""

    name: str
    lines: int
    torn: bool


def verify_folder(folder: Path, names: StoreNames) -> Iterator[Verified]:
    """Each file of the log; raises :class:`AuditBroken` at the first line that is not as it was written, or for lines
    that are missing at the end of a file that others name."""
    wanted = _wanted(folder)
    for path in _files(folder):
        yield _verified(path, names, wanted.get(path.name, {}))


def absent_files(folder: Path) -> list[str]:
    """Files that others name and that are not here: moved elsewhere, or taken away. Unverified."""
    return sorted(_wanted(folder).keys() - {path.name for path in _files(folder)})


def entries(folder: Path) -> list[dict[str, Any]]:
    """All events, the oldest first, unverified."""
    found: list[dict[str, Any]] = []
    for path in _files(folder):
        with path.open("rb") as file:
            for line in iter(lambda: file.readline(_MAX_LINE_BYTES), b""):
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict):
                    found.append(entry)
    return sorted(found, key=lambda entry: str(entry.get("at", "")))


def _files(folder: Path) -> list[Path]:
    """The oldest first: names begin with the time."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def _grown(folder: Path) -> dict[str, list[int | str]]:
    """Name -> number of lines and the last one's hash, of the newest files."""
    found: dict[str, list[int | str]] = {}
    for path in _files(folder)[-_EARLIER_LIMIT:]:
        try:
            with path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 2 * _MAX_LINE_BYTES))
                *_, last = file.read(2 * _MAX_LINE_BYTES).rpartition(b"\n")[0].splitlines()
            entry = json.loads(last)
            found[path.name] = [int(entry["sequence"]) + 1, str(entry["hash"])[:64]]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # empty, or no line that was finished: verifying tells
    return found


def _wanted(folder: Path) -> dict[str, dict[int, str]]:
    """File -> number of lines -> the hash that the last of them has, as other files' first lines say."""
    wanted: dict[str, dict[int, str]] = {}
    for path in _files(folder):
        try:
            with path.open("rb") as file:
                entry = json.loads(file.readline(_MAX_LINE_BYTES))
            for name, (lines, digest) in entry.get("earlier", {}).items():
                wanted.setdefault(str(name), {})[int(lines)] = str(digest)
        except (ValueError, TypeError, AttributeError):
            continue
    return wanted


def _verified(path: Path, names: StoreNames, wanted: dict[int, str]) -> Verified:
    verified = _chain(path, names, wanted)
    if missing := [lines for lines in wanted if lines > verified.lines]:
        raise AuditBroken(
            f"The audit log is broken: {path.name} had {max(missing)} lines once, and has {verified.lines}."
        )
    return verified


def _chain(path: Path, names: StoreNames, wanted: dict[int, str]) -> Verified:
    last, count = _FIRST, 0
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(_MAX_LINE_BYTES), b""):
            if not line.endswith(b"\n") and not file.read(1):
                return Verified(path.name, count, torn=True)
            where = f"line {count + 1} of {path.name}"
            try:
                entry = json.loads(line)
                written = entry.pop("hash")
                again, digest = _line(names.audit_key, entry)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise AuditBroken(f"The audit log is broken: {where} is none.") from error
            if not hmac.compare_digest(str(written).encode(), digest.encode()) or again != line:
                raise AuditBroken(f"The audit log is broken: {where} was changed, or is another store's.")
            if entry.get("previous") != last or entry.get("sequence") != count:
                raise AuditBroken(f"The audit log is broken: something is missing before {where}.")
            last, count = digest, count + 1
            if wanted.get(count, digest) != digest:
                raise AuditBroken(f"The audit log is broken: {where} is not the one that another file names.")
    return Verified(path.name, count, torn=False)


def _line(key: bytes, entry: dict[str, Any]) -> tuple[bytes, str]:
    text = json.dumps(entry, ensure_ascii=True, separators=(",", ":"))
    digest = hmac.new(key, text.encode(), "sha256").hexdigest()
    line = json.dumps({**entry, "hash": digest}, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
    if len(line) > _MAX_LINE_BYTES:
        raise OSError(27, "an audit line is too long")
    return line, digest
