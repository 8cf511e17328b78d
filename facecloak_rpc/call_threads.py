"""Refusing calls as they begin: without a thread for each, of which hundreds would wait for each other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any


class Line:
    """How many calls have begun that are not worked on yet, those included that no thread has taken up. Thread safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._length = 0

    @property
    def length(self) -> int:
        """How many stand in it."""
        return self._length

    def join(self) -> Callable[[], None]:
        """One more. Returns what takes it out again; a second time that does nothing."""
        with self._lock:
            self._length += 1
        stands = True

        def leave() -> None:
            nonlocal stands
            with self._lock:
                self._length -= stands
                stands = False

        return leave


class CallThreads(ThreadPoolExecutor):
    """Threads for calls. gRPC is told that a call has been given to them, and not when it has ended: for that each
    thread takes the lock under which new calls are taken up, and under load holds it while it waits for the
    interpreter. So ``maximum_concurrent_rpcs`` means nothing here; the interceptor bounds the calls instead."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads, thread_name_prefix="rpc")
        self._count = threading.Lock()
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """How many calls no thread has taken up yet."""
        return self._waiting

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See concurrent.futures.Executor. The future is done at once."""
        self._add(+1)
        super().submit(self._begin, fn, *args, **kwargs)
        given: Future[Any] = Future()
        given.set_result(None)
        return given

    def _begin(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._add(-1)
        fn(*args, **kwargs)

    def _add(self, difference: int) -> None:
        with self._count:
            self._waiting += difference


class AtOnce(Executor):
    """Runs what it is given in the thread that gives it. gRPC gives it a call whose handler has it as
    ``experimental_thread_pool``: only for what never waits, since all other calls do meanwhile."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See concurrent.futures.Executor."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - a future's way to tell of it
            future.set_exception(error)
        return future
