"""Room to refuse: while calls are refused, or soon will be, fewer photos are worked on at once where they hold up the
refusals.

Photos and refusals share one interpreter, which one thread has at a time. Three small photos at once are worked on for
the most part one after the other anyway, and the thread that refuses waits for each of them in turn, several times a
call. Large photos are worked on outside the interpreter, and hold nobody up. So what counts is measured: how late a
thread comes that sleeps and has nothing else to do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from facecloak_rpc.budget import Budget

# How late a thread may come on average: refusing takes about ten turns, and is to take less than 50 ms.
_LATE_SECONDS = 1.0e-3
_IN_TIME_SECONDS = 0.4e-3
_SLEEP_SECONDS = 0.005
_SLEEPS = 20
# Without a long line, before as many photos as there are places for are worked on again.
_QUIET_SECONDS = 1.0


def mean_lateness() -> float:
    """How much later than it should a thread wakes up, the mean of a tenth of a second; seconds."""
    late = 0.0
    for _ in range(_SLEEPS):
        began = time.perf_counter()
        time.sleep(_SLEEP_SECONDS)
        late += time.perf_counter() - began - _SLEEP_SECONDS
    return late / _SLEEPS


class RefusalRoom:
    """Sets how many of the places for photos are used. Close it after use."""

    def __init__(self, places: Budget, *, lateness: Callable[[], float] = mean_lateness) -> None:
        """``lateness``: measures for a while, and returns how late threads come, in seconds."""
        self._places = places
        self._lateness = lateness
        self._crowded_at = float("-inf")
        self._is_crowded = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def crowded(self) -> None:
        """A call came that finds a long line. Only for the one thread that lets calls in or refuses them; returns at
        once."""
        self._crowded_at = time.monotonic()
        if not self._is_crowded.is_set():
            # The first second is the worst: all that wait in line begin in it.
            self._places.limit_to(1)
            self._is_crowded.set()
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="refusal-room", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Ends the thread that measures."""
        self._closed = True
        self._is_crowded.set()

    def step(self) -> None:
        """Measures once, and uses one place less or one more by that; never none."""
        late = self._lateness()
        if late > _LATE_SECONDS:
            self._places.limit_to(max(1, self._places.limit - 1))
        elif late < _IN_TIME_SECONDS:
            self._places.limit_to(self._places.limit + 1)

    def _run(self) -> None:
        while not self._closed:
            self._is_crowded.wait()
            while not self._closed and time.monotonic() - self._crowded_at < _QUIET_SECONDS:
                self.step()
            self._places.limit_to(self._places.total)
            self._is_crowded.clear()
