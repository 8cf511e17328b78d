"""How many of something there may be at once, over all calls."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from facecloak_rpc.errors import Overloaded

# Time that others may take to end.
_RETRY_AFTER_SECONDS = "0.5"


class InFlightLimit:
    """A fixed number of places."""

    def __init__(self, limit: int, *, what: str) -> None:
        """``what`` names what there is too much of, for a person."""
        self._limit = limit
        self._what = what
        self._places = threading.BoundedSemaphore(limit)

    @contextmanager
    def place(self, *, wait_seconds: float = 0.0) -> Iterator[None]:
        """Holds a place for the block. Raises Overloaded when none gets free within ``wait_seconds``."""
        taken = self._places.acquire(timeout=wait_seconds) if wait_seconds > 0 else self._places.acquire(blocking=False)
        if not taken:
            raise Overloaded(
                f"too many {self._what} at once", limit=self._limit, retry_after_seconds=_RETRY_AFTER_SECONDS
            )
        try:
            yield
        finally:
            self._places.release()
