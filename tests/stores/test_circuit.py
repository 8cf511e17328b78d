"""The circuit before a store: when it opens, who tries again, and what it never refuses."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from facecloak.masks.bank import StoredMask
from facecloak.stores import CircuitStore, MaskNotFound, StoreUnavailable
from facecloak.users import User
from tests.users import ALICE


class Store:
    """Fails as it is told, and counts what it is asked."""

    def __init__(self) -> None:
        self.failing = False
        self.asked = 0
        self.go_on = threading.Event()
        self.go_on.set()

    def _answer(self) -> None:
        self.asked += 1
        assert self.go_on.wait(10)
        if self.failing:
            raise StoreUnavailable("away", fault="Timeout")

    def get(self, user: User) -> StoredMask:
        self._answer()
        raise MaskNotFound("none")

    def version(self, user: User) -> str | None:
        self._answer()
        return None

    def put(self, user: User, mask: StoredMask, *, epoch: int | None = None) -> None:
        self._answer()

    def delete(self, user: User) -> bool:
        self._answer()
        return True

    probe = probe_reading = prove_writing = _answer


@pytest.fixture
def store() -> Store:
    return Store()


def fail(circuit: CircuitStore, times: int) -> None:
    for _ in range(times):
        with pytest.raises(StoreUnavailable) as refusal:
            circuit.version(ALICE)
        assert refusal.value.fault == "Timeout"


def test_after_some_failures_in_a_row_nobody_is_kept_waiting(store: Store) -> None:
    circuit = CircuitStore(store, failures=3, seconds=60)
    store.failing = True
    fail(circuit, 2)
    store.failing = False
    assert circuit.version(ALICE) is None
    store.failing = True
    fail(circuit, 10)
    assert store.asked == 2 + 1 + 3
    assert circuit.is_open


def test_that_there_is_no_mask_is_no_failure(store: Store) -> None:
    circuit = CircuitStore(store, failures=1, seconds=60)
    for _ in range(5):
        with pytest.raises(MaskNotFound):
            circuit.get(ALICE)
    assert store.asked == 5


def test_one_finds_out_whether_the_store_lives_again(store: Store) -> None:
    circuit = CircuitStore(store, failures=1, seconds=0.2)
    store.failing = True
    fail(circuit, 1)
    time.sleep(0.3)
    store.go_on.clear()
    with ThreadPoolExecutor(1) as pool:
        trial = pool.submit(fail, circuit, 1)
        while store.asked < 2:
            time.sleep(0.01)
        fail(circuit, 5)
        assert store.asked == 2
        store.go_on.set()
        trial.result(5)
    time.sleep(0.3)
    store.failing = False
    assert circuit.version(ALICE) is None
    assert not circuit.is_open


def test_a_probe_always_asks_and_closes_it(store: Store) -> None:
    circuit = CircuitStore(store, failures=1, seconds=60)
    store.failing = True
    fail(circuit, 1)
    with pytest.raises(StoreUnavailable):
        circuit.probe_reading()
    assert circuit.is_open
    store.failing = False
    circuit.probe_reading()
    assert circuit.version(ALICE) is None


def test_what_is_to_be_written_is_never_refused(store: Store) -> None:
    circuit = CircuitStore(store, failures=1, seconds=60)
    store.failing = True
    fail(circuit, 1)
    store.failing = False
    circuit.put(ALICE, None)  # type: ignore[arg-type]
    assert circuit.delete(ALICE)
