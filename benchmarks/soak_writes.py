"""A user whose mask is written anew while a soak runs, as enrollment does: what was acknowledged must be read."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import numpy as np

from facecloak.masks.mask import Mask
from facecloak.stores import StoreUnavailable
from facecloak.users import User

_USER = User("", "soak-enrolled-anew")
_PAUSE_SECONDS = 1.0


class Writes(threading.Thread):
    """Writes and reads in turn until it is ended; start it as a thread."""

    def __init__(self, store: Any) -> None:
        super().__init__(name="writes")
        self._store = store
        self._ended = threading.Event()
        # A write that failed may have been done, or be done later still.
        self._may_be: set[str | None] = {None}
        self._counts: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    def run(self) -> None:
        """See Thread."""
        number = 0
        while not self._ended.wait(_PAUSE_SECONDS):
            self._write(number)
            self._read()
            number += 1

    def end(self) -> dict[str, Any]:
        """Waits for the last write, and returns how many were acknowledged, refused (by the store's fault) and lost."""
        self._ended.set()
        self.join()
        self._read()
        return {
            "acknowledged": self._counts["acknowledged"],
            "read": self._counts["read"],
            "lost": self._counts["lost"],
            "refused": dict(sorted(self._refused.items())),
        }

    def _write(self, number: int) -> None:
        mask = Mask.new(np.full((112, 112, 3), number % 100, np.int8), seed=number)
        try:
            self._store.put(_USER, mask)
        except StoreUnavailable as error:
            self._refused[str(error.metadata["fault"])] += 1
            self._may_be.add(mask.mask_id)
        else:
            self._counts["acknowledged"] += 1
            self._may_be = {mask.mask_id}

    def _read(self) -> None:
        try:
            found = None if self._store.version(_USER) is None else self._store.get(_USER).mask_id
        except StoreUnavailable:
            return
        self._counts["read" if found in self._may_be else "lost"] += 1
