"""Masks in memory: bounded, no older than they may be, and read from the store once however many calls want one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace

from cachetools import LRUCache
from prometheus_client import CollectorRegistry, Counter

from facecloak.masks.bank import StoredMask
from facecloak.stores import MaskNotFound, MaskStore, StoreUnavailable

# The pixels' 37,632 bytes, the report, and what Python adds.
_MASK_BYTES = 40 * 1024
# A user id of at most 256 bytes, the entry and its place in the cache.
_ABSENCE_BYTES = 1024


@dataclass(frozen=True)
class _Entry:
    mask: StoredMask | None
    version: str | None
    confirmed_at: float


class MaskCache:
    """A :class:`facecloak.cloaking.cloaker.MaskSource` in front of a store. Thread safe."""

    def __init__(
        self,
        store: MaskStore,
        *,
        bytes_limit: int,
        ttl_seconds: float,
        negative_ttl_seconds: float,
        stale_seconds: float,
        registry: CollectorRegistry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._ttl_seconds = ttl_seconds
        self._negative_ttl_seconds = negative_ttl_seconds
        self._stale_seconds = stale_seconds
        self._clock = clock
        self._lock = threading.Lock()
        limit = max(bytes_limit, _MASK_BYTES)
        # A bank larger than the whole cache counts as all of it: then it is alone there.
        self._entries: LRUCache[str, _Entry] = LRUCache(limit, getsizeof=lambda entry: min(_size(entry), limit))
        self._loading: dict[str, Future[_Entry]] = {}
        self._lookups = self.count_lookups(registry)

    @staticmethod
    def count_lookups(registry: CollectorRegistry) -> Counter:
        """The metric of :meth:`get`."""
        return Counter(
            "facecloak_mask_lookups", "Masks asked for: hit, shared, confirmed, loaded, absent or stale.", ["outcome"],
            registry=registry,
        )  # fmt: skip

    def get(self, user_id: str) -> StoredMask:
        """Returns the user's mask, or bank of masks.

        Raises:
            MaskNotFound: the user has none.
            StoreUnavailable: the store does not answer and nothing recent enough is cached.
        """
        with self._lock:
            entry = self._entries.get(user_id)
            if entry is not None and self._is_fresh(entry):
                self._lookups.labels("hit").inc()
                return _mask_of(entry)
            loading = self._loading.get(user_id)
            mine = loading is None
            if loading is None:
                loading = self._loading[user_id] = Future()
        if mine:
            self._load(user_id, entry, loading)
        else:
            self._lookups.labels("shared").inc()
        return _mask_of(loading.result())

    def probe(self) -> None:
        """Raises unless the store answers."""
        self._store.probe_reading()

    def _load(self, user_id: str, known: _Entry | None, loading: Future[_Entry]) -> None:
        try:
            entry = self._fetch(user_id, known)
        except BaseException as error:  # noqa: BLE001 - whatever it is, those who wait must get it
            with self._lock:
                del self._loading[user_id]
            loading.set_exception(error)
            return
        with self._lock:
            self._entries[user_id] = entry
            del self._loading[user_id]
        loading.set_result(entry)

    def _fetch(self, user_id: str, known: _Entry | None) -> _Entry:
        # Taken before asking: a mask that changes while we ask must not count as confirmed after it changed.
        now = self._clock()
        try:
            version = self._store.version(user_id)
            if version is None:
                self._lookups.labels("absent").inc()
                return _Entry(None, None, now)
            if known is not None and known.mask is not None and known.version == version:
                self._lookups.labels("confirmed").inc()
                return replace(known, confirmed_at=now)
            self._lookups.labels("loaded").inc()
            return _Entry(self._store.get(user_id), version, now)
        except MaskNotFound:
            return _Entry(None, None, now)
        except StoreUnavailable:
            if known is None or known.mask is None or now - known.confirmed_at > self._stale_seconds:
                raise
            self._lookups.labels("stale").inc()
            return known

    def _is_fresh(self, entry: _Entry) -> bool:
        ttl = self._ttl_seconds if entry.mask is not None else self._negative_ttl_seconds
        return self._clock() - entry.confirmed_at < ttl


def _mask_of(entry: _Entry) -> StoredMask:
    if entry.mask is None:
        raise MaskNotFound("this user is not enrolled")
    return entry.mask


def _size(entry: _Entry) -> int:
    return len(entry.mask.masks) * _MASK_BYTES if entry.mask is not None else _ABSENCE_BYTES
