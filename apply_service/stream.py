"""Working on several messages of one stream at once, never on more than a fixed number."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

Request = TypeVar("Request")
Response = TypeVar("Response")


class _End:
    """Marks the end of the requests, and why they ended."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error


def answer_each(
    requests: Iterable[Request],
    answer: Callable[[Request], Response],
    *,
    depth: int,
    executor: ThreadPoolExecutor,
    check: Callable[[], None],
    check_seconds: float = 0.2,
) -> Iterator[Response]:
    """Yields ``answer(request)`` of every request as it gets ready, in any order.

    No further request is read while ``depth`` of them have no answer that was yielded: that is the back pressure, and
    what bounds the memory.

    Args:
        answer: must not raise; a failure is an answer too.
        check: called between answers and while waiting; may raise to end the stream.
    """
    ready: queue.Queue[Response | _End] = queue.Queue()
    places = threading.Semaphore(depth)
    closed = threading.Event()

    def work(request: Request) -> None:
        ready.put(answer(request))

    def read() -> None:
        error: Exception | None = None
        count = 0
        try:
            for request in requests:
                places.acquire()
                if closed.is_set():
                    return
                executor.submit(copy_context().run, work, request)
                count += 1
        except Exception as caught:  # noqa: BLE001 - it is raised again in the stream's own thread
            error = caught
        # All places back means that every answer was yielded.
        for _ in range(depth):
            places.acquire()
        ready.put(_End(error))

    reader = threading.Thread(target=copy_context().run, args=(read,), name="stream-reader", daemon=True)
    reader.start()
    try:
        while True:
            check()
            try:
                item = ready.get(timeout=check_seconds)
            except queue.Empty:
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
            places.release()
    finally:
        closed.set()
        # Whatever the reader waits for, it may now go on and see that the stream is closed.
        places.release(depth + 1)
