"""Traces by OpenTelemetry, sent to a collector by OTLP over gRPC (https://opentelemetry.io/docs/specs/otlp)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import facecloak
from facecloak_rpc.errors import reason_of
from facecloak_rpc.tracing import Metadata, Tracer

# What one request to the collector may take, and so about what a stop may be held up by.
_EXPORT_SECONDS = 5
_propagator = TraceContextTextMapPropagator()


class OtelTracer(Tracer):
    """A :class:`Tracer` with a provider of its own: nothing global is set, so two services can share a process."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("facecloak", facecloak.__version__)

    @classmethod
    def to_collector(cls, endpoint: str, *, service: str, share: float) -> OtelTracer:
        """Sends spans in batches from a thread; a collector that does not answer costs spans, never calls.

        Args:
            endpoint: ``http://host:4317`` in clear, ``https://`` with TLS.
            share: of the traces that begin here, 0..1; one that the caller began is recorded if the caller records it.
        """
        resource = Resource.create({SERVICE_NAME: service, SERVICE_VERSION: facecloak.__version__})
        provider = TracerProvider(
            resource=resource, sampler=ParentBased(TraceIdRatioBased(share)), shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(
            endpoint=endpoint, insecure=not endpoint.startswith("https://"), timeout=_EXPORT_SECONDS
        )
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider)

    def call(self, method: str, metadata: Metadata, *, request_id: str) -> AbstractContextManager[object]:
        carrier = {key: value for key, value in metadata if isinstance(value, str)}
        service, _, name = method.rpartition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name, "request_id": request_id}
        return self._span(method, attributes, parent=_propagator.extract(carrier), kind=SpanKind.SERVER)

    def step(self, name: str, /, **attributes: str) -> AbstractContextManager[object]:
        return self._span(name, attributes)

    def trace_id(self) -> str:
        span = trace.get_current_span().get_span_context()
        return trace.format_trace_id(span.trace_id) if span.is_valid else ""

    def headers(self) -> dict[str, str]:
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
        return carrier

    def close(self) -> None:
        self._provider.shutdown()

    @contextmanager
    def _span(
        self,
        name: str,
        attributes: dict[str, str],
        *,
        parent: contexts.Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Iterator[None]:
        # Not the SDK's own recording of exceptions: their text may quote data.
        with self._tracer.start_as_current_span(
            name,
            context=parent,
            kind=kind,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                span.set_status(Status(StatusCode.ERROR))
                span.set_attribute("error.type", reason_of(error))
                raise
