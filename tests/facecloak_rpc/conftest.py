"""A real server of a tiny service, whose methods do what a test tells them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
import pytest
from google.protobuf import wrappers_pb2

from facecloak_rpc.admission import Admission
from facecloak_rpc.client import open_channel
from facecloak_rpc.identity import Right
from facecloak_rpc.refusals import Refusals
from facecloak_rpc.server import RpcServer, build_server
from facecloak_rpc.settings import RpcSettings
from facecloak_rpc.telemetry import Telemetry
from facecloak_rpc.tracing import Tracer

SERVICE = "facecloak.test.Echo"
Behavior = Callable[[str], str]


class Echo:
    """The service's client and server side in one: ``behavior`` decides what a call does."""

    name = SERVICE

    def __init__(self) -> None:
        self.behavior: Behavior = lambda text: text
        self.healthy = True
        self.failure: Exception | None = None
        self.server: RpcServer
        self.channel: grpc.Channel

    def start(
        self,
        settings: RpcSettings,
        *,
        tracer: Tracer | None = None,
        rights: Mapping[str, Right] | None = None,
        refusals: Refusals | None = None,
        admission: Admission | None = None,
    ) -> None:
        self.server = build_server(
            settings=settings,
            service=SERVICE,
            add_servicer=self._add,
            probe=self._probe,
            telemetry=Telemetry(tracer=tracer),
            rights=rights or {},
            refusals=refusals,
            admission=admission,
        )
        self.server.start()
        assert self.server.readiness.wait_ready(5)
        self.channel = open_channel(self.server.target)

    def call(self, text: str = "hi", **options: Any) -> str:
        method = self.channel.unary_unary(
            f"/{SERVICE}/Say",
            request_serializer=wrappers_pb2.StringValue.SerializeToString,
            response_deserializer=wrappers_pb2.StringValue.FromString,
        )
        return method(wrappers_pb2.StringValue(value=text), timeout=20, **options).value

    def stream(self, text: str = "hi", **options: Any) -> Any:
        method = self.channel.unary_stream(
            f"/{SERVICE}/SayEach",
            request_serializer=wrappers_pb2.StringValue.SerializeToString,
            response_deserializer=wrappers_pb2.StringValue.FromString,
        )
        return method(wrappers_pb2.StringValue(value=text), timeout=20, **options)

    def _probe(self) -> None:
        if self.failure is not None:
            raise self.failure
        if not self.healthy:
            raise RuntimeError("down")

    def _add(self, server: grpc.Server) -> None:
        def say(request: wrappers_pb2.StringValue, _context: grpc.ServicerContext) -> wrappers_pb2.StringValue:
            return wrappers_pb2.StringValue(value=self.behavior(request.value))

        def say_each(
            request: wrappers_pb2.StringValue, _context: grpc.ServicerContext
        ) -> Iterator[wrappers_pb2.StringValue]:
            for letter in request.value:
                yield wrappers_pb2.StringValue(value=self.behavior(letter))

        coding = (wrappers_pb2.StringValue.FromString, wrappers_pb2.StringValue.SerializeToString)
        handlers = {
            "Say": grpc.unary_unary_rpc_method_handler(say, *coding),
            "SayEach": grpc.unary_stream_rpc_method_handler(say_each, *coding),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


@pytest.fixture
def make_echo() -> type[Echo]:
    return Echo


@pytest.fixture
def echo() -> Iterator[Echo]:
    made = Echo()
    made.start(RpcSettings(port=0, readiness_seconds=0.05, grace_seconds=5))
    yield made
    made.channel.close()
    made.server.stop(grace_seconds=0)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
