"""One server interceptor for every call: request id, log context, metrics, and errors mapped to statuses.

Servicers raise; they never abort or set codes themselves.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import grpc
import structlog
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from facecloak.call_context import deadline
from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.limits import is_request_id
from facecloak_rpc.admission import Admission, Admitted, Unlimited
from facecloak_rpc.answers import Answers
from facecloak_rpc.audit import NoAudit
from facecloak_rpc.call_threads import AtOnce, Line
from facecloak_rpc.caller_limits import CallerLimits, CallerLimitSettings, SharedPlaces
from facecloak_rpc.errors import CallCancelled, Overloaded, to_status
from facecloak_rpc.identity import Authenticator, IdentitySettings
from facecloak_rpc.identity.authenticator import auth_context_of
from facecloak_rpc.identity.caller import Caller, Right, caller_if_known, set_caller
from facecloak_rpc.identity.rights import RIGHTS, require_right
from facecloak_rpc.infrastructure import InfrastructureCalls, abort, parsed
from facecloak_rpc.messages import MessageReader, OpenCalls
from facecloak_rpc.metrics import RpcMetrics
from facecloak_rpc.process_memory import MemoryTrimmer
from facecloak_rpc.refusals import Refusals, name_user
from facecloak_rpc.tracing import Metadata, Tracer
from facecloak_rpc.trailers import REQUEST_ID_HEADER

# Housekeeping that a client may keep open for as long as it lives: neither logged nor waited for.
_HEALTH, _REFLECTION = "/grpc.health.", "/grpc.reflection."
# Calls that no thread has taken up yet, probes too. Each is headers and no more.
_WAITING_LIMIT = 256
_log = structlog.get_logger("facecloak.rpc")


class CallInterceptor(grpc.ServerInterceptor):
    """Wraps the handlers of all services.

    A handler of one request is run as one of a stream of requests, which is the same on the wire: it begins with the
    call's headers, so that it can refuse before the message is read, and end a call whose message does not come.
    """

    def __init__(
        self,
        metrics: RpcMetrics,
        tracer: Tracer,
        *,
        calls_limit: int = 128,
        connection_calls_limit: int = 100,
        reading_limit: int = 16,
        message_seconds: float = 10.0,
        answer_seconds: float = 30.0,
        admission: Admission | None = None,
        authenticator: Authenticator | None = None,
        rights: Mapping[str, Right] = RIGHTS,
        limits: CallerLimits | None = None,
        refusals: Refusals | None = None,
        calls_waiting: Callable[[], int] = lambda: 0,
    ) -> None:
        """``calls_limit`` calls may be open at once, ``connection_calls_limit`` of them of one connection, and
        ``reading_limit`` messages come in; each has to be whole after ``message_seconds``, and each answer taken after
        ``answer_seconds``. ``rights``: what each method asks for; ``refusals``: who is told of refused calls;
        ``calls_waiting``: how many have no thread yet."""
        self._metrics = metrics
        self._tracer = tracer
        self._admission = admission or Unlimited()
        self._open = OpenCalls(calls_limit, connection_limit=min(connection_calls_limit, calls_limit))
        metrics.connections.set_function(lambda: self._open.connections)
        self._reader = MessageReader(places=reading_limit, seconds=message_seconds)
        self._answers = Answers(metrics, seconds=answer_seconds, is_short=lambda: self._admission.is_short)
        self._trimmer = MemoryTrimmer()
        self._infrastructure = InfrastructureCalls(message_seconds=message_seconds)
        self._authenticator = authenticator or Authenticator(IdentitySettings())
        self._rights = rights
        self._limits = limits or CallerLimits(CallerLimitSettings())
        self._refusals = refusals or Refusals(NoAudit())
        self._shares = SharedPlaces(calls_limit, self._limits, what="calls")
        self._calls_waiting = calls_waiting
        self._line = Line()
        self._at_once = AtOnce()
        self._changed = threading.Condition()
        self._in_flight = 0

    def wait_idle(self, timeout_seconds: float) -> bool:
        """Waits until no call is being served. Returns False when that took longer than the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: self._in_flight == 0, timeout_seconds)

    def close(self) -> None:
        """Lets the threads that read end."""
        self._reader.close()
        self._answers.close()
        self._trimmer.close()
        self._infrastructure.close()

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """See grpc.ServerInterceptor."""
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None:
            return None
        if self._calls_waiting() >= _WAITING_LIMIT:
            swamped = Overloaded("too many calls at once", limit=_WAITING_LIMIT)
            return self._refused(handler, swamped, method=method, request_id=_request_id(()))
        if method.startswith(_HEALTH):
            return self._infrastructure.bounded(handler)
        if method.startswith(_REFLECTION):
            return self._infrastructure.guarded(handler, check=self._caller_of_reflection)
        metadata = tuple(handler_call_details.invocation_metadata or ())
        request_id = _request_id(metadata)
        is_unary = not handler.request_streaming and not handler.response_streaming
        refusal = self._open.refusal() or (self._admission.refusal(self._line.length) if is_unary else None)
        if refusal is not None:
            return self._refused(handler, refusal, method=method, request_id=request_id)
        # Messages are parsed here: one that is malformed is the caller's fault, and gRPC would call it our own.
        if handler.response_streaming:
            inner = handler.stream_stream if handler.request_streaming else handler.unary_stream
            behavior: Any = self._streaming(inner, handler, method=method, metadata=metadata, request_id=request_id)
            return grpc.stream_stream_rpc_method_handler(behavior, None, handler.response_serializer)
        inner = handler.stream_unary if handler.request_streaming else handler.unary_unary
        behavior = self._unary(inner, handler, method=method, metadata=metadata, request_id=request_id)
        return grpc.stream_unary_rpc_method_handler(behavior, None, handler.response_serializer)

    def _unary(
        self,
        inner: Callable[..., Any] | None,
        handler: grpc.RpcMethodHandler,
        *,
        method: str,
        metadata: Metadata,
        request_id: str,
    ) -> Callable[..., Any]:
        # From now on: until threads take them up, hundreds may come.
        leave_line = self._line.join()

        def behavior(requests: Iterator[bytes], context: grpc.ServicerContext) -> Any:
            assert inner is not None
            with _at_end(leave_line), self._call(context, method=method, request_id=request_id) as call:
                try:
                    with self._tracer.call(call.method, metadata, request_id=request_id):
                        call.bind_trace(self._tracer.trace_id())
                        entered = self._request(requests, context, handler, method=call.method, leave_line=leave_line)
                        with entered as (request, admitted):
                            response = inner(request, context)
                            size = _size_of(response)
                            # Its memory is held until the caller has it, which the handler does not see.
                            self._answers.sent(context, size, self._released(admitted.answered(size), size))
                            return response
                except Exception as error:  # noqa: BLE001 - the edge: every error ends here, as a status
                    call.refuse(error)
            # Outside the try: abort works by raising.
            abort(context, call.status)

        return behavior

    def _refused(
        self, handler: grpc.RpcMethodHandler, error: FaceCloakError, *, method: str, request_id: str
    ) -> grpc.RpcMethodHandler:
        """Refuses a call by what is known as it begins, in gRPC's own thread."""

        def refuse(_requests: Iterator[bytes], context: grpc.ServicerContext) -> Any:
            with self._call(context, method=method, request_id=request_id) as call:
                call.refuse(error)
            abort(context, call.status)

        def refuse_stream(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
            yield refuse(requests, context)

        behavior: Any = refuse_stream if handler.response_streaming else refuse
        behavior.experimental_thread_pool = self._at_once
        make: Any = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        return cast(grpc.RpcMethodHandler, make(behavior, None, handler.response_serializer))

    def _streaming(
        self,
        inner: Callable[..., Any] | None,
        handler: grpc.RpcMethodHandler,
        *,
        method: str,
        metadata: Metadata,
        request_id: str,
    ) -> Callable[..., Any]:
        def behavior(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
            assert inner is not None
            with self._call(context, method=method, request_id=request_id) as call:
                try:
                    with self._tracer.call(call.method, metadata, request_id=request_id):
                        call.bind_trace(self._tracer.trace_id())
                        with self._request(requests, context, handler, method=call.method) as (request, _):
                            for response in inner(request, context):
                                size = _size_of(response)
                                with self._answers.sending(context, size):
                                    yield response
                                self._trimmer.freed(size)
                    return
                except Exception as error:  # noqa: BLE001 - the edge: every error ends here, as a status
                    call.refuse(error)
            abort(context, call.status)

        return behavior

    @contextmanager
    def _request(
        self,
        requests: Iterator[bytes],
        context: grpc.ServicerContext,
        handler: grpc.RpcMethodHandler,
        *,
        method: str,
        leave_line: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[Any, Admitted]]:
        """What the handler gets: its one message, as soon as the service has room for it, or all as they come."""
        with ExitStack() as stack:
            stack.enter_context(self._open.one(connection=context.peer()))
            caller = self._identify(context, method=method)
            self._limits.count_call(caller)
            stack.enter_context(self._shares.one(caller))
            if handler.request_streaming:
                yield (parsed(message, handler.request_deserializer) for message in requests), Unlimited()
                return
            waiting = self._metrics.awaiting_message.labels(method)
            with ExitStack() as reading:
                reading.enter_context(self._admission.arriving(method))
                with waiting.track_inprogress():
                    # Held until the message is admitted: what waits for that has been read, and takes memory.
                    reading.enter_context(
                        self._reader.turn(connection=caller.key if caller.is_known else context.peer())
                    )
                    message = self._reader.read(requests)
                request = parsed(message, handler.request_deserializer)
                del message
                admitted = stack.enter_context(self._admission.admitted(method, request))
                leave_line()
            yield request, admitted

    def _released(self, release: Callable[[], None], size: int) -> Callable[[], None]:
        def done() -> None:
            release()
            self._trimmer.freed(size)

        return done

    def _caller(self, context: grpc.ServicerContext) -> Caller:
        return self._authenticator.caller(context.invocation_metadata(), auth_context_of(context))

    def _caller_of_reflection(self, context: grpc.ServicerContext) -> Caller:
        try:
            return self._caller(context)
        except FaceCloakError as error:
            self._refusals.note(error, method="ServerReflection", caller=None)
            raise

    def _identify(self, context: grpc.ServicerContext, *, method: str) -> Caller:
        """Who calls, and whether they may: before anything of the call's message is read."""
        caller = self._caller(context)
        if caller.is_known:
            structlog.contextvars.bind_contextvars(caller=caller.name, tenant=caller.tenant)
        set_caller(caller)
        require_right(caller, method, rights=self._rights)
        return caller

    @contextmanager
    def _call(self, context: grpc.ServicerContext, *, method: str, request_id: str) -> Iterator[_Call]:
        name = method.lstrip("/")
        call = _Call(method=name, request_id=request_id, refusals=self._refusals)
        started = time.perf_counter()
        remaining = context.time_remaining()
        # Not taken back at the end: the thread serves nothing but calls, and the next one sets its own.
        deadline.set(None if remaining is None else time.monotonic() + remaining)
        set_caller(None)
        name_user(None)
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

    def __init__(self, *, method: str, request_id: str, refusals: Refusals) -> None:
        self._refusals = refusals
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
        if isinstance(error, grpc.RpcError):
            # So gRPC tells whoever waits for a message that the client is gone.
            error = CallCancelled("the call was cancelled")
        self.status = to_status(error, request_id=self.request_id)
        self.code = code_pb2.Code.Name(self.status.code)
        info = error_details_pb2.ErrorInfo()
        self.status.details[0].Unpack(info)
        self.reason = info.reason
        log_defect(error)
        self._refusals.note(error, method=self.method.rpartition("/")[2], caller=caller_if_known())

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


@contextmanager
def _at_end(function: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    finally:
        function()


def _size_of(response: object) -> int:
    """Bytes on the wire, about."""
    return response.ByteSize() if isinstance(response, Message) else 0


def _request_id(metadata: Metadata) -> str:
    for key, value in metadata:
        if key == REQUEST_ID_HEADER and isinstance(value, str) and is_request_id(value):
            return value
    return f"{random.getrandbits(128):032x}"


def _where(error: BaseException) -> str:
    places = []
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        places.append(f"{traceback.tb_frame.f_globals.get('__name__')}.{code.co_name}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return " > ".join(places[-8:])
