"""One server interceptor for every call: request id, log context, metrics, and errors mapped to statuses.

Servicers raise; they never abort or set codes themselves.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import structlog
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from facecloak.call_context import deadline
from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.limits import is_request_id
from facecloak_rpc.errors import to_status
from facecloak_rpc.metrics import RpcMetrics
from facecloak_rpc.tracing import Metadata, Tracer

REQUEST_ID_HEADER = "x-request-id"
# Housekeeping that a client may keep open for as long as it lives: neither logged nor waited for.
_INFRASTRUCTURE = ("/grpc.health.", "/grpc.reflection.")
_log = structlog.get_logger("facecloak.rpc")


class CallInterceptor(grpc.ServerInterceptor):
    """Wraps the handlers of all services but health and reflection."""

    def __init__(self, metrics: RpcMetrics, tracer: Tracer) -> None:
        self._metrics = metrics
        self._tracer = tracer
        self._changed = threading.Condition()
        self._in_flight = 0

    def wait_idle(self, timeout_seconds: float) -> bool:
        """Waits until no call is being served. Returns False when that took longer than the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: self._in_flight == 0, timeout_seconds)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """See grpc.ServerInterceptor."""
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_INFRASTRUCTURE):
            return handler
        metadata = tuple(handler_call_details.invocation_metadata or ())
        request_id = _request_id(metadata)
        if handler.response_streaming:
            inner = handler.stream_stream if handler.request_streaming else handler.unary_stream
            wrap = grpc.stream_stream_rpc_method_handler if handler.request_streaming else (
                grpc.unary_stream_rpc_method_handler
            )  # fmt: skip
            behavior: Any = self._streaming(inner, method=method, metadata=metadata, request_id=request_id)
        else:
            inner = handler.stream_unary if handler.request_streaming else handler.unary_unary
            wrap = grpc.stream_unary_rpc_method_handler if handler.request_streaming else (
                grpc.unary_unary_rpc_method_handler
            )  # fmt: skip
            behavior = self._unary(inner, method=method, metadata=metadata, request_id=request_id)
        return wrap(behavior, handler.request_deserializer, handler.response_serializer)

    def _unary(
        self, inner: Callable[..., Any] | None, *, method: str, metadata: Metadata, request_id: str
    ) -> Callable[..., Any]:
        def behavior(request: Any, context: grpc.ServicerContext) -> Any:
            assert inner is not None
            with self._call(context, method=method, request_id=request_id) as call:
                try:
                    with self._tracer.call(call.method, metadata, request_id=request_id):
                        call.bind_trace(self._tracer.trace_id())
                        return inner(request, context)
                except Exception as error:  # noqa: BLE001 - the edge: every error ends here, as a status
                    call.refuse(error)
            # Outside the try: abort works by raising.
            _abort(context, call.status)

        return behavior

    def _streaming(
        self, inner: Callable[..., Any] | None, *, method: str, metadata: Metadata, request_id: str
    ) -> Callable[..., Any]:
        def behavior(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            assert inner is not None
            with self._call(context, method=method, request_id=request_id) as call:
                try:
                    with self._tracer.call(call.method, metadata, request_id=request_id):
                        call.bind_trace(self._tracer.trace_id())
                        yield from inner(request, context)
                    return
                except Exception as error:  # noqa: BLE001 - the edge: every error ends here, as a status
                    call.refuse(error)
            _abort(context, call.status)

        return behavior

    @contextmanager
    def _call(self, context: grpc.ServicerContext, *, method: str, request_id: str) -> Iterator[_Call]:
        name = method.lstrip("/")
        call = _Call(method=name, request_id=request_id)
        started = time.perf_counter()
        remaining = context.time_remaining()
        # Not taken back at the end: the thread serves nothing but calls, and the next one sets its own.
        deadline.set(None if remaining is None else time.monotonic() + remaining)
        self._count(+1)
        context.set_trailing_metadata(((REQUEST_ID_HEADER, request_id),))
        structlog.contextvars.clear_contextvars()
        with structlog.contextvars.bound_contextvars(request_id=request_id, method=name):
            self._metrics.in_flight.labels(name).inc()
            try:
                yield call
            except GeneratorExit:
                call.cancelled()
                raise
            finally:
                seconds = time.perf_counter() - started
                self._metrics.in_flight.labels(name).dec()
                self._metrics.seconds.labels(name).observe(seconds)
                self._metrics.handled.labels(name, call.code, call.reason).inc()
                _log.info("call", code=call.code, reason=call.reason, seconds=round(seconds, 4))
                self._count(-1)

    def _count(self, difference: int) -> None:
        with self._changed:
            self._in_flight += difference
            self._changed.notify_all()


class _Call:
    """How one call ended so far."""

    def __init__(self, *, method: str, request_id: str) -> None:
        self.method = method
        self.request_id = request_id
        self.status = status_pb2.Status()
        self.code = "OK"
        self.reason = ""

    def bind_trace(self, trace_id: str) -> None:
        """Names the trace in the call's log lines; the context is cleared before the next call."""
        if trace_id:
            structlog.contextvars.bind_contextvars(trace_id=trace_id)

    def refuse(self, error: Exception) -> None:
        self.status = to_status(error, request_id=self.request_id)
        self.code = code_pb2.Code.Name(self.status.code)
        info = error_details_pb2.ErrorInfo()
        self.status.details[0].Unpack(info)
        self.reason = info.reason
        log_defect(error)

    def cancelled(self) -> None:
        self.code = self.reason = "CANCELLED"


def log_defect(error: BaseException) -> None:
    """Logs an error that no caller can act on; does nothing for the others.

    Names the error's type and the lines it came through, and not its text: that may quote data.
    """
    if not isinstance(error, FaceCloakError) or error.code is ErrorCode.INTERNAL:
        _log.error("defect", error_type=type(error).__qualname__, where=_where(error))


def current_request_id() -> str:
    """Returns the id of the call that runs in this thread, or "" outside a call."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


def _abort(context: grpc.ServicerContext, status: status_pb2.Status) -> None:
    """Ends the call with a google.rpc.Status. Always raises, as grpc's abort does."""
    context.abort_with_status(rpc_status.to_status(status))


def _request_id(metadata: Metadata) -> str:
    for key, value in metadata:
        if key == REQUEST_ID_HEADER and isinstance(value, str) and is_request_id(value):
            return value
    return uuid.uuid4().hex


def _where(error: BaseException) -> str:
    places = []
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        places.append(f"{traceback.tb_frame.f_globals.get('__name__')}.{code.co_name}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return " > ".join(places[-8:])
