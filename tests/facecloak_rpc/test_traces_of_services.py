"""Traces from the caller through apply to the store, and through enroll to the recognizers."""

from __future__ import annotations

import http.server
import json
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from apply_service.server import build_apply_server
from apply_service.settings import ApplySettings
from enroll_service.server import build_enroll_server
from enroll_service.settings import EnrollSettings
from facecloak.recognizers.triton.connection import TritonConnection
from facecloak.recognizers.triton.dev_server.install import TritonInstallation
from facecloak.recognizers.triton.dev_server.serving import ServingOptions, server_command, server_environment
from facecloak.recognizers.triton.runtime import TritonRuntime
from facecloak.recognizers.triton.write_repository import BuiltRepository
from facecloak.v1 import apply_pb2, apply_pb2_grpc, enroll_pb2, enroll_pb2_grpc
from facecloak_rpc.client import open_channel
from facecloak_rpc.otel import OtelTracer
from facecloak_rpc.server import RpcServer
from facecloak_rpc.storage import StoreSettings
from facecloak_rpc.telemetry import ObservedRuntime, Telemetry
from tests.facecloak_rpc.collector import Collector, running_collector

TRACE, PARENT_SPAN = "1af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
METADATA = [("traceparent", f"00-{TRACE}-{PARENT_SPAN}-01")]
QUICK: dict[str, Any] = {"surrogates": ("mobileface",), "recipe": Path(__file__).parents[1] / "recipes/quick.toml"}


def names_from_root(collector: Collector, span: Any) -> list[str]:
    by_id = {one.span_id: one for one in collector.spans()}
    path = [span]
    while path[-1].parent_span_id in by_id:
        path.append(by_id[path[-1].parent_span_id])
    assert path[-1].parent_span_id.hex() == PARENT_SPAN
    return [one.name for one in reversed(path)]


class TritonsCollector(http.server.BaseHTTPRequestHandler):
    """Takes the spans that Triton sends: OTLP over HTTP, in JSON."""

    spans: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in content["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                self.spans.extend(scope["spans"])
        self.send_response_only(200)
        self.end_headers()

    @classmethod
    def children_of(cls, span: Any) -> list[dict[str, Any]]:
        # Triton's own warm-up is traced too, and has no parent.
        return [one for one in list(cls.spans) if one.get("parentSpanId") == span.span_id.hex()]


@pytest.mark.slow
def test_triton_continues_the_trace(
    triton_installation: TritonInstallation, served_models: BuiltRepository, model_repository: Path
) -> None:
    """A real Triton that traces by OpenTelemetry itself."""
    triton_port, web = free_port(), http.server.ThreadingHTTPServer(("127.0.0.1", 0), TritonsCollector)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    options = ServingOptions(repository=served_models.root, models=served_models.models, grpc_port=triton_port)
    traced = [
        "mode=opentelemetry", f"opentelemetry,url=http://127.0.0.1:{web.server_port}/v1/traces", "rate=1",
        "level=TIMESTAMPS",
    ]  # fmt: skip
    command = [
        *server_command(triton_installation, options),
        *(word for one in traced for word in ("--trace-config", one)),
    ]
    triton = subprocess.Popen(
        command, env=server_environment(triton_installation), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    connection = TritonConnection(f"127.0.0.1:{triton_port}", retry_seconds=60, call_seconds=30, circuit_failures=100)
    runtime = TritonRuntime(model_repository, connection=connection, names=["mobileface"])
    try:
        crop = np.full((1, 3, 112, 112), 127, np.float32)
        runtime.embed(
            "mobileface", crop
        )  # once the server is up: what it takes while it starts, it does not always trace
        with running_collector() as collector:
            tracer = OtelTracer.to_collector(collector.endpoint, service="test", share=1)
            telemetry = Telemetry(tracer=tracer)
            observed = ObservedRuntime(runtime, telemetry, name="triton")
            with tracer.call("caller", METADATA, request_id="r"):
                observed.embed("mobileface", crop)
            tracer.close()
            ours = collector.named("triton embed")
        # Triton sends what it traced every five seconds, and may lose the last of it when it is stopped.
        deadline = time.monotonic() + 20
        while not (theirs := TritonsCollector.children_of(ours)) and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        runtime.close()
        triton.terminate()
        triton.wait(60)
        web.shutdown()
        web.server_close()
    assert ours.trace_id.hex() == TRACE
    assert theirs
    assert {span["traceId"] for span in theirs} == {TRACE}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serving(server: RpcServer) -> RpcServer:
    server.start()
    assert server.readiness.wait_ready(60)
    return server


def test_from_the_caller_to_store_and_recognizers(
    tmp_path: Path, model_repository: Path, astronaut_photo: bytes
) -> None:
    with running_collector() as collector:
        common: dict[str, Any] = {
            "port": 0, "model_repository": model_repository, "store": StoreSettings(data=tmp_path),
            "trace_endpoint": collector.endpoint,
        }  # fmt: skip
        enroll = serving(build_enroll_server(EnrollSettings(**QUICK, threads=1, **common)))
        apply = serving(build_apply_server(ApplySettings(**common)))
        with open_channel(enroll.target) as channel:
            photo = enroll_pb2.EnrollmentPhoto(data=astronaut_photo)
            request = enroll_pb2.EnrollUserRequest(user_id="alice-in-clear", photos=[photo])
            list(enroll_pb2_grpc.EnrollServiceStub(channel).EnrollUser(request, timeout=120, metadata=METADATA))
        with open_channel(apply.target) as channel:
            subject = apply_pb2.Subject(user_id="alice-in-clear")
            apply_pb2_grpc.ApplyServiceStub(channel).ApplyCloak(
                apply_pb2.ApplyCloakRequest(photo=astronaut_photo, subjects=[subject]), timeout=30, metadata=METADATA
            )
        for server in (enroll, apply):
            server.stop(grace_seconds=5)
        spans = [span for span in collector.spans() if span.trace_id.hex() == TRACE]
        paths = {tuple(names_from_root(collector, span)) for span in spans}
        everything = b"".join(span.SerializeToString() for span in collector.spans())
        assert collector.services() == {"facecloak.v1.EnrollService", "facecloak.v1.ApplyService"}
    call = "facecloak.v1.ApplyService/ApplyCloak"
    assert {(call, "mask", "store get"), (call, "find"), (call, "add")} <= paths
    call = "facecloak.v1.EnrollService/EnrollUser"
    assert {(call, "perturb", "onnxruntime gradient"), (call, "personalize", "onnxruntime embed")} <= paths
    assert (call, "store put") in paths
    assert b"alice" not in everything
