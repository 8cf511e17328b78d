"""Health, reflection, drain, metrics, request ids and error mapping, through a real server and channel."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry

from facecloak.errors import ErrorCode, InvalidInput
from facecloak.stores import StoreUnavailable, WrongKey
from facecloak_rpc.client import RemoteError, remote_errors, to_remote_error
from facecloak_rpc.errors import Overloaded
from facecloak_rpc.logging import configure_logging
from facecloak_rpc.metrics import RpcMetrics
from facecloak_rpc.readiness import Degraded, Readiness
from facecloak_rpc.server import AddressInUse
from facecloak_rpc.settings import RpcSettings

SERVICE = "facecloak.test.Echo"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def health(echo: Any, service: str = SERVICE) -> int:
    stub = health_pb2_grpc.HealthStub(echo.channel)
    return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status


def raising(error: Exception) -> Any:
    def behavior(_text: str) -> str:
        raise error

    return behavior


def wait_for(condition: Any, *, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def test_health_follows_the_probe(echo: Any) -> None:
    assert health(echo) == health(echo, "") == SERVING
    echo.healthy = False
    wait_for(lambda: health(echo) == NOT_SERVING)
    assert health(echo, "") == NOT_SERVING
    echo.healthy = True
    wait_for(lambda: health(echo) == SERVING)
    with pytest.raises(grpc.RpcError) as unknown:
        health(echo, "facecloak.test.Other")
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]


def test_a_degraded_service_serves_and_tells(echo: Any) -> None:
    assert health(echo, "undegraded") == SERVING
    echo.failure = Degraded.because(StoreUnavailable("away", fault="Timeout", advice="look at it"))
    wait_for(lambda: health(echo, "undegraded") == NOT_SERVING)
    registry = echo.server.telemetry.registry
    assert health(echo) == health(echo, "") == SERVING
    assert [registry.get_sample_value(f"facecloak_{name}") for name in ("ready", "degraded")] == [1, 1]
    echo.failure = StoreUnavailable("away", fault="Timeout")
    wait_for(lambda: health(echo) == NOT_SERVING)
    assert [registry.get_sample_value(f"facecloak_{name}") for name in ("ready", "degraded")] == [0, 0]
    echo.failure = None
    wait_for(lambda: health(echo, "undegraded") == SERVING)
    assert health(echo) == SERVING


def test_a_probe_that_hangs_is_not_ready() -> None:
    hangs, go_on = threading.Event(), threading.Event()

    def probe() -> None:
        if hangs.is_set():
            go_on.wait(20)

    servicer = HealthServicer()
    readiness = Readiness(
        servicer, service=SERVICE, probe=probe, every_seconds=0.02, metrics=RpcMetrics(CollectorRegistry()),
        probe_seconds=0.2,
    )  # fmt: skip

    def status() -> int:
        return servicer.Check(health_pb2.HealthCheckRequest(service=SERVICE), None).status

    readiness.start()
    wait_for(lambda: status() == SERVING)
    hangs.set()
    wait_for(lambda: status() == NOT_SERVING)
    hangs.clear()
    go_on.set()
    wait_for(lambda: status() == SERVING)
    readiness.stop()


def test_a_change_of_health_is_logged_once_with_what_to_do(echo: Any, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(log_format="json", level="info")
    echo.failure = WrongKey("The mask store was sealed with another key.")
    wait_for(lambda: health(echo) == NOT_SERVING)
    time.sleep(0.3)
    lines = [line for line in map(json.loads, capsys.readouterr().err.splitlines()) if line["event"] == "not ready"]
    assert len(lines) == 1
    assert lines[0]["reason"] == "WRONG_KEY"
    assert "the key that sealed this store" in lines[0]["advice"]


def test_reflection_lists_the_services(echo: Any) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(echo.channel)
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    (answer,) = stub.ServerReflectionInfo(requests, timeout=5)
    names = {service.name for service in answer.list_services_response.service}
    assert names == {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


@pytest.mark.parametrize("streaming", [False, True])
def test_errors_reach_the_client_as_they_were_raised(echo: Any, *, streaming: bool) -> None:
    echo.behavior = raising(Overloaded("full", limit=3, retry_after_seconds="2.0"))
    with pytest.raises(RemoteError) as refused, remote_errors():
        list(echo.stream()) if streaming else echo.call()
    error = refused.value
    assert (error.code, error.reason, error.public_message) == (ErrorCode.RESOURCE_EXHAUSTED, "OVERLOADED", "full")
    assert error.metadata["limit"] == "3"
    assert error.retry_seconds == 2.0


def test_a_defect_is_internal_and_stays_inside(echo: Any, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(log_format="json", level="info")
    echo.behavior = raising(KeyError("alice /srv/masks"))
    with pytest.raises(grpc.RpcError) as failed:
        echo.call(metadata=[("x-request-id", "abc-1")])
    error = to_remote_error(failed.value)
    assert (error.code, error.reason, error.metadata) == (ErrorCode.INTERNAL, "INTERNAL", {"request_id": "abc-1"})
    log = capsys.readouterr().err
    assert "alice" not in log + error.public_message
    defect = next(line for line in map(json.loads, log.splitlines()) if line["event"] == "defect")
    assert (defect["error_type"], defect["request_id"]) == ("KeyError", "abc-1")
    assert "behavior" in defect["where"]


@pytest.mark.parametrize("given", [None, "mine.1", "not allowed!", "x" * 65])
def test_every_call_has_a_request_id(echo: Any, given: str | None) -> None:
    method = echo.channel.unary_unary(f"/{SERVICE}/Say")
    _, call = method.with_call(b"", timeout=5, metadata=[("x-request-id", given)] if given else [])
    returned = dict(call.trailing_metadata())["x-request-id"]
    assert (returned == given) if given == "mine.1" else (len(returned) == 32 and returned != given)


def test_an_error_within_a_stream_comes_after_what_was_sent(echo: Any) -> None:
    def behavior(letter: str) -> str:
        if letter == "c":
            raise InvalidInput("no c")
        return letter

    echo.behavior = behavior
    received: list[str] = []

    def receive() -> None:
        with remote_errors():
            for message in echo.stream("abcd"):
                received.append(message.value)

    with pytest.raises(RemoteError, match="no c"):
        receive()
    assert received == ["a", "b"]


def test_a_call_in_flight_outlives_the_stop(echo: Any) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def behavior(text: str) -> str:
        entered.set()
        assert go_on.wait(10)
        return text

    echo.behavior = behavior
    answers: list[str] = []
    caller = threading.Thread(target=lambda: answers.append(echo.call("late")))
    caller.start()
    assert entered.wait(5)
    stopper = threading.Thread(target=echo.server.stop)
    stopper.start()
    time.sleep(0.3)
    assert stopper.is_alive()
    go_on.set()
    caller.join(5)
    stopper.join(5)
    assert answers == ["late"]
    with pytest.raises(grpc.RpcError):
        echo.call()


def test_a_health_watcher_does_not_hold_up_the_stop(echo: Any) -> None:
    watch = health_pb2_grpc.HealthStub(echo.channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
    assert next(watch).status == SERVING
    started = time.monotonic()
    echo.server.stop(grace_seconds=30)
    assert time.monotonic() - started < 5
    assert next(watch).status == NOT_SERVING


def test_the_grace_ends(echo: Any) -> None:
    release = threading.Event()
    entered = threading.Event()

    def behavior(text: str) -> str:
        entered.set()
        release.wait(20)
        return text

    echo.behavior = behavior
    failures: list[RemoteError] = []

    def call() -> None:
        try:
            with remote_errors():
                echo.call()
        except RemoteError as error:
            failures.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    assert entered.wait(5)
    started = time.monotonic()
    echo.server.stop(grace_seconds=0.3)
    caller.join(5)
    assert time.monotonic() - started < 5
    assert len(failures) == 1
    release.set()


def test_metrics_are_exported(make_echo: Any) -> None:
    echo = make_echo()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    echo.start(RpcSettings(port=0, metrics_port=port))
    try:
        echo.call()
        echo.behavior = raising(InvalidInput("no"))
        with pytest.raises(grpc.RpcError):
            echo.call()
        url = f"http://127.0.0.1:{echo.server.metrics_port}/metrics"
        wait_for(lambda: b'code="INVALID_ARGUMENT"' in urllib.request.urlopen(url).read())
        text = urllib.request.urlopen(url).read().decode()
    finally:
        echo.channel.close()
        echo.server.stop(grace_seconds=0)
    method = f'method="{SERVICE}/Say"'
    assert f'facecloak_rpc_handled_total{{code="OK",{method},reason=""}} 1.0' in text
    assert f'facecloak_rpc_handled_total{{code="INVALID_ARGUMENT",{method},reason="INVALID_INPUT"}} 1.0' in text
    assert f"facecloak_rpc_seconds_count{{{method}}} 2.0" in text
    assert f"facecloak_rpc_in_flight{{{method}}} 0.0" in text


def test_a_taken_port_is_a_typed_error(echo: Any, make_echo: Any) -> None:
    with pytest.raises(AddressInUse):
        make_echo().start(RpcSettings(port=echo.server.port))


def test_no_server_is_unavailable(echo: Any) -> None:
    echo.server.stop(grace_seconds=0)
    with pytest.raises(RemoteError) as failed, remote_errors():
        echo.call()
    assert failed.value.code in {ErrorCode.UNAVAILABLE, ErrorCode.CANCELLED}
