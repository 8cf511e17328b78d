"""Calls are refused as they begin, without a thread for each and without being read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from facecloak.errors import ErrorCode, FaceCloakError
from facecloak_rpc.admission import Unlimited
from facecloak_rpc.call_threads import AtOnce, CallThreads, Line
from facecloak_rpc.client import RemoteError, to_remote_error
from facecloak_rpc.errors import Overloaded
from facecloak_rpc.settings import RpcSettings
from tests.facecloak_rpc.test_hostile_calls import SAY, SAY_EACH, HeadersOnly, check
from tests.facecloak_rpc.test_server import SERVING, wait_for


class FewInLine(Unlimited):
    """Lets so many stand in line."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.asked_in: set[str] = set()

    def refusal(self, waiting: int) -> FaceCloakError | None:  # type: ignore[override]
        self.asked_in.add(threading.current_thread().name)
        return Overloaded("too many", retry_after_seconds="2.5") if waiting >= self.limit else None


@pytest.fixture
def start(make_echo: Any) -> Iterator[Callable[..., Any]]:
    with ExitStack() as stack:

        def start(admission: Any, **fields: Any) -> Any:
            echo = make_echo()
            echo.start(RpcSettings(port=0, readiness_seconds=0.05, **fields), admission=admission)
            stack.callback(echo.server.stop, grace_seconds=0)
            stack.callback(echo.channel.close)
            return echo

        yield start


def test_line_is_left_once() -> None:
    line = Line()
    leave, other = line.join(), line.join()
    assert line.length == 2
    leave()
    leave()
    assert line.length == 1
    other()
    assert line.length == 0


def test_calls_that_are_given_to_threads_are_counted_until_they_begin() -> None:
    threads, go_on, begun = CallThreads(2), threading.Event(), threading.Semaphore(0)

    def work() -> None:
        begun.release()
        go_on.wait(10)

    given = [threads.submit(work) for _ in range(5)]
    assert all(future.done() for future in given)
    assert begun.acquire(timeout=5)
    assert begun.acquire(timeout=5)
    wait_for(lambda: threads.waiting == 3)
    go_on.set()
    threads.shutdown(wait=True)
    assert threads.waiting == 0


def test_at_once_runs_here_and_keeps_what_was_raised() -> None:
    assert AtOnce().submit(threading.get_ident).result(0) == threading.get_ident()
    assert isinstance(AtOnce().submit(int, "x").exception(0), ValueError)


@pytest.mark.parametrize("method", [SAY, SAY_EACH])
def test_what_comes_beyond_the_line_is_refused_before_it_is_read(start: Any, method: str) -> None:
    admission = FewInLine(3)
    echo = start(admission, message_seconds=20.0)
    hostile = HeadersOnly(echo, 6)
    try:
        refused = []

        def ended() -> bool:
            refused[:] = [to_remote_error(call) for call in hostile.calls if call.done()]
            return len(refused) == 3

        wait_for(ended)
        assert {(one.code, one.reason, one.retry_seconds) for one in refused} == {
            (ErrorCode.RESOURCE_EXHAUSTED, "OVERLOADED", 2.5)
        }
        assert check(echo, "live") == SERVING
        if method == SAY_EACH:
            # One that has one message and many answers has no photo to wait for, and its own bounds.
            assert [str(text) for text in echo.stream("x")]
        else:
            with pytest.raises(grpc.RpcError) as own:
                echo.call("mine")
            assert to_remote_error(own.value).reason == "OVERLOADED"
        assert not any(name.startswith("rpc") for name in admission.asked_in)
    finally:
        hostile.close()
    # Those that stood in line have left it.
    wait_for(lambda: _answers(echo))
    for _ in range(5):
        assert echo.call("again") == "again"


def _answers(echo: Any) -> bool:
    try:
        return bool(echo.call("again") == "again")
    except grpc.RpcError:
        time.sleep(0.05)
        return False


def test_every_kind_of_call_is_refused_where_all_places_are_taken(start: Any) -> None:
    echo = start(None, concurrent_calls_limit=2, connection_calls_limit=2, message_seconds=20.0)
    hostile = HeadersOnly(echo, 2)
    try:
        wait_for(lambda: echo.server.interceptor._open.refusal() is not None)
        errors: list[RemoteError] = []
        for call in (lambda: echo.call("x"), lambda: list(echo.stream("x"))):
            with pytest.raises(grpc.RpcError) as refused:
                call()
            errors.append(to_remote_error(refused.value))
        assert {(one.code, one.reason) for one in errors} == {(ErrorCode.RESOURCE_EXHAUSTED, "OVERLOADED")}
        assert all(one.retry_seconds for one in errors)
        assert check(echo, "live") == SERVING
    finally:
        hostile.close()
