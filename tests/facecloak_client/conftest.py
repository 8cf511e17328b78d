"""Both services' servers as they are, with servicers that do what a test tells them."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from facecloak.v1 import apply_pb2, apply_pb2_grpc, enroll_pb2, enroll_pb2_grpc
from facecloak_rpc.errors import to_status
from facecloak_rpc.server import RpcServer, build_server
from facecloak_rpc.settings import RpcSettings
from facecloak_rpc.telemetry import Telemetry

Step = Callable[[Any], Any]


class Script:
    """What the next calls do, one step each; what they were asked, and with which metadata."""

    def __init__(self) -> None:
        self.steps: deque[Step] = deque()
        self.requests: list[Any] = []
        self.metadata: list[dict[str, Any]] = []

    def then(self, *steps: Exception | Step) -> None:
        for step in steps:
            self.steps.append(_raising(step) if isinstance(step, Exception) else step)

    def next(self, request: Any, context: grpc.ServicerContext | None = None) -> Any:
        self.requests.append(request)
        if context is not None:
            self.metadata.append(dict(context.invocation_metadata()))
        return self.steps.popleft()(request)


def _raising(error: Exception) -> Step:
    def step(_request: Any) -> Any:
        raise error

    return step


class Enroll(enroll_pb2_grpc.EnrollServiceServicer):
    def __init__(self, script: Script) -> None:
        self._script = script

    def EnrollUser(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        yield from self._script.next(request, context)

    def GetEnrollment(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._script.next(request, context)

    def DeleteUser(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._script.next(request, context)


class Apply(apply_pb2_grpc.ApplyServiceServicer):
    def __init__(self, script: Script) -> None:
        self._script = script

    def ApplyCloak(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._script.next(request, context)

    def FindFaces(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._script.next(request, context)

    def ApplyCloakStream(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:  # noqa: N802
        self._script.metadata.append(dict(context.invocation_metadata()))
        for message in requests:
            try:
                answer = self._script.next(message.request)
            except EndOfStream as end:
                raise end.error from None
            except Exception as error:  # noqa: BLE001
                status = to_status(error, request_id="r")
                yield apply_pb2.ApplyCloakStreamResponse(sequence=message.sequence, error=status)
                continue
            yield apply_pb2.ApplyCloakStreamResponse(sequence=message.sequence, response=answer)


class EndOfStream(Exception):
    """Ends a whole stream with an error."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class Services:
    """Both servers."""

    def __init__(self) -> None:
        self.enroll, self.apply = Script(), Script()
        enroll, apply = Enroll(self.enroll), Apply(self.apply)
        self.servers = [
            _server(
                "facecloak.v1.EnrollService", lambda s: enroll_pb2_grpc.add_EnrollServiceServicer_to_server(enroll, s)
            ),
            _server("facecloak.v1.ApplyService", lambda s: apply_pb2_grpc.add_ApplyServiceServicer_to_server(apply, s)),
        ]
        self.targets = {"enroll": self.servers[0].target, "apply": self.servers[1].target}


def _server(service: str, add: Callable[[grpc.Server], None]) -> RpcServer:
    server = build_server(
        settings=RpcSettings(port=0, grace_seconds=5), service=service, add_servicer=add, probe=lambda: None,
        telemetry=Telemetry(),
    )  # fmt: skip
    server.start()
    assert server.readiness.wait_ready(10)
    return server


@pytest.fixture
def services() -> Iterator[Services]:
    made = Services()
    yield made
    for server in made.servers:
        server.stop(grace_seconds=0)


def progress(fraction: float) -> enroll_pb2.EnrollUserResponse:
    return enroll_pb2.EnrollUserResponse(progress=enroll_pb2.EnrollProgress(fraction=fraction))


def result(mask_id: str = "m1") -> enroll_pb2.EnrollUserResponse:
    return enroll_pb2.EnrollUserResponse(result=enroll_pb2.Enrollment(mask_id=mask_id))


@pytest.fixture
def events() -> tuple[Callable[..., Any], Callable[..., Any], type[EndOfStream]]:
    return progress, result, EndOfStream


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
