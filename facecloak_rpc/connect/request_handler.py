"""One connection: requests become calls of the interceptor's handlers, and what they answer becomes HTTP."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast

import grpc
from google.rpc import code_pb2, status_pb2

from facecloak.errors import InvalidInput
from facecloak_rpc.connect.coding import CODINGS, Coding, end_of_stream, enveloped, unwrapped
from facecloak_rpc.connect.compression import ENCODINGS, unzipped
from facecloak_rpc.connect.context import CallEnded, HttpContext
from facecloak_rpc.connect.errors import HTTP_STATUS, error_document
from facecloak_rpc.connect.handlers import CallDetails, HandlerTable
from facecloak_rpc.connect.reading import BodyRefused, TimedReader, check_body, read_body

# What belongs to HTTP and not to the call; and gRPC's own names, which mean something to it.
_NO_METADATA = re.compile(r"(connection|host|te|upgrade|expect|transfer-encoding|content-.*|connect-.*|grpc-.*|:.*)")
OPENAPI = Path(__file__).with_name("openapi.json")
_HEADERS_SECONDS = 10.0
# Between two requests of a connection.
_IDLE_SECONDS = 60.0
_WRITE_SECONDS = 60.0


@dataclass(frozen=True)
class Gateway:
    """What all connections share."""

    handlers: HandlerTable
    interceptor: grpc.ServerInterceptor
    message_bytes_limit: int
    message_seconds: float
    draining: threading.Event = field(default_factory=threading.Event)


class RequestHandler(BaseHTTPRequestHandler):
    """See http.server. ``gateway`` and ``auth_context`` are set before."""

    protocol_version = "HTTP/1.1"
    server_version = "facecloak"
    sys_version = ""
    gateway: Gateway
    auth_context: Mapping[str, Sequence[bytes]]

    def setup(self) -> None:
        """Reads by the clock."""
        super().setup()
        self._raw = TimedReader(self.connection)
        self.rfile = io.BufferedReader(self._raw, 2**16)

    def handle_one_request(self) -> None:
        """A request's line may be waited for, its headers may not."""
        self._raw.ends = time.monotonic() + _IDLE_SECONDS
        with suppress(TimeoutError, ConnectionError):
            if cast(io.BufferedReader, self.rfile).peek(1):
                self._raw.ends = time.monotonic() + _HEADERS_SECONDS
                super().handle_one_request()
                return
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """The interceptor logs calls; anything else is no event, and may quote what was sent."""

    def handle_expect_100(self) -> bool:
        """Told to send its body when that is read, and not before it is known to be taken."""
        return True

    def do_GET(self) -> None:
        """The description of the interface."""
        if self.path != "/openapi.json":
            return self._refuse(404, code_pb2.UNIMPLEMENTED, "calls are POST /package.Service/Method")
        return self._answer(200, OPENAPI.read_bytes(), content_type="application/json")

    def do_POST(self) -> None:
        """A call."""
        self.close_connection = True  # until its body is known to be read
        handler = self.gateway.handlers.find(self.path)
        if handler is None or handler.request_streaming:
            return self._refuse(404, code_pb2.UNIMPLEMENTED, "there is no such method over HTTP")
        coding = CODINGS.get(self.headers.get_content_type())
        if coding is None or coding.is_stream != handler.response_streaming:
            taken = [name for name, known in CODINGS.items() if known.is_stream == handler.response_streaming]
            return self._refuse(415, code_pb2.UNIMPLEMENTED, f"the method takes {' and '.join(taken)}")
        if self._encoding(coding) not in ENCODINGS:
            return self._refuse(415, code_pb2.UNIMPLEMENTED, f"messages come in {' or '.join(ENCODINGS)}")
        if self.gateway.draining.is_set():
            return self._refuse(503, code_pb2.UNAVAILABLE, "the service is about to stop")
        timeout = self.headers.get("Connect-Timeout-Ms", "")
        if timeout and not re.fullmatch(r"[0-9]{1,10}", timeout):
            return self._refuse(400, code_pb2.INVALID_ARGUMENT, "Connect-Timeout-Ms is not a number of milliseconds")
        try:
            length = check_body(self.headers, limit=coding.bytes_limit(self.gateway.message_bytes_limit))
        except BodyRefused as refused:
            return self._refuse(refused.status, _code_of(refused), str(refused))
        context = HttpContext(
            peer=f"http:{self.client_address[0]}:{self.client_address[1]}",
            metadata=self._metadata(),
            timeout_s=int(timeout) / 1000 if timeout else None,
            auth_context=self.auth_context,
            hang_up=self._hang_up,
        )
        try:
            self._call(handler, coding, context, length=length)
        finally:
            context.close()
        return None

    def _call(
        self, handler: grpc.RpcMethodHandler, coding: Coding, context: HttpContext, *, length: int | None
    ) -> None:
        parse = coding.parser(_request_of(handler))
        plain = _with_parser(handler, parse)
        details = cast(grpc.HandlerCallDetails, CallDetails(self.path, context.invocation_metadata()))
        wrapped = self.gateway.interceptor.intercept_service(lambda _: plain, details)
        assert wrapped is not None
        if not coding.is_stream:
            self._unary(wrapped, coding, context, self._body(coding, length))
        else:
            self._stream(wrapped, coding, context, self._body(coding, length))

    def _unary(self, wrapped: Any, coding: Coding, context: HttpContext, body: Iterator[bytes]) -> None:
        message = None
        with suppress(CallEnded):
            message = wrapped.stream_unary(body, context)
        headers = _plain(context.trailers)
        if context.failure is not None or message is None:
            return self._refuse_with(context.failure or status_pb2.Status(code=code_pb2.INTERNAL), headers)
        return self._answer(200, coding.written(message), content_type=coding.content_type, headers=headers)

    def _stream(self, wrapped: Any, coding: Coding, context: HttpContext, body: Iterator[bytes]) -> None:
        """Errors, too, come with status 200, at the end: so Connect has it for streams."""
        self._begin(200, content_type=coding.content_type, headers=(("Transfer-Encoding", "chunked"),))
        messages = wrapped.stream_stream(body, context)
        try:
            with suppress(CallEnded):
                for message in messages:
                    self._chunk(enveloped(coding.written(message)))
            failure = context.failure
            self._chunk(end_of_stream(None if failure is None else error_document(failure)))
            self.wfile.write(b"0\r\n\r\n")
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        finally:
            context.close()  # wakes work that waits, before the generator is asked to end
            messages.close()

    def _body(self, coding: Coding, length: int | None) -> Iterator[bytes]:
        """Asked for by the interceptor once it has room: reads, in its thread, within its time."""
        self._raw.ends = time.monotonic() + self.gateway.message_seconds
        self.connection.settimeout(_WRITE_SECONDS)
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            body = read_body(cast(Any, self.rfile), length, limit=coding.bytes_limit(self.gateway.message_bytes_limit))
        except (BodyRefused, TimeoutError, ConnectionError):
            body = None
        if body is None:
            return
        self.close_connection = (
            self.headers.get("Connection", "").lower() == "close" or self.request_version < "HTTP/1.1"
        )
        yield self._message(coding, body)

    def _encoding(self, coding: Coding) -> str:
        """Of a stream it is its messages that are compressed, each by itself, and of other calls the body."""
        own, other = "Content-Encoding", "Connect-Content-Encoding"
        if coding.is_stream:
            own, other = other, own
        return self.headers.get(own, "identity") if other not in self.headers else "unknown"

    def _message(self, coding: Coding, body: bytes) -> bytes:
        message, is_zipped = unwrapped(body) if coding.is_stream else (body, True)
        if not is_zipped or self._encoding(coding) == "identity":
            if coding.is_stream and is_zipped:
                raise InvalidInput("the message is compressed, and nothing says how", field="request")
            return message
        return unzipped(message, limit=coding.bytes_limit(self.gateway.message_bytes_limit))

    def _hang_up(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        # Metadata is ASCII. What is not is changed and kept: left out, a second token would look as if there were one.
        pairs = ((name.lower(), value.encode("ascii", "replace").decode()) for name, value in self.headers.items())
        return tuple((name, value) for name, value in pairs if not _NO_METADATA.fullmatch(name))

    def _refuse(self, status: int, code: Any, message: str) -> None:
        document = error_document(status_pb2.Status(code=code, message=message))
        self.close_connection = True
        self._answer(status, json.dumps(document).encode(), content_type="application/json")

    def _refuse_with(self, failure: status_pb2.Status, headers: Sequence[tuple[str, str]]) -> None:
        body = json.dumps(error_document(failure)).encode()
        self._answer(HTTP_STATUS.get(failure.code, 500), body, content_type="application/json", headers=headers)

    def _answer(self, status: int, body: bytes, *, content_type: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        self._begin(status, content_type=content_type, headers=(("Content-Length", str(len(body))), *headers))
        self.wfile.write(body)

    def _begin(self, status: int, *, content_type: str, headers: Sequence[tuple[str, str]]) -> None:
        self.connection.settimeout(_WRITE_SECONDS)
        self.send_response(status)
        for name, value in (("Content-Type", content_type), *headers):
            self.send_header(name, value)
        # Photos and what is known of masks are nobody else's.
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _chunk(self, data: bytes) -> None:
        self.connection.settimeout(_WRITE_SECONDS)
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))


def _request_of(handler: grpc.RpcMethodHandler) -> Any:
    """The message that the method takes: generated code deserializes by a method of its class."""
    return cast(Any, handler.request_deserializer).__self__


def _with_parser(handler: grpc.RpcMethodHandler, parse: Any) -> grpc.RpcMethodHandler:
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(cast(Any, handler.unary_stream), parse, None)
    return grpc.unary_unary_rpc_method_handler(cast(Any, handler.unary_unary), parse, None)


def _plain(trailers: Sequence[tuple[str, str | bytes]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in trailers if isinstance(value, str) and not name.startswith("grpc-")]


def _code_of(refused: BodyRefused) -> Any:
    return code_pb2.RESOURCE_EXHAUSTED if refused.status == 413 else code_pb2.INVALID_ARGUMENT
