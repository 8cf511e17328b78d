"""Several servers behind one name: calls go to all of them, to those alone that are well, and to new ones."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import wrappers_pb2

from facecloak_rpc.client import open_channel
from facecloak_rpc.settings import RpcSettings

SERVICE = "facecloak.test.Echo"


@pytest.fixture
def servers(make_echo: Any) -> Iterator[list[Any]]:
    """Three servers that answer with their own name."""
    made = []
    for name in "abc":
        echo = make_echo()
        echo.behavior = lambda _text, name=name: name
        echo.start(RpcSettings(port=0, readiness_seconds=0.05))
        made.append(echo)
    yield made
    for echo in made:
        echo.channel.close()
        echo.server.stop(grace_seconds=0)


def caller(channel: grpc.Channel) -> Callable[[], str]:
    method = channel.unary_unary(
        f"/{SERVICE}/Say",
        request_serializer=wrappers_pb2.StringValue.SerializeToString,
        response_deserializer=wrappers_pb2.StringValue.FromString,
    )
    return lambda: method(wrappers_pb2.StringValue(value="who"), timeout=10, wait_for_ready=True).value


def name_of(servers: list[Any]) -> str:
    return "ipv4:" + ",".join(echo.server.target for echo in servers)


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_calls_go_to_all_servers(servers: list[Any]) -> None:
    with open_channel(name_of(servers)) as channel:
        call = caller(channel)
        until(lambda: {call() for _ in range(6)} == set("abc"))
        answered = Counter(call() for _ in range(60))
    assert answered == {"a": 20, "b": 20, "c": 20}


def test_calls_avoid_a_server_that_is_not_well(servers: list[Any]) -> None:
    with open_channel(name_of(servers), health_service=SERVICE) as channel:
        call = caller(channel)
        until(lambda: {call() for _ in range(6)} == set("abc"))
        servers[1].healthy = False
        until(lambda: {call() for _ in range(9)} == {"a", "c"})
        servers[1].healthy = True
        until(lambda: {call() for _ in range(9)} == set("abc"))


def test_an_old_connection_is_closed_without_losing_a_call(make_echo: Any) -> None:
    echo = make_echo()
    echo.start(RpcSettings(port=0, connection_age_seconds=0.5))
    connected: list[grpc.ChannelConnectivity] = []
    try:
        with open_channel(echo.server.target) as channel:
            channel.subscribe(connected.append, try_to_connect=True)
            call = caller(channel)
            deadline = time.monotonic() + 2.5
            calls = 0
            while time.monotonic() < deadline:
                assert call() == "who"
                calls += 1
                time.sleep(0.01)
    finally:
        echo.channel.close()
        echo.server.stop(grace_seconds=0)
    assert calls > 20
    # READY, and again after the server had closed the connection.
    assert connected.count(grpc.ChannelConnectivity.READY) >= 2
