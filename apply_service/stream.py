"""Working on several messages of one stream at once, never on more than a fixed number."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Generic, TypeVar

Request = TypeVar("Request")
Response = TypeVar("Response")


def answer_each(
    requests: Iterable[Request],
    answer: Callable[[Request], Response],
    *,
    depth: int,
    executor: ThreadPoolExecutor,
    check: Callable[[], None],
    draining: threading.Event,
    poll_seconds: float = 0.2,
) -> Iterator[Response]:
    """Yields ``answer(request)`` of every request as it gets ready, in any order.

    No further request is read while ``depth`` of them have no answer that was yielded: that is the back pressure, and
    what bounds the memory.

    Args:
        answer: must not raise; a failure is an answer too.
        check: called at least every ``poll_seconds``; raises to end the stream at once.
        draining: once set, no more requests are taken, and the iteration ends after the answers to those that were.
    """
    pump = _Pump(answer, depth=depth, executor=executor)
    reader = threading.Thread(target=copy_context().run, args=(pump.read, requests), name="stream-reader", daemon=True)
    reader.start()
    try:
        while True:
            check()
            if draining.is_set():
                pump.close()
            if pump.finished():
                break
            try:
                response = pump.ready.get(timeout=poll_seconds)
            except queue.Empty:
                continue
            if response is not None:
                yield response
                pump.yielded()
        if pump.error is not None:
            raise pump.error
    finally:
        pump.close()


class _Pump(Generic[Request, Response]):
    """Reads requests in a thread of its own and has them answered by an executor."""

    def __init__(self, answer: Callable[[Request], Response], *, depth: int, executor: ThreadPoolExecutor) -> None:
        self._answer = answer
        self._executor = executor
        self._places = threading.Semaphore(depth)
        self._lock = threading.Lock()
        self._unanswered = 0
        self._closed = False
        self.error: Exception | None = None
        # None only wakes the waiting side up.
        self.ready: queue.Queue[Response | None] = queue.Queue()

    def read(self, requests: Iterable[Request]) -> None:
        """Takes requests until they end or the pump is closed."""
        try:
            for request in requests:
                self._places.acquire()
                if not self._take(request):
                    return
        except Exception as error:  # noqa: BLE001 - it is raised again in the stream's own thread
            self.error = error
        finally:
            self.close()

    def yielded(self) -> None:
        """One answer has gone out: there is room for one more request."""
        with self._lock:
            self._unanswered -= 1
        self._places.release()

    def finished(self) -> bool:
        """Whether no answer is to come any more."""
        with self._lock:
            return self._closed and not self._unanswered

    def close(self) -> None:
        """Takes no more requests."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        # The reader may wait for a place: it gets one, and sees that the pump is closed.
        self._places.release()
        self.ready.put(None)

    def _take(self, request: Request) -> bool:
        with self._lock:
            if self._closed:
                return False
            self._unanswered += 1
        context = copy_context()
        self._executor.submit(lambda: self.ready.put(context.run(self._answer, request)))
        return True
