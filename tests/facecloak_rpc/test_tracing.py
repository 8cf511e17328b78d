"""Traces reach a real collector, follow the caller's, leave health out, and hold no error's text."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import ValidationError

from facecloak.errors import InvalidInput
from facecloak_rpc.logging import configure_logging
from facecloak_rpc.settings import RpcSettings
from facecloak_rpc.telemetry import open_tracer
from facecloak_rpc.tracing import Tracer, TracingUnavailable
from tests.facecloak_rpc.collector import Collector, running_collector

SERVICE = "facecloak.test.Echo"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


@pytest.fixture
def traced(collector: Collector, make_echo: Any) -> Iterator[Any]:
    echo = make_echo()
    settings = RpcSettings(port=0, readiness_seconds=0.05, trace_endpoint=collector.endpoint)
    echo.start(settings, tracer=open_tracer(settings, service=SERVICE))
    yield echo
    echo.channel.close()
    echo.server.stop(grace_seconds=0)


def test_a_call_continues_the_callers_trace(
    traced: Any, collector: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(log_format="json", level="info")
    tracer = traced.server.telemetry.tracer

    def behavior(text: str) -> str:
        with tracer.step("inner", part="a"):
            return text

    traced.behavior = behavior
    traced.call(metadata=[("traceparent", PARENT), ("x-request-id", "r-1")])
    list(traced.stream("a", metadata=[("traceparent", PARENT)]))
    health_pb2_grpc.HealthStub(traced.channel).Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=5)
    traced.server.stop(grace_seconds=1)  # sends what is left
    call, inner = collector.named(f"{SERVICE}/Say"), collector.named("inner")
    assert call.trace_id.hex() == inner.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert call.parent_span_id.hex() == "b7ad6b7169203331"
    assert inner.parent_span_id == call.span_id
    attributes = {one.key: one.value.string_value for one in call.attributes}
    assert (attributes["request_id"], attributes["rpc.method"]) == ("r-1", "Say")
    assert collector.services() == {SERVICE}
    assert not [span for span in collector.spans() if "ealth" in span.name]
    assert collector.named(f"{SERVICE}/SayEach").parent_span_id.hex() == "b7ad6b7169203331"
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert next(line for line in lines if line["event"] == "call")["trace_id"] == call.trace_id.hex()


def test_a_span_tells_the_reason_and_not_the_text(traced: Any, collector: Collector) -> None:
    def behavior(_text: str) -> str:
        raise InvalidInput("alice did it")

    traced.behavior = behavior
    with pytest.raises(grpc.RpcError):
        traced.call()
    traced.server.stop(grace_seconds=1)
    span = collector.named(f"{SERVICE}/Say")
    assert {one.key: one.value.string_value for one in span.attributes}["error.type"] == "INVALID_INPUT"
    assert b"alice" not in span.SerializeToString()


def test_no_collector_costs_no_call(make_echo: Any) -> None:
    echo = make_echo()
    settings = RpcSettings(port=0, trace_endpoint="http://127.0.0.1:9")
    echo.start(settings, tracer=open_tracer(settings, service=SERVICE))
    try:
        assert echo.call("hi") == "hi"
    finally:
        echo.channel.close()
        echo.server.stop(grace_seconds=0)


def test_without_an_endpoint_nothing_is_traced() -> None:
    tracer = open_tracer(RpcSettings(), service=SERVICE)
    assert type(tracer) is Tracer
    with tracer.call("a/B", (), request_id="r"), tracer.step("s"):
        assert tracer.trace_id() == ""


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "facecloak_rpc.otel", None)
    with pytest.raises(TracingUnavailable, match=r"facecloak\[otel\]"):
        open_tracer(RpcSettings(trace_endpoint="http://127.0.0.1:4317"), service=SERVICE)


def test_an_endpoint_needs_its_scheme() -> None:
    with pytest.raises(ValidationError):
        RpcSettings(trace_endpoint="collector:4317")
