"""Working on several messages of one stream at once, never on more than a fixed number."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from contextvars import copy_context
from typing import Generic, TypeVar

from facecloak_rpc.admission import Admitted, Unlimited
from facecloak_rpc.messages import RequestIncomplete

Request = TypeVar("Request")
Response = TypeVar("Response")


def answer_each(
    requests: Iterable[Request],
    answer: Callable[[Request, Exception | None], Response],
    *,
    depth: int,
    admit: Callable[[Request], AbstractContextManager[Admitted]],
    size_of: Callable[[Response], int],
    first_seconds: float,
    idle_seconds: float,
    executor: ThreadPoolExecutor,
    check: Callable[[], None],
    draining: threading.Event,
    poll_seconds: float = 0.2,
) -> Iterator[Response]:
    """Yields the answer to every request as it gets ready, in any order.

    No further request is read while ``depth`` of them have no answer that was yielded, nor while one waits to be
    admitted: that is the back pressure, and what bounds the memory.

    Args:
        answer: gets a request, and why it was not admitted, or None; must not raise, a failure is an answer too.
        admit: entered, in the order of the requests, before the next one is read; left when there is an answer, whose
            memory is held until it was yielded.
        size_of: an answer's bytes.
        first_seconds: how long the first request may take to come.
        idle_seconds: how long each later one may, when all before are answered.
        check: called at least every ``poll_seconds``; raises to end the stream at once.
        draining: once set, no more requests are taken, and the iteration ends after the answers to those that were.
    """
    pump = _Pump(answer, depth=depth, admit=admit, size_of=size_of, executor=executor)
    reader = threading.Thread(target=copy_context().run, args=(pump.read, requests), name="stream-reader", daemon=True)
    reader.start()
    try:
        while True:
            check()
            if draining.is_set():
                pump.close()
            if pump.finished():
                break
            if pump.idle_seconds() > (idle_seconds if pump.any_came else first_seconds):
                raise RequestIncomplete("no photo came on the stream for too long", field="request")
            try:
                ready = pump.ready.get(timeout=poll_seconds)
            except queue.Empty:
                continue
            if ready is not None:
                response, release = ready
                del ready
                try:
                    yield response
                finally:
                    release()
                del response
                pump.yielded()
        if pump.error is not None:
            raise pump.error
    finally:
        pump.abandon()


class _Pump(Generic[Request, Response]):
    """Reads requests in a thread of its own and has them answered by an executor."""

    def __init__(
        self,
        answer: Callable[[Request, Exception | None], Response],
        *,
        depth: int,
        admit: Callable[[Request], AbstractContextManager[Admitted]],
        size_of: Callable[[Response], int],
        executor: ThreadPoolExecutor,
    ) -> None:
        self._answer = answer
        self._admit = admit
        self._size_of = size_of
        self._idle_since = time.monotonic()
        self.any_came = False
        self._executor = executor
        self._places = threading.Semaphore(depth)
        self._lock = threading.Lock()
        self._unanswered = 0
        self._closed = False
        self._abandoned = False
        self.error: Exception | None = None
        # None only wakes the waiting side up.
        self.ready: queue.Queue[tuple[Response, Callable[[], None]] | None] = queue.Queue()

    def read(self, requests: Iterable[Request]) -> None:
        """Takes requests until they end or the pump is closed."""
        try:
            for request in requests:
                self.any_came = True
                self._places.acquire()
                held, failure = ExitStack(), None
                admitted: Admitted = Unlimited()
                try:
                    admitted = held.enter_context(self._admit(request))
                except Exception as error:  # noqa: BLE001 - one request's error is that request's answer
                    failure = error
                if not self._take(request, failure, held, admitted):
                    held.close()
                    return
                del request  # read no further with this one at hand
        except Exception as error:  # noqa: BLE001 - it is raised again in the stream's own thread
            self.error = error
        finally:
            self.close()

    def yielded(self) -> None:
        """One answer has gone out: there is room for one more request."""
        with self._lock:
            self._unanswered -= 1
            self._idle_since = time.monotonic()
        self._places.release()

    def idle_seconds(self) -> float:
        """For how long nothing has been there to do."""
        with self._lock:
            return 0.0 if self._unanswered else time.monotonic() - self._idle_since

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

    def abandon(self) -> None:
        """Nobody takes answers any more: neither those that are ready, nor those still to come."""
        self.close()
        with self._lock:
            self._abandoned = True
        while True:
            try:
                ready = self.ready.get_nowait()
            except queue.Empty:
                return
            if ready is not None:
                ready[1]()

    def _take(self, request: Request, failure: Exception | None, held: ExitStack, admitted: Admitted) -> bool:
        with self._lock:
            if self._closed:
                return False
            self._unanswered += 1
        context = copy_context()

        def work() -> None:
            with held:
                response = context.run(self._answer, request, failure)
                release = admitted.answered(self._size_of(response))
            with self._lock:
                if not self._abandoned:
                    self.ready.put((response, release))
                    return
            release()

        self._executor.submit(work)
        return True
