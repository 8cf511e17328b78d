"""A real OTLP collector for tests: a gRPC server that keeps the spans it is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans; ``wait`` for the one that a test looks for."""

    def __init__(self) -> None:
        self.endpoint = ""
        self._changed = threading.Condition()
        self._spans: list[Any] = []
        self._services: list[str] = []

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the proto's name
        """Keeps the spans."""
        with self._changed:
            for resource in request.resource_spans:
                attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
                for scope in resource.scope_spans:
                    self._spans.extend(scope.spans)
                    self._services.extend([attributes["service.name"]] * len(scope.spans))
            self._changed.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    def spans(self) -> list[Any]:
        """What has come so far."""
        with self._changed:
            return list(self._spans)

    def services(self) -> set[str]:
        """Which services sent it."""
        with self._changed:
            return set(self._services)

    def named(self, name: str, *, seconds: float = 20.0) -> Any:
        """The first span of that name, waited for."""
        with self._changed:
            found = self._changed.wait_for(lambda: [span for span in self._spans if span.name == name], seconds)
            assert found, f"no span {name!r} among {sorted(span.name for span in self._spans)}"
            return found[0]


@contextmanager
def running_collector() -> Iterator[Collector]:
    """A collector on a free port."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(None)
