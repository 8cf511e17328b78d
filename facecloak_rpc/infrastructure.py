"""Health and reflection: few calls at once, each with a time for its message, so that no client holds their threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from grpc_status import rpc_status

from facecloak.errors import InvalidInput
from facecloak_rpc.errors import to_status
from facecloak_rpc.messages import MessageReader, OpenCalls
from facecloak_rpc.trailers import trailers_of

CALLS_LIMIT = 64
"""Calls of health and reflection that may hold a thread at once. Health's watchers hold none once they are served."""
# Their messages are a few bytes: what takes seconds is no message.
_READING_LIMIT = 4
_MESSAGE_SECONDS = 2.0


class InfrastructureCalls:
    """Wraps handlers of health and reflection, which are neither logged nor counted nor waited for."""

    def __init__(self, *, message_seconds: float) -> None:
        self._open = OpenCalls(CALLS_LIMIT, connection_limit=CALLS_LIMIT // 4)
        self._reader = MessageReader(places=_READING_LIMIT, seconds=min(message_seconds, _MESSAGE_SECONDS))

    def close(self) -> None:
        """Lets the threads that read end."""
        self._reader.close()

    def guarded(
        self, handler: grpc.RpcMethodHandler, *, check: Callable[[grpc.ServicerContext], object]
    ) -> grpc.RpcMethodHandler:
        """Reflection's handler, :meth:`bounded` and for those alone whom ``check`` lets in; it raises for others."""
        bounded = self.bounded(handler)
        inner: Any = bounded.stream_stream

        def behavior(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                check(context)
            except Exception as error:  # noqa: BLE001 - the edge: every error ends here, as a status
                status = to_status(error, request_id="")
            else:
                yield from inner(requests, context)
                return
            abort(context, status)

        return grpc.stream_stream_rpc_method_handler(behavior, None, handler.response_serializer)

    def bounded(self, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        """The handler, with a time for each of its messages."""
        if handler.response_streaming:
            if handler.request_streaming:
                behavior = self._each(handler.stream_stream, handler)
            else:
                behavior = self._streaming(handler.unary_stream, handler)
            return grpc.stream_stream_rpc_method_handler(behavior, None, handler.response_serializer)
        behavior = self._unary(handler.unary_unary, handler)
        return grpc.stream_unary_rpc_method_handler(behavior, None, handler.response_serializer)

    def _unary(self, inner: Any, handler: grpc.RpcMethodHandler) -> Callable[..., Any]:
        def behavior(requests: Iterator[bytes], context: grpc.ServicerContext) -> Any:
            try:
                with self._open.one(connection=context.peer()):
                    request = self._next(requests, context, handler)
            except Exception as error:  # noqa: BLE001 - the edge: every error ends here, as a status
                status = to_status(error, request_id="")
            else:
                return inner(request, context)
            abort(context, status)

        return behavior

    def _streaming(self, inner: Any, handler: grpc.RpcMethodHandler) -> Callable[..., Any]:
        def behavior(requests: Iterator[bytes], context: grpc.ServicerContext, *send: Any) -> Any:
            """``send`` is there where the handler goes on without a thread, as health's Watch does."""
            try:
                with self._open.one(connection=context.peer()):
                    return inner(self._next(requests, context, handler), context, *send)
            except Exception as error:  # noqa: BLE001
                status = to_status(error, request_id="")
            abort(context, status)

        for name in ("experimental_non_blocking", "experimental_thread_pool"):
            if hasattr(inner, name):
                setattr(behavior, name, getattr(inner, name))
        return behavior

    def _each(self, inner: Any, handler: grpc.RpcMethodHandler) -> Callable[..., Any]:
        def behavior(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                with self._open.one(connection=context.peer()):
                    yield from inner(self._messages(requests, context, handler), context)
                return
            except Exception as error:  # noqa: BLE001 - the edge: every error ends here, as a status
                status = to_status(error, request_id="")
            abort(context, status)

        return behavior

    def _messages(
        self, requests: Iterator[bytes], context: grpc.ServicerContext, handler: grpc.RpcMethodHandler
    ) -> Iterator[Any]:
        while True:
            with self._reader.turn(connection=context.peer()):
                message = self._reader.read_next(requests)
            if message is None:
                return
            yield parsed(message, handler.request_deserializer)

    def _next(self, requests: Iterator[bytes], context: grpc.ServicerContext, handler: grpc.RpcMethodHandler) -> Any:
        with self._reader.turn(connection=context.peer()):
            return parsed(self._reader.read(requests), handler.request_deserializer)


def parsed(message: bytes, deserialize: Callable[[bytes], Any] | None) -> Any:
    """The message as its method takes it. Raises InvalidInput where it is none of those."""
    if deserialize is None:
        return message
    try:
        return deserialize(message)
    except DecodeError as error:
        raise InvalidInput("the message is not one of this method's", field="request") from error


def abort(context: grpc.ServicerContext, status: status_pb2.Status) -> None:
    """Ends the call with a google.rpc.Status, and what of it is plain text for clients that do not read those. Always
    raises, as grpc's abort does."""
    ending = rpc_status.to_status(status)
    plain = trailers_of(status, remaining_seconds=context.time_remaining())
    whole = _Ending(ending.code, ending.details, (*ending.trailing_metadata, *plain))
    context.abort_with_status(cast(grpc.Status, whole))


class _Ending(NamedTuple):
    """What grpc.Status asks for."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]
