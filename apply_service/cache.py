"""Masks in memory: bounded, no older than they may be, and there at once while the store is slow or away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import TypeVar

from cachetools import LRUCache
from prometheus_client import CollectorRegistry, Counter

from facecloak.call_context import cancellation as cancelled_by_caller
from facecloak.call_context import deadline, never_cancelled, seconds_left, within
from facecloak.masks.bank import StoredMask
from facecloak.stores import MaskNotFound, MaskStore, StoreUnavailable, WrongKey
from facecloak.stores.sealed import require_consent
from facecloak.users import User

Result = TypeVar("Result")

# The pixels' 37,632 bytes, the report, and what Python adds.
_MASK_BYTES = 40 * 1024
# A user id of at most 256 bytes, the entry and its place in the cache.
_ABSENCE_BYTES = 1024
# A healthy store confirms a mask within milliseconds: so long it is waited for, to notice at once that a mask was
# replaced or deleted. While it takes longer than that, nobody waits.
_PROMPT_SECONDS = 0.1
# All calls of the store for one mask together, and what a caller without a deadline waits. A folder's calls, on a
# network file system that hangs, end when it lives again; whoever waits for them does not.
_LOAD_SECONDS = 10.0
# A read that takes this long is not a healthy one.
_OVERDUE_SECONDS = 0.5


@dataclass(frozen=True)
class _Entry:
    mask: StoredMask | None
    version: str | None
    confirmed_at: float


@dataclass(frozen=True)
class _Load:
    """One read of the store for one user, however many wait for it."""

    began_at: float
    result: Future[_Entry]


class MaskCache:
    """A :class:`facecloak.cloaking.cloaker.MaskSource` in front of a store. Thread safe; close it after use.

    A mask that is older than ``ttl_seconds`` is confirmed by the store, once however many ask for it; where that takes
    more than a moment or fails, the mask that is there is used, until ``stale_seconds`` after it was last confirmed.
    That a user has no mask is never believed longer than ``negative_ttl_seconds``.
    """

    def __init__(
        self,
        store: MaskStore,
        *,
        bytes_limit: int,
        ttl_seconds: float,
        negative_ttl_seconds: float,
        stale_seconds: float,
        registry: CollectorRegistry,
        loads_limit: int = 16,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``loads_limit``: reads of the store at once; while half of them are overdue, no further caller waits."""
        self._store = store
        self._ttl_seconds = ttl_seconds
        self._negative_ttl_seconds = negative_ttl_seconds
        self._stale_seconds = stale_seconds
        self._clock = clock
        self._lock = threading.Lock()
        limit = max(bytes_limit, _MASK_BYTES)
        # A bank larger than the whole cache counts as all of it: then it is alone there.
        self._entries: LRUCache[User, _Entry] = LRUCache(limit, getsizeof=lambda entry: min(_size(entry), limit))
        self._loads: dict[User, _Load] = {}
        self._loads_limit = loads_limit
        self._executor = ThreadPoolExecutor(loads_limit, thread_name_prefix="mask-load")
        self._probing: Future[None] | None = None
        self._is_slow = False
        self._last_confirmed_at = float("-inf")
        self._lookups = self.count_lookups(registry)

    @staticmethod
    def count_lookups(registry: CollectorRegistry) -> Counter:
        """The metric of :meth:`get`."""
        return Counter(
            "facecloak_mask_lookups",
            "Masks asked for: hit, shared, confirmed, loaded or absent; late (used before a slow store confirmed it), "
            "stale (used though the store fails) or refused (not even asked for: others wait in vain).",
            ["outcome"], registry=registry,
        )  # fmt: skip

    def get(self, user: User) -> StoredMask:
        """Returns the user's mask, or bank of masks.

        Raises:
            MaskNotFound: the store says that the user has none.
            StoreUnavailable: the store does not answer in time and nothing recent enough is cached.
            WrongKey, SealBroken, MaskCorrupt: see :class:`facecloak.stores.MaskStore`.
        """
        with self._lock:
            entry = self._entries.get(user)
            if entry is not None and self._is_fresh(entry):
                self._lookups.labels("hit").inc()
                return _mask_of(entry)
            load = self._loads.get(user)
            if load is not None:
                self._lookups.labels("shared").inc()
            else:
                load = self._begin_load(user, entry)
        if entry is not None and entry.mask is not None and self._may_stand_in(entry):
            return self._confirmed_or_stale(load, entry.mask)
        try:
            return _mask_of(load.result.result(timeout=max(0.0, seconds_left(_LOAD_SECONDS))))
        except TimeoutError as error:
            raise StoreUnavailable("The mask store does not answer in time.", fault="Timeout") from error

    def can_serve(self) -> bool:
        """Whether some user's mask is recent enough to be used without the store."""
        return bool(self._entries) and self._clock() - self._last_confirmed_at <= self._stale_seconds

    def probe(self) -> None:
        """Raises unless the store answers in time. Called by one thread at a time."""
        if self._probing is None or self._probing.done():
            self._probing = self._executor.submit(self._bounded, self._store.probe_reading)
        try:
            self._probing.result(_LOAD_SECONDS)
        except TimeoutError as error:
            raise StoreUnavailable("The mask store does not answer in time.", fault="Timeout") from error

    def close(self) -> None:
        """Ends the threads; reads that run end by themselves."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _confirmed_or_stale(self, load: _Load, known: StoredMask) -> StoredMask:
        try:
            return _mask_of(load.result.result(timeout=0.0 if self._is_slow else _PROMPT_SECONDS))
        except TimeoutError:
            self._is_slow = True
            self._lookups.labels("late").inc()
        except (StoreUnavailable, WrongKey):
            self._lookups.labels("stale").inc()
        require_consent(known)
        return known

    def _begin_load(self, user: User, known: _Entry | None) -> _Load:
        """Called with the lock held."""
        now = time.monotonic()
        overdue = sum(now - load.began_at > _OVERDUE_SECONDS for load in self._loads.values())
        load = _Load(now, Future())
        if 2 * overdue >= self._loads_limit:
            self._lookups.labels("refused").inc()
            load.result.set_exception(
                StoreUnavailable("The mask store does not answer, and others wait for it.", fault="Timeout")
            )
            return load
        self._loads[user] = load
        # Of this call's trace, and not of its deadline: others may wait longer.
        context = copy_context()
        context.run(deadline.set, None)
        context.run(cancelled_by_caller.set, never_cancelled)
        self._executor.submit(context.run, self._load, user, known, load)
        return load

    def _load(self, user: User, known: _Entry | None, load: _Load) -> None:
        try:
            entry = self._bounded(lambda: self._fetch(user, known))
        except BaseException as error:  # noqa: BLE001 - whatever it is, those who wait must get it
            with self._lock:
                del self._loads[user]
            load.result.set_exception(error)
            return
        if time.monotonic() - load.began_at < _PROMPT_SECONDS:
            self._is_slow = False
        with self._lock:
            self._entries[user] = entry
            if entry.mask is not None:
                self._last_confirmed_at = max(self._last_confirmed_at, entry.confirmed_at)
            del self._loads[user]
        load.result.set_result(entry)

    def _fetch(self, user: User, known: _Entry | None) -> _Entry:
        # Taken before asking: a mask that changes while we ask must not count as confirmed after it changed.
        now = self._clock()
        try:
            version = self._store.version(user)
            if version is None:
                self._lookups.labels("absent").inc()
                return _Entry(None, None, now)
            if known is not None and known.mask is not None and known.version == version:
                self._lookups.labels("confirmed").inc()
                return replace(known, confirmed_at=now)
            mask = self._store.get(user)
        except MaskNotFound:
            self._lookups.labels("absent").inc()
            return _Entry(None, None, now)
        self._lookups.labels("loaded").inc()
        return _Entry(mask, version, now)

    @staticmethod
    def _bounded(call: Callable[[], Result]) -> Result:
        with within(_LOAD_SECONDS):
            return call()

    def _is_fresh(self, entry: _Entry) -> bool:
        ttl = self._ttl_seconds if entry.mask is not None else self._negative_ttl_seconds
        return self._clock() - entry.confirmed_at < ttl

    def _may_stand_in(self, entry: _Entry) -> bool:
        return self._clock() - entry.confirmed_at <= self._stale_seconds


def _mask_of(entry: _Entry) -> StoredMask:
    if entry.mask is None:
        raise MaskNotFound("this user is not enrolled")
    require_consent(entry.mask)  # it may be over since the mask was read
    return entry.mask


def _size(entry: _Entry) -> int:
    return len(entry.mask.masks) * _MASK_BYTES if entry.mask is not None else _ABSENCE_BYTES
