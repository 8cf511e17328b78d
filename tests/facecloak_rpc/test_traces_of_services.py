"""Traces from the caller through apply to the store, and through enroll to the recognizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from apply_service.server import build_apply_server
from apply_service.settings import ApplySettings
from enroll_service.server import build_enroll_server
from enroll_service.settings import EnrollSettings
from facecloak.v1 import apply_pb2, apply_pb2_grpc, enroll_pb2, enroll_pb2_grpc
from facecloak_rpc.client import open_channel
from facecloak_rpc.server import RpcServer
from facecloak_rpc.storage import StoreSettings
from tests.facecloak_rpc.collector import Collector, running_collector

TRACE, PARENT_SPAN = "1af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
METADATA = [("traceparent", f"00-{TRACE}-{PARENT_SPAN}-01")]
QUICK = {
    "surrogates": ("mobileface",), "synthesis": {"variations": 4}, "perturb": {"iterations": 2, "batch": 2},
}  # fmt: skip


def names_from_root(collector: Collector, span: Any) -> list[str]:
    by_id = {one.span_id: one for one in collector.spans()}
    path = [span]
    while path[-1].parent_span_id in by_id:
        path.append(by_id[path[-1].parent_span_id])
    assert path[-1].parent_span_id.hex() == PARENT_SPAN
    return [one.name for one in reversed(path)]


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
        enroll = serving(build_enroll_server(EnrollSettings(stages=QUICK, threads=1, **common)))
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
    assert {(call, "decode"), (call, "mask", "store get"), (call, "find")} <= paths
    call = "facecloak.v1.EnrollService/EnrollUser"
    assert {(call, "perturb", "onnxruntime gradient"), (call, "personalize", "onnxruntime embed")} <= paths
    assert (call, "store put") in paths
    assert b"alice" not in everything
