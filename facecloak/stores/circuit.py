"""A circuit before a store: one that does not answer is not asked by every caller, each of whom would wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

from circuitbreaker import CircuitBreaker

from facecloak.masks.bank import StoredMask
from facecloak.stores.base import MaskStore
from facecloak.stores.errors import StoreUnavailable
from facecloak.stores.mask_page import MaskPage
from facecloak.stores.receipts import DeletionReceipt
from facecloak.users import User

Result = TypeVar("Result")


class CircuitStore:
    """A :class:`facecloak.stores.MaskStore` that refuses at once while ``store`` counts as dead.

    Reads are counted; after ``failures`` in a row, all are refused for ``seconds``, and then one may find out whether
    the store lives again. A probe always asks, and closes the circuit when it succeeds. Writes are never refused: what
    is to be written took minutes to make.
    """

    def __init__(self, store: MaskStore, *, failures: int = 3, seconds: float = 2.0) -> None:
        self._store = store
        self._circuit = CircuitBreaker(
            failure_threshold=failures, recovery_timeout=seconds, expected_exception=StoreUnavailable
        )
        self._trial = threading.Lock()
        self._fault = ""

    @property
    def is_open(self) -> bool:
        """Whether a read would be refused now."""
        return bool(self._circuit.opened)

    def get(self, user: User) -> StoredMask:
        """See :class:`facecloak.stores.MaskStore`."""
        return self._read(lambda: self._store.get(user))

    def version(self, user: User) -> str | None:
        """See :class:`facecloak.stores.MaskStore`."""
        return self._read(lambda: self._store.version(user))

    def epoch(self, user: User) -> int:
        """See :class:`facecloak.stores.MaskStore`."""
        return self._store.epoch(user)

    def put(self, user: User, mask: StoredMask, *, epoch: int | None = None) -> None:
        """See :class:`facecloak.stores.MaskStore`."""
        self._store.put(user, mask, epoch=epoch)

    def erase(self, user: User) -> DeletionReceipt:
        """See :class:`facecloak.stores.MaskStore`."""
        return self._store.erase(user)

    def deleted_receipt(self, user: User) -> Mapping[str, str]:
        """See :class:`facecloak.stores.MaskStore`."""
        return self._store.deleted_receipt(user)

    def delete(self, user: User) -> bool:
        """See :class:`facecloak.stores.MaskStore`."""
        return self._store.delete(user)

    def user_key(self, user: User) -> bytes:
        """See :class:`facecloak.stores.MaskStore`."""
        return self._store.user_key(user)

    def list_masks(self, tenant: str, *, limit: int, token: str = "") -> MaskPage:
        """See :class:`facecloak.stores.MaskStore`."""
        return self._store.list_masks(tenant, limit=limit, token=token)

    def probe(self) -> None:
        """See :class:`facecloak.stores.MaskStore`."""
        self._store.probe()
        self._circuit.reset()

    def probe_reading(self) -> None:
        """See :class:`facecloak.stores.MaskStore`."""
        self._store.probe_reading()
        self._circuit.reset()

    def prove_writing(self) -> None:
        """See :class:`facecloak.stores.MaskStore`."""
        self._store.prove_writing()

    def _read(self, call: Callable[[], Result]) -> Result:
        if self._circuit.opened:
            raise self._refusal()
        if self._circuit.state != "half_open":
            return self._counted(call)
        if not self._trial.acquire(blocking=False):
            raise self._refusal()
        try:
            return self._counted(call)
        finally:
            self._trial.release()

    def _counted(self, call: Callable[[], Result]) -> Result:
        with self._circuit:
            try:
                return call()
            except StoreUnavailable as error:
                self._fault = error.fault
                raise

    def _refusal(self) -> StoreUnavailable:
        # No advice: what opened the circuit has given it.
        return StoreUnavailable("The mask store did not answer a moment ago.", fault=self._fault)
