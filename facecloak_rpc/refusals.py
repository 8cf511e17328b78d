"""Calls that were refused, told to the audit log in sums: a flood of them fills no disk and holds up no call.

What is counted is held in memory and written once a minute by a thread of its own, a line for each method, reason,
caller and user, with how often and when. A minute has room for so many of these; beyond, users, and then callers, are
left out of what is added, and the counts stay true.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.users import User
from facecloak_rpc.audit import Audit, NoAudit
from facecloak_rpc.identity.caller import Caller

# Lines that name a user, and lines that name a caller, a minute: 400 bytes each, so at most 55 MB a day.
_USERS_LIMIT, _CALLERS_LIMIT = 48, 96
# A certificate's URI may be longer than a line of the log.
_NAME_CHARACTERS = 256
_POLICY_CODES = frozenset({ErrorCode.UNAUTHENTICATED, ErrorCode.PERMISSION_DENIED})
_POLICY_REASONS = frozenset(
    {"RATE_LIMITED", "SHARE_EXCEEDED", "CONSENT_REQUIRED", "CONSENT_INVALID", "REQUEST_ID_REUSED"}
)
_log = structlog.get_logger("facecloak.refusals")
_named: ContextVar[User | None] = ContextVar("named_user", default=None)


def name_user(user: User | None) -> None:
    """Says whom the call of this context is about; None: not known yet."""
    _named.set(user)


@dataclass(frozen=True)
class _What:
    method: str
    reason: str
    caller: Caller | None
    user: User | None


@dataclass
class _Often:
    count: int
    first: datetime
    last: datetime


class Refusals:
    """Counts refused calls for an audit log. Thread safe."""

    def __init__(self, audit: Audit, *, seconds: float = 60.0) -> None:
        """``seconds``: from the first refusal to the line that tells it."""
        self._audit = audit
        self._is_on = not isinstance(audit, NoAudit)
        self._seconds = seconds
        self._lock = threading.Lock()
        self._counts: dict[_What, _Often] = {}
        self._writing = threading.Lock()
        self._timer: threading.Timer | None = None
        self._closed = False

    def note(self, error: BaseException, *, method: str, caller: Caller | None) -> None:
        """Counts a refusal by policy: who calls, what they may, how often, consent. Others, and one that the audit log
        has already, are not counted."""
        if is_policy(error):
            self.count(error, method=method, caller=caller)

    def count(self, error: BaseException, *, method: str, caller: Caller | None, user: User | None = None) -> None:
        """Counts any refusal that the audit log does not have yet; ``user``: by default whom the call has named."""
        if not self._is_on or not isinstance(error, FaceCloakError) or is_audited(error):
            return
        mark_audited(error)
        self._add(method, error.reason, caller, user or _named.get())

    @contextmanager
    def counted(self, method: str, caller: Caller | None, user: User) -> Iterator[None]:
        """Counts what the block is refused for."""
        try:
            yield
        except FaceCloakError as error:
            self.count(error, method=method, caller=caller, user=user)
            raise

    def flush(self) -> None:
        """Writes what was counted. What cannot be written is kept for the next time, and the log says so."""
        with self._writing:
            with self._lock:
                counts, self._counts = self._counts, {}
                self._timer = None
            try:
                while counts:
                    what, often = next(iter(counts.items()))
                    self._write(what, often)
                    del counts[what]
            except FaceCloakError as error:
                _log.error("audit fails", reason=error.reason, advice=error.advice)
                with self._lock:
                    for what, often in counts.items():
                        self._merge(what, often)
                    self._arm()

    def close(self) -> None:
        """Writes what is left; nothing is counted from then on."""
        with self._lock:
            timer, self._closed = self._timer, True
        if timer is not None:
            timer.cancel()
        self.flush()

    def _add(self, method: str, reason: str, caller: Caller | None, user: User | None) -> None:
        now = datetime.now(UTC)
        known = caller if caller is not None and caller.is_known else None
        with self._lock:
            if not self._closed:
                self._merge(_What(method, reason, known, user), _Often(1, now, now))
                self._arm()

    def _merge(self, what: _What, often: _Often) -> None:
        """Adds, within the room that there is."""
        if what not in self._counts:
            if len(self._counts) >= _USERS_LIMIT:
                what = _What(what.method, what.reason, what.caller, None)
            if len(self._counts) >= _CALLERS_LIMIT and what not in self._counts:
                what = _What(what.method, what.reason, None, None)
        known = self._counts.setdefault(what, _Often(0, often.first, often.last))
        known.count += often.count
        known.first, known.last = min(known.first, often.first), max(known.last, often.last)

    def _arm(self) -> None:
        if self._timer is None and not self._closed:
            self._timer = threading.Timer(self._seconds, self.flush)
            self._timer.daemon = True
            self._timer.start()

    def _write(self, what: _What, often: _Often) -> None:
        facts: dict[str, str | int | bool] = {"method": what.method, "count": often.count}
        if what.caller is not None:
            facts |= {"tenant": what.caller.tenant, "caller": what.caller.name[:_NAME_CHARACTERS]}
        if often.count > 1:
            facts["first"] = often.first.isoformat(timespec="milliseconds")
        facts["last"] = often.last.isoformat(timespec="milliseconds")
        self._audit.record("refusal", outcome=what.reason, user=what.user, **facts)


def is_policy(error: BaseException) -> bool:
    """Whether an error says that somebody may not, rather than that something cannot be done."""
    return isinstance(error, FaceCloakError) and (error.code in _POLICY_CODES or error.reason in _POLICY_REASONS)


def is_audited(error: BaseException) -> bool:
    """Whether the audit log has this very error."""
    return bool(getattr(error, "_is_audited", False))


def mark_audited(error: BaseException) -> None:
    """So that an error that travels on is noted once."""
    error._is_audited = True  # type: ignore[attr-defined]
