"""Traces: which call did what, across processes. Off unless the settings name a collector.

:class:`Tracer` does nothing; :class:`facecloak_rpc.otel.OtelTracer` speaks OpenTelemetry and needs the extra `otel`. A
span holds names, durations and reasons: no user id, nothing biometric.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

from facecloak.errors import ErrorCode, FaceCloakError

Metadata = Iterable[tuple[str, str | bytes]]


class TracingUnavailable(FaceCloakError):
    """The settings ask for traces, and OpenTelemetry is not installed."""

    code: ClassVar[ErrorCode] = ErrorCode.FAILED_PRECONDITION
    reason: ClassVar[str] = "TRACING_UNAVAILABLE"


class Tracer:
    """Traces nothing; the base of what does."""

    def call(self, method: str, metadata: Metadata, *, request_id: str) -> AbstractContextManager[object]:
        """The span of one served call, a child of the caller's where ``metadata`` names one (W3C ``traceparent``)."""
        return nullcontext()

    def step(self, name: str, /, **attributes: str) -> AbstractContextManager[object]:
        """The span of one step within the call that runs in this context."""
        return nullcontext()

    def trace_id(self) -> str:
        """32 hex digits of the running trace, to find it from a log line; "" without one."""
        return ""

    def headers(self) -> dict[str, str]:
        """What a request to another server carries, so that its spans belong to the running one."""
        return {}

    def close(self) -> None:
        """Sends what is left; takes bounded time."""
