"""The mask cache: freshness, one read for many callers, bounds, and a store that is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from apply_service import cache
from apply_service.cache import MaskCache
from facecloak.call_context import within
from facecloak.masks.bank import MaskBank, StoredMask
from facecloak.masks.consent import Consent
from facecloak.masks.mask import Mask
from facecloak.stores import ConsentExpired, LocalMaskStore, MaskNotFound, Sealer, StoreUnavailable, WrongKey
from facecloak.users import User
from tests.users import ALICE, BOB


class CountingStore:
    """A store in memory that counts reads and can be away or slow."""

    def __init__(self) -> None:
        self.masks: dict[User, StoredMask] = {}
        self.gets: list[User] = []
        self.versions = 0
        self.away = False
        self.wrong_key = False
        self.go_on, self.version_go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self.version_go_on.set()

    def put(self, user: User, mask: StoredMask) -> None:
        self.masks[user] = mask

    def get(self, user: User) -> StoredMask:
        self.gets.append(user)
        assert self.go_on.wait(10)
        try:
            return self.masks[user]
        except KeyError:
            raise MaskNotFound("none") from None

    def delete(self, user: User) -> bool:
        return self.masks.pop(user, None) is not None

    def version(self, user: User) -> str | None:
        self.versions += 1
        assert self.version_go_on.wait(10)
        if self.wrong_key:
            raise WrongKey("another")
        if self.away:
            raise StoreUnavailable("away")
        return self.masks[user].mask_id if user in self.masks else None

    def probe(self) -> None: ...

    def probe_reading(self) -> None:
        self.version(User("", "anybody"))

    def prove_writing(self) -> None: ...


class Setup:
    def __init__(self, *, bytes_limit: int = 2**20) -> None:
        self.now = 0.0
        self.store = CountingStore()
        self.registry = CollectorRegistry()
        self.cache = MaskCache(
            self.store,
            bytes_limit=bytes_limit,
            ttl_seconds=30,
            negative_ttl_seconds=5,
            stale_seconds=300,
            registry=self.registry,
            loads_limit=4,
            clock=lambda: self.now,
        )

    def count(self, outcome: str) -> float:
        return self.registry.get_sample_value("facecloak_mask_lookups_total", {"outcome": outcome}) or 0.0


def new_mask() -> Mask:
    return Mask.new(np.zeros((112, 112, 3), np.int8), seed=0)


@pytest.fixture
def setup() -> Iterator[Setup]:
    made = Setup()
    made.store.put(ALICE, new_mask())
    yield made
    made.cache.close()


def test_within_its_time_a_mask_is_read_once(setup: Setup) -> None:
    first = setup.cache.get(ALICE)
    setup.now = 29.9
    assert setup.cache.get(ALICE) is first
    assert (setup.store.gets, setup.store.versions) == ([ALICE], 1)


def test_after_its_time_only_the_version_is_asked_for(setup: Setup) -> None:
    first = setup.cache.get(ALICE)
    setup.now = 31
    assert setup.cache.get(ALICE) is first
    assert (len(setup.store.gets), setup.store.versions) == (1, 2)
    setup.now = 60
    assert setup.cache.get(ALICE) is first
    assert setup.store.versions == 2


def test_a_new_mask_replaces_the_old_one_after_its_time(setup: Setup) -> None:
    setup.cache.get(ALICE)
    replacement = new_mask()
    setup.store.put(ALICE, replacement)
    setup.now = 31
    assert setup.cache.get(ALICE) is replacement


def test_a_deleted_mask_is_gone_after_its_time(setup: Setup) -> None:
    setup.cache.get(ALICE)
    setup.store.delete(ALICE)
    setup.now = 31
    with pytest.raises(MaskNotFound):
        setup.cache.get(ALICE)


def test_that_there_is_none_is_remembered_shortly(setup: Setup) -> None:
    for _ in range(3):
        with pytest.raises(MaskNotFound):
            setup.cache.get(BOB)
    assert setup.store.versions == 1
    setup.store.put(BOB, new_mask())
    setup.now = 5.1
    assert setup.cache.get(BOB) is setup.store.masks[BOB]


def test_many_callers_share_one_read(setup: Setup) -> None:
    setup.store.go_on.clear()
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(setup.cache.get, ALICE) for _ in range(8)]
        setup.store.go_on.set()
        assert len({id(future.result()) for future in futures}) == 1
    assert setup.store.gets == [ALICE]


def test_many_callers_share_one_failure_and_the_next_tries_again(setup: Setup) -> None:
    setup.store.away = True
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            setup.cache.get(ALICE)
    assert setup.store.versions == 2
    setup.store.away = False
    assert setup.cache.get(ALICE) is setup.store.masks[ALICE]


def test_a_known_mask_outlives_a_store_that_is_away_but_not_for_ever(setup: Setup) -> None:
    first = setup.cache.get(ALICE)
    setup.store.away = True
    setup.now = 299
    assert setup.cache.get(ALICE) is first
    setup.now = 301
    with pytest.raises(StoreUnavailable):
        setup.cache.get(ALICE)


@pytest.mark.parametrize("fault", ["away", "wrong_key"])
def test_that_nobody_is_enrolled_is_never_said_by_a_store_that_fails(setup: Setup, fault: str) -> None:
    with pytest.raises(MaskNotFound):
        setup.cache.get(BOB)
    setattr(setup.store, fault, True)
    setup.now = 5.1
    with pytest.raises(StoreUnavailable if fault == "away" else WrongKey):
        setup.cache.get(BOB)


def test_a_known_mask_outlives_a_store_of_another_key_for_a_while(setup: Setup) -> None:
    first = setup.cache.get(ALICE)
    setup.store.wrong_key = True
    setup.now = 31
    assert setup.cache.get(ALICE) is first
    assert setup.count("stale") == 1
    setup.now = 301
    with pytest.raises(WrongKey):
        setup.cache.get(ALICE)


def test_while_the_store_is_slow_masks_are_there_at_once_and_asked_for_once(setup: Setup) -> None:
    first = setup.cache.get(ALICE)
    setup.now = 31
    setup.store.version_go_on.clear()
    began = time.monotonic()
    assert [setup.cache.get(ALICE) for _ in range(50)] == [first] * 50
    assert time.monotonic() - began < 1.0
    assert (setup.store.versions, setup.count("late"), setup.count("stale")) == (2, 50, 0)
    replacement = new_mask()
    setup.store.put(ALICE, replacement)
    setup.store.version_go_on.set()
    wait_for(lambda: setup.cache.get(ALICE) is replacement)
    assert setup.store.versions == 2


def test_a_caller_waits_no_longer_than_its_deadline(setup: Setup) -> None:
    setup.store.version_go_on.clear()
    began = time.monotonic()
    with within(0.2), pytest.raises(StoreUnavailable):
        setup.cache.get(ALICE)
    assert time.monotonic() - began < 1.0
    # Those who wait for the same mask with more time get it.
    with ThreadPoolExecutor(1) as pool:
        patient = pool.submit(setup.cache.get, ALICE)
        setup.store.version_go_on.set()
        assert patient.result(5) is setup.store.masks[ALICE]
    assert setup.store.versions == 1


def test_a_hung_store_holds_few_callers(setup: Setup) -> None:
    first = setup.cache.get(ALICE)
    setup.store.version_go_on.clear()
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(setup.cache.get, f"cold-{number}") for number in range(2)]
        wait_for(lambda: setup.store.versions == 3)
        time.sleep(0.6)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            setup.cache.get(User("", "cold-3"))
        setup.now = 31
        assert setup.cache.get(ALICE) is first
        assert time.monotonic() - began < 0.5
        assert setup.store.versions == 3
        assert setup.count("refused") == 2
        setup.store.version_go_on.set()
        for load in waiting:
            with pytest.raises(MaskNotFound):
                load.result(5)


def test_a_probe_of_a_hung_store_ends(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_LOAD_SECONDS", 0.2)
    setup.store.version_go_on.clear()
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            setup.cache.probe()
    assert setup.store.versions == 1
    setup.store.version_go_on.set()
    wait_for(lambda: setup.cache.probe() is None)


def test_it_can_serve_while_some_mask_is_recent_enough(setup: Setup) -> None:
    assert not setup.cache.can_serve()
    with pytest.raises(MaskNotFound):
        setup.cache.get(BOB)
    assert not setup.cache.can_serve()
    setup.cache.get(ALICE)
    setup.now = 300
    assert setup.cache.can_serve()
    setup.now = 301
    assert not setup.cache.can_serve()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


def test_memory_is_bounded() -> None:
    setup = Setup(bytes_limit=3 * 40 * 1024)
    for number in range(10):
        setup.store.put(User("", f"user-{number}"), new_mask())
        setup.cache.get(User("", f"user-{number}"))
    setup.cache.get(User("", "user-9"))
    assert len(setup.store.gets) == 10
    setup.cache.get(User("", "user-0"))
    assert len(setup.store.gets) == 11


def test_a_bank_counts_with_all_its_masks() -> None:
    setup = Setup(bytes_limit=3 * 40 * 1024)
    for number in range(4):
        setup.store.put(User("", f"user-{number}"), MaskBank.of([new_mask(), new_mask()]))
        setup.cache.get(User("", f"user-{number}"))
    assert len(setup.store.gets) == 4
    # Room for one bank of two: the one before the last is gone.
    setup.cache.get(User("", "user-3"))
    assert len(setup.store.gets) == 4
    setup.cache.get(User("", "user-2"))
    assert len(setup.store.gets) == 5


def test_a_bank_larger_than_the_cache_is_kept_alone() -> None:
    setup = Setup(bytes_limit=40 * 1024)
    setup.store.put(User("", "many"), MaskBank.of([new_mask() for _ in range(8)]))
    assert len(setup.cache.get(User("", "many")).masks) == 8
    setup.cache.get(User("", "many"))
    assert setup.store.gets == [User("", "many")]


def test_a_cache_too_small_for_one_mask_still_serves(setup: Setup) -> None:
    tiny = Setup(bytes_limit=100)
    tiny.store.put(ALICE, new_mask())
    assert tiny.cache.get(ALICE) is tiny.cache.get(ALICE)


def test_a_deletion_reaches_every_replica_within_the_bound(tmp_path: Path) -> None:
    """Two apply services with caches of their own, on one store; a backup is restored after the deletion."""
    root, key = tmp_path / "masks", Sealer(bytes(32))
    enroll = LocalMaskStore(root, key)
    enroll.put(ALICE, new_mask())
    now = [0.0]
    caches = [
        MaskCache(
            LocalMaskStore(root, key, begins=False), bytes_limit=2**20, ttl_seconds=30, negative_ttl_seconds=5,
            stale_seconds=300, registry=CollectorRegistry(), clock=lambda: now[0],
        )
        for _ in range(2)
    ]  # fmt: skip
    for one in caches:
        one.get(ALICE)
    (path,) = root.rglob("*.mask")
    backup = path.read_bytes()
    assert enroll.delete(ALICE) is True
    path.write_bytes(backup)
    now[0] = 29.9
    caches[0].get(ALICE)  # remembered still
    now[0] = 30.0
    for _ in range(2):
        for one in caches:
            with pytest.raises(MaskNotFound):
                one.get(ALICE)
        now[0] += 1000
    for one in caches:
        one.close()


def test_a_mask_is_not_used_once_its_consent_is_over(setup: Setup) -> None:
    now = datetime.now(UTC)
    given, ends = (now - timedelta(days=1)).isoformat(), (now + timedelta(seconds=0.4)).isoformat()
    setup.store.put(ALICE, replace(new_mask(), consent=Consent("v1", given, "cloaking", ends)))
    setup.cache.get(ALICE)
    time.sleep(0.5)
    with pytest.raises(ConsentExpired):  # though it is remembered, and fresh
        setup.cache.get(ALICE)
