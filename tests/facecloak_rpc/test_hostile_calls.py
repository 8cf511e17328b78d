"""Calls that begin and do not go on: they end, and nobody else waits for them, probes least of all."""

from __future__ import annotations

import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from facecloak.errors import ErrorCode
from facecloak_rpc.client import RemoteError, remote_errors, to_remote_error
from facecloak_rpc.settings import RpcSettings
from tests.facecloak_rpc.conftest import SERVICE
from tests.facecloak_rpc.test_server import SERVING, wait_for

SAY, SAY_EACH, CHECK = f"/{SERVICE}/Say", f"/{SERVICE}/SayEach", "/grpc.health.v1.Health/Check"


@pytest.fixture
def start(make_echo: Any) -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def start(**fields: Any) -> Any:
        made.append(make_echo())
        made[-1].start(RpcSettings(port=0, readiness_seconds=0.05, **fields))
        return made[-1]

    yield start
    for echo in made:
        echo.channel.close()
        echo.server.stop(grace_seconds=0)


class HeadersOnly:
    """Calls of one connection that send their headers, and their message never."""

    def __init__(self, echo: Any, count: int, *, method: str = SAY) -> None:
        self._end = threading.Event()
        options = [("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.insecure_channel(echo.server.target, options=options)
        kind = self.channel.stream_stream if method == SAY_EACH else self.channel.stream_unary
        begin = kind(method)
        self.calls: list[Any] = []
        for _ in range(count):
            call = begin(self._nothing()) if method == SAY_EACH else begin.future(self._nothing())
            self.calls.append(call)

    def _nothing(self) -> Iterator[bytes]:
        self._end.wait(30)
        yield from ()

    def ends(self) -> list[RemoteError]:
        """How each of them ended."""
        ended = []
        for call in self.calls:
            call.code()  # waits
            ended.append(to_remote_error(call))
        return ended

    def close(self) -> None:
        # The channel first: a call whose iterator ends before it is complete, without a message, and not cancelled.
        self.channel.close()
        self._end.set()


def awaiting(echo: Any, method: str = SAY) -> float:
    sample = "facecloak_rpc_awaiting_message"
    return echo.server.telemetry.registry.get_sample_value(sample, {"method": method.lstrip("/")}) or 0.0


def handled(echo: Any) -> dict[tuple[str, str], float]:
    """How many calls ended, by code and reason."""
    metrics = echo.server.telemetry.registry.collect()
    samples = [one for metric in metrics for one in metric.samples if one.name == "facecloak_rpc_handled_total"]
    return {(one.labels["code"], one.labels["reason"]): one.value for one in samples}


def check(echo: Any, service: str) -> int:
    with grpc.insecure_channel(echo.server.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status


@pytest.mark.parametrize("method", [SAY, SAY_EACH])
def test_calls_without_a_message_end_and_hold_nobody_up(start: Any, free_port: int, method: str) -> None:
    echo = start(message_seconds=1.0, reading_limit=4, metrics_port=free_port)
    hostile = HeadersOnly(echo, 128, method=method)
    try:
        wait_for(lambda: awaiting(echo, method) > 4)
        for _ in range(5):
            started = time.monotonic()
            assert echo.call("mine") == "mine"
            assert check(echo, "live") == check(echo, SERVICE) == SERVING
            assert urllib.request.urlopen(f"http://127.0.0.1:{free_port}/livez", timeout=2).status == 200
            assert time.monotonic() - started < 1.0
        reasons = {(error.code, error.reason) for error in hostile.ends()}
        assert reasons == {
            (ErrorCode.DEADLINE_EXCEEDED, "REQUEST_INCOMPLETE"),
            (ErrorCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
        }
        wait_for(lambda: awaiting(echo, method) == 0)
    finally:
        hostile.close()


def test_many_connections_without_messages_hold_a_call_up_for_seconds_at_most(start: Any) -> None:
    echo = start(message_seconds=20.0, reading_limit=4)
    hostile = [HeadersOnly(echo, 2) for _ in range(2)]
    try:
        wait_for(lambda: awaiting(echo) == 4)
        started = time.monotonic()
        assert echo.call("mine") == "mine"
        assert time.monotonic() - started < 3.0
    finally:
        for one in hostile:
            one.close()


def test_probes_without_a_message_hold_up_no_probe(start: Any) -> None:
    echo = start()
    hostile = HeadersOnly(echo, 100, method=CHECK)
    try:
        time.sleep(0.3)
        for _ in range(5):
            assert check(echo, "live") == SERVING
            assert echo.call("mine") == "mine"
        assert {error.reason for error in hostile.ends()} == {"REQUEST_INCOMPLETE", "OVERLOADED"}
    finally:
        hostile.close()


def test_more_calls_than_are_let_in_are_refused_at_once_and_with_a_reason(start: Any) -> None:
    echo = start(concurrent_calls_limit=3, reading_limit=4)
    entered, go_on = threading.Semaphore(0), threading.Event()

    def behavior(text: str) -> str:
        if text == "slow":
            entered.release()
            go_on.wait(20)
        return text

    echo.behavior = behavior
    slow = [threading.Thread(target=echo.call, args=("slow",)) for _ in range(3)]
    for caller in slow:
        caller.start()
        assert entered.acquire(timeout=5)
    times = []
    for _ in range(20):
        started = time.monotonic()
        with pytest.raises(RemoteError) as refused, remote_errors():
            echo.call()
        times.append(time.monotonic() - started)
        error = refused.value
        assert (error.code, error.reason, error.metadata["limit"]) == (ErrorCode.RESOURCE_EXHAUSTED, "OVERLOADED", "3")
        assert error.retry_seconds == 1.0
        assert check(echo, "live") == SERVING
    assert sorted(times)[10] < 0.05
    go_on.set()
    for caller in slow:
        caller.join(5)
    assert echo.call("mine") == "mine"


def test_what_is_no_message_is_the_callers_fault(start: Any) -> None:
    echo = start()
    with pytest.raises(RemoteError) as refused, remote_errors():
        echo.channel.unary_unary(SAY)(b"\xff\xff\xff", timeout=5)
    assert (refused.value.code, refused.value.reason) == (ErrorCode.INVALID_ARGUMENT, "INVALID_INPUT")
    with pytest.raises(RemoteError) as refused, remote_errors():
        echo.channel.stream_unary(SAY)(iter(()), timeout=5)
    assert (refused.value.code, refused.value.reason) == (ErrorCode.INVALID_ARGUMENT, "INVALID_INPUT")


def test_a_caller_that_leaves_before_its_message_is_cancelled(start: Any) -> None:
    echo = start(message_seconds=20.0)
    hostile = HeadersOnly(echo, 1)
    wait_for(lambda: awaiting(echo) == 1)
    hostile.close()
    wait_for(lambda: awaiting(echo) == 0)
    wait_for(lambda: sum(handled(echo).values()) == 1)
    # gRPC may say that no message comes before it says why: then the call counts as one without a message.
    assert set(handled(echo)) <= {("CANCELLED", "CANCELLED"), ("INVALID_ARGUMENT", "INVALID_INPUT")}


def test_probes_over_http(start: Any, free_port: int) -> None:
    echo = start(metrics_port=free_port)

    def status(path: str) -> int:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{free_port}/{path}", timeout=2).status
        except urllib.error.HTTPError as error:
            return error.code

    assert [status(path) for path in ("livez", "readyz", "metrics")] == [200, 200, 200]
    echo.healthy = False
    wait_for(lambda: status("readyz") == 503)
    assert status("livez") == 200
    echo.healthy = True
    wait_for(lambda: status("readyz") == 200)


def test_connections_that_say_nothing_keep_nobody_out_for_long(start: Any) -> None:
    echo = start(connections_limit=8)
    echo.channel.close()
    host, port = echo.server.target.rsplit(":", 1)
    silent = [socket.create_connection((host, int(port)), timeout=30) for _ in range(8)]
    try:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 500)]
        with grpc.insecure_channel(echo.server.target, options=options) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=60, wait_for_ready=True)
        assert answer.status == SERVING
        # They were closed by the server, not by their patience.
        for one in silent:
            while one.recv(4096):
                pass
    finally:
        for one in silent:
            one.close()
