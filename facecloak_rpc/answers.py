"""Answers on their way: each takes memory until its caller has taken it, and a caller has a time for that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc

from facecloak_rpc.metrics import RpcMetrics

# While others wait for memory, an answer that is not taken is given up after this.
_HURRIED_SECONDS = 5.0
_LOOK_SECONDS = 0.25


@dataclass(eq=False)
class _Answer:
    context: grpc.ServicerContext
    size: int
    release: Callable[[], None]
    since: float = field(default_factory=time.monotonic)


class Answers:
    """Those that gRPC was given and that their callers have not taken. Thread safe; close it after use."""

    def __init__(self, metrics: RpcMetrics, *, seconds: float, is_short: Callable[[], bool]) -> None:
        """``seconds``: how long an answer waits for its caller; less while ``is_short``."""
        self._metrics = metrics
        self._seconds = seconds
        self._is_short = is_short
        self._lock = threading.Lock()
        self._waiting: set[_Answer] = set()
        self._closed = threading.Event()
        threading.Thread(target=self._give_up, name="answers", daemon=True).start()

    def close(self) -> None:
        """Ends the thread that looks after them."""
        self._closed.set()

    def sent(self, context: grpc.ServicerContext, size: int, release: Callable[[], None]) -> None:
        """The call's only answer is given to gRPC now; calls ``release`` once the call has ended."""
        answer = _Answer(context, size, release)
        self._begin(answer)
        if not context.add_callback(lambda: self._end(answer)):
            self._end(answer)

    @contextmanager
    def sending(self, context: grpc.ServicerContext, size: int) -> Iterator[None]:
        """One of a call's answers is given to gRPC in the block, which ends when it is taken."""
        answer = _Answer(context, size, lambda: None)
        self._begin(answer)
        try:
            yield
        finally:
            self._end(answer)

    def _begin(self, answer: _Answer) -> None:
        with self._lock:
            self._waiting.add(answer)
        self._metrics.unread_bytes.inc(answer.size)

    def _end(self, answer: _Answer) -> None:
        with self._lock:
            if answer not in self._waiting:
                return
            self._waiting.remove(answer)
        self._metrics.unread_bytes.dec(answer.size)
        answer.release()

    def _give_up(self) -> None:
        while not self._closed.wait(_LOOK_SECONDS):
            limit = min(self._seconds, _HURRIED_SECONDS) if self._is_short() else self._seconds
            with self._lock:
                late = [answer for answer in self._waiting if time.monotonic() - answer.since > limit]
            for answer in late:
                answer.since = float("inf")  # once
                self._metrics.answers_given_up.inc()
                answer.context.cancel()
