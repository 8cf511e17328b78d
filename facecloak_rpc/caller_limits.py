"""Limits by caller: how often each may call, how often for one user, and which share of the places it may hold.

They go by who has proven to call, never by what a call says: whoever invents user ids gets no more by it. Where callers
prove nothing they are all one, and there is nobody to protect from another.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cachetools import LRUCache
from pydantic import BaseModel, ConfigDict, Field

from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.users import User
from facecloak_rpc.identity import Caller
from facecloak_rpc.identity.callers_file import Callers

# About 200 bytes each. Whoever is forgotten begins anew, and a caller's own rate bounds how many users it names.
_KEYS_LIMIT = 100_000
# Others' calls take 10 to 100 ms.
_RETRY_SECONDS = "0.5"


class RateLimited(FaceCloakError):
    """The caller calls more often than it may, all in all or for this user."""

    code = ErrorCode.RESOURCE_EXHAUSTED
    reason = "RATE_LIMITED"


class ShareExceeded(FaceCloakError):
    """The caller, or its tenant, holds as many of the places that callers share as it may."""

    code = ErrorCode.RESOURCE_EXHAUSTED
    reason = "SHARE_EXCEEDED"


class CallerLimitSettings(BaseModel):
    """Limits by caller, for callers who have proven who they are; of each process by itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    calls_per_second: float = Field(default=50.0, ge=0, le=1e6)
    """Calls of one caller, a stream's photos among them; more are refused with RATE_LIMITED and the time to come back.
    A core cloaks 10 to 25 photos a second. 0: no limit."""

    burst_seconds: float = Field(default=10.0, gt=0, le=3600)
    """A caller that was quiet may make the calls of this many seconds at once."""

    user_calls_per_minute: float = Field(default=60.0, ge=0, le=1e6)
    """Photos that one caller may have cloaked for one user, a minute: each answer tells something of the user's mask.
    0: no limit."""

    user_burst_calls: int = Field(default=100, ge=1, le=1_000_000)
    """As many at once for a user who was quiet: an album."""

    caller_share: float = Field(default=0.5, gt=0, le=1)
    """Share of enroll's queue, of apply's places and of the open calls that one caller may hold; beyond it
    SHARE_EXCEEDED. A caller's own `share` in the list of callers goes before it; a list of one caller leaves it all."""

    tenant_share: float = Field(default=0.75, gt=0, le=1)
    """The same for all callers of one tenant, where the list has several tenants."""


class RateLimit:
    """So many a second, and bursts (the generic cell rate algorithm, ITU-T I.371). Thread safe."""

    def __init__(self, *, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``per_second`` 0: no limit."""
        self._interval = 1 / per_second if per_second else 0.0
        self._slack = (max(burst, 1) - 1) * self._interval
        self._clock = clock
        self._lock = threading.Lock()
        # When each would be at its rate again.
        self._due: LRUCache[object, float] = LRUCache(_KEYS_LIMIT)

    def take(self, key: object) -> float:
        """Counts one of ``key``; 0, or the seconds until one is free, and then none was counted."""
        if not self._interval:
            return 0.0
        with self._lock:
            now = self._clock()
            due = max(self._due.get(key, now), now)
            wait = due - now - self._slack
            if wait > 1e-9:
                return wait
            self._due[key] = due + self._interval
            return 0.0


class CallerLimits:
    """The limits as the settings want them."""

    def __init__(
        self,
        settings: CallerLimitSettings,
        *,
        callers: Callable[[], Callers | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``callers``: those that the operator names, now."""
        self._settings = settings
        self._callers = callers
        rate = settings.calls_per_second
        self._calls = RateLimit(per_second=rate, burst=rate * settings.burst_seconds, clock=clock)
        self._user_calls = RateLimit(
            per_second=settings.user_calls_per_minute / 60, burst=settings.user_burst_calls, clock=clock
        )

    def count_call(self, caller: Caller) -> None:
        """Counts a call. Raises RateLimited."""
        self._count(self._calls, caller, caller.key, "too many calls of this caller")

    def count_user_call(self, caller: Caller, user: User) -> None:
        """Counts a call for one user. Raises RateLimited."""
        self._count(self._user_calls, caller, (caller.key, user), "too many calls of this caller for this user")

    def caller_places(self, caller: Caller, total: int) -> int:
        """How many of ``total`` places the caller may hold; 1 at least."""
        if not caller.is_known:
            return total
        callers = self._callers()
        share = self._settings.caller_share if callers is not None and callers.are_several else 1.0
        return _places(share if caller.share is None else caller.share, total)

    def tenant_places(self, caller: Caller, total: int) -> int:
        """How many of ``total`` places all callers of the caller's tenant may hold; 1 at least."""
        callers = self._callers()
        shared = caller.is_known and callers is not None and callers.have_tenants
        return _places(self._settings.tenant_share, total) if shared else total

    @staticmethod
    def _count(rate: RateLimit, caller: Caller, key: object, what: str) -> None:
        wait = rate.take(key) if caller.is_known else 0.0
        if wait:
            raise RateLimited(what, retry_after_seconds=f"{wait:.3f}")


class SharedPlaces:
    """Places that callers share, of which none may hold more than its part. Whether one is free, others know."""

    def __init__(self, total: int, limits: CallerLimits, *, what: str) -> None:
        """``what`` names what the places are for, for a person."""
        self.total = total
        self._limits = limits
        self._what = what
        self._changed = threading.Condition()
        self._of_caller: Counter[str] = Counter()
        self._of_tenant: Counter[str] = Counter()

    def places(self, caller: Caller) -> int:
        """How many the caller may hold."""
        own = self._limits.caller_places(caller, self.total)
        return min(own, self._limits.tenant_places(caller, self.total))

    @contextmanager
    def one(self, caller: Caller, *, wait_seconds: float = 0.0) -> Iterator[None]:
        """Holds a place for the block. Raises ShareExceeded where the caller's or its tenant's part is taken, and none
        of it gets free in time."""
        if not caller.is_known:
            yield
            return
        own, tenants = (limit(caller, self.total) for limit in (self._limits.caller_places, self._limits.tenant_places))
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._of_caller[caller.key] < own and self._of_tenant[caller.tenant] < tenants,
                max(0.0, wait_seconds),
            ):
                whose = "caller" if self._of_caller[caller.key] >= own else "tenant"
                raise self.exceeded(whose, own if whose == "caller" else tenants)
            self._of_caller[caller.key] += 1
            self._of_tenant[caller.tenant] += 1
        try:
            yield
        finally:
            with self._changed:
                for counter, key in ((self._of_caller, caller.key), (self._of_tenant, caller.tenant)):
                    counter[key] -= 1
                    if not counter[key]:
                        del counter[key]
                self._changed.notify_all()

    def exceeded(self, whose: str, limit: int, *, retry_after_seconds: str = _RETRY_SECONDS) -> ShareExceeded:
        """The error for who holds ``limit`` already; ``whose`` is caller or tenant."""
        return ShareExceeded(
            f"this {whose} has too many {self._what} at once",
            limit=limit,
            retry_after_seconds=retry_after_seconds,
        )


def _places(share: float, total: int) -> int:
    return max(1, int(share * total))
