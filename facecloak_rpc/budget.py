"""An amount of something that calls share, given out in the order in which they asked."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, field


@dataclass
class _Waiter:
    amount: int
    owner: str
    given: threading.Event = field(default_factory=threading.Event)


class Budget:
    """A fixed amount, of places or of bytes. Never more than that is out, and nobody who asked first is passed by."""

    def __init__(self, total: int, *, share: int | None = None) -> None:
        """``share`` is the most that one owner may have at once; by default all of it."""
        self.total = total
        self._limit = total
        self._share = total if share is None else share
        self._lock = threading.Lock()
        self._out = 0
        self._out_by_owner: Counter[str] = Counter()
        self._waiters: deque[_Waiter] = deque()

    @property
    def out(self) -> int:
        """How much is given out."""
        return self._out

    @property
    def limit(self) -> int:
        """How much of the total is given out for now."""
        return self._limit

    def limit_to(self, limit: int) -> None:
        """Gives out so much of the total for now. Who has more keeps it; at least one and at most the total."""
        with self._lock:
            self._limit = min(max(limit, 1), self.total)
            self._serve()

    @property
    def owners(self) -> int:
        """How many owners have any of it."""
        return len(self._out_by_owner)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiters)

    def take(self, amount: int, *, owner: str = "", wait_seconds: float = 0.0, adds: bool = False) -> bool:
        """Takes the amount, or returns False where that was not possible within the time. Give it back afterwards.

        ``adds``: it is for work that has some already, which goes first: the sooner it ends, the sooner all is back.
        """
        waiter = _Waiter(amount, owner)
        with self._lock:
            if (adds or not self._waiters) and self._fits(waiter):
                self._give(waiter)
                return True
            if wait_seconds <= 0 or amount > self._share:
                return False
            self._waiters.insert(0 if adds else len(self._waiters), waiter)
            self._serve()  # those before may wait for nothing but their own share
        if waiter.given.wait(wait_seconds):
            return True
        with self._lock:
            if waiter.given.is_set():
                return True
            self._waiters.remove(waiter)
            self._serve()
        return False

    def give_back(self, amount: int, *, owner: str = "") -> None:
        """Gives back what was taken, to those who wait for it."""
        with self._lock:
            self._out -= amount
            self._out_by_owner[owner] -= amount
            if not self._out_by_owner[owner]:
                del self._out_by_owner[owner]
            self._serve()

    def _fits(self, waiter: _Waiter) -> bool:
        return self._out + waiter.amount <= self._limit and self._has_share(waiter)

    def _has_share(self, waiter: _Waiter) -> bool:
        return self._out_by_owner[waiter.owner] + waiter.amount <= self._share

    def _give(self, waiter: _Waiter) -> None:
        self._out += waiter.amount
        self._out_by_owner[waiter.owner] += waiter.amount
        waiter.given.set()

    def _serve(self) -> None:
        passed: list[_Waiter] = []
        while self._waiters:
            waiter = self._waiters[0]
            if not self._has_share(waiter):
                passed.append(self._waiters.popleft())  # waits for its owner's others, and holds nobody else up
            elif self._fits(waiter):
                self._give(self._waiters.popleft())
            else:
                break
        self._waiters.extendleft(reversed(passed))
