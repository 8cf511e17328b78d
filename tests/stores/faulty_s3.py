"""A real S3 server behind a door that can be told to fail, as load balancers, networks and S3 itself do."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from xml.sax.saxutils import escape

from facecloak.stores import S3Connection

STATUS = {
    "NoSuchKey": 404, "NoSuchBucket": 404, "PermanentRedirect": 301, "TemporaryRedirect": 307,
    "AuthorizationHeaderMalformed": 400, "ExpiredToken": 400, "SlowDown": 503, "InternalError": 500,
    "XMinioStorageFull": 507, "QuotaExceeded": 403,
}  # fmt: skip
HTML = b"<html><body><h1>404 Not Found</h1></body></html>"


class FaultyS3:
    """What the door does: change ``mode`` at any time.

    Modes:
        pass: hands requests on, and the answers back.
        hang: takes requests and never answers.
        drip, drip_head: answers a byte every 0.1 s, the body alone or all of it.
        half: closes the connection in the middle of a body.
        cut, garbage: half of the body as if it were all of it; other bytes, as many.
        lost: hands requests on and closes the connection in place of the answer.
        swallow: answers 200 with an ETag, or 204, and does nothing.
        close: closes the connection.
        html404, html200, empty404, redirect: what web servers and load balancers say.
        NoSuchOtherKey: answers NoSuchKey about another object than it was asked for.
        S3's own code, such as AccessDenied: answers with it, and the usual status.
    """

    def __init__(self, upstream: S3Connection | None) -> None:
        self.mode = "pass"
        self.only: frozenset[str] = frozenset()
        """Methods that the mode is for; empty: all."""
        self.only_paths = ""
        """What a path must hold for the mode to be for it; empty: all."""
        self.requests: list[str] = []
        self._upstream = upstream
        self._ended = threading.Event()
        door = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                door._answer(self)

            do_GET = do_PUT = do_HEAD = do_DELETE = handle_any  # noqa: N815 - the base's names

            def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002 - the base's name

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None: ...

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        base = upstream or S3Connection(endpoint="", access_key="a", secret_key="b", secure=False)
        self.connection = replace(
            base, endpoint=f"127.0.0.1:{self._server.server_port}", connect_timeout_s=0.5, read_timeout_s=0.5,
            call_timeout_s=1.2,
        )  # fmt: skip

    def close(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        self.requests.append(f"{handler.command} {handler.path}")
        meant = (not self.only or handler.command in self.only) and self.only_paths in handler.path
        mode = self.mode if meant else "pass"
        if self._ended.is_set():
            mode = "close"  # connections that were kept alive die with the server
        if mode == "hang":
            self._ended.wait(60)
            handler.close_connection = True
        elif mode == "close":
            self._hang_up(handler)
        elif mode == "pass":
            self._reply(handler, *self._hand_on(handler, body))
        elif mode == "lost":
            self._hand_on(handler, body)
            self._hang_up(handler)
        elif mode in ("half", "cut", "garbage"):
            self._damaged(handler, *self._hand_on(handler, body), mode=mode)
        elif mode in ("drip", "drip_head"):
            self._drip(handler, *self._hand_on(handler, body), head=mode == "drip_head")
        elif mode == "swallow":
            self._reply(handler, 204 if handler.command == "DELETE" else 200, {"ETag": '"0"'}, b"")
        elif mode in ("html404", "html200"):
            self._reply(handler, int(mode[4:]), {"Content-Type": "text/html"}, HTML)
        elif mode == "empty404":
            self._reply(handler, 404, {"Content-Type": "application/xml"}, b"")
        elif mode == "redirect":
            if handler.path == "/login":
                self._reply(handler, 200, {"Content-Type": "text/html", "ETag": '"page"'}, HTML)
            else:
                self._reply(handler, 302, {"Location": f"http://{self.connection.endpoint}/login"}, b"")
        else:
            key = "another" if mode == "NoSuchOtherKey" else handler.path.split("?")[0].split("/", 2)[-1]
            mode = mode.replace("Other", "")
            text = f"<Error><Code>{mode}</Code><Message>m</Message><Key>{escape(key)}</Key></Error>"
            self._reply(handler, STATUS.get(mode, 403), {"Content-Type": "application/xml"}, text.encode())

    def _hand_on(self, handler: http.server.BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        assert self._upstream is not None
        upstream = http.client.HTTPConnection(self._upstream.endpoint, timeout=10)
        try:
            upstream.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                if name.lower() != "connection":
                    upstream.putheader(name, value)
            upstream.endheaders(body or None)
            answer = upstream.getresponse()
            content = answer.read()
            dropped = ("connection", "transfer-encoding", "content-length")
            headers = {name: value for name, value in answer.getheaders() if name.lower() not in dropped}
            return answer.status, headers, content
        finally:
            upstream.close()

    def _reply(
        self, handler: http.server.BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes
    ) -> None:
        handler.send_response_only(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if status not in (204, 304):
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD" and status not in (204, 304):
            handler.wfile.write(body)

    def _damaged(
        self, handler: http.server.BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes, *,
        mode: str,
    ) -> None:  # fmt: skip
        if status != 200 or not body:
            self._reply(handler, status, headers, body)
        elif mode == "half":
            handler.send_response_only(status)
            for name, value in (*headers.items(), ("Content-Length", str(len(body)))):
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body[: len(body) // 2])
            self._hang_up(handler)
        else:
            self._reply(handler, status, headers, body[: len(body) // 2] if mode == "cut" else bytes(len(body)))

    def _drip(
        self, handler: http.server.BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes, *,
        head: bool,
    ) -> None:  # fmt: skip
        lines = [f"HTTP/1.1 {status} -", *(f"{name}: {value}" for name, value in headers.items())]
        sent = ("\r\n".join([*lines, f"Content-Length: {len(body)}"]) + "\r\n\r\n").encode()
        at_once, slowly = (b"", sent + body) if head else (sent, body)
        handler.wfile.write(at_once)
        for byte in slowly:
            if self._ended.wait(0.1):
                return
            handler.wfile.write(bytes([byte]))

    @staticmethod
    def _hang_up(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        with contextlib.suppress(OSError):
            handler.connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def faulty_s3(upstream: S3Connection | None = None) -> Iterator[FaultyS3]:
    """Opens the door; ``upstream`` is the real server for the modes that hand on."""
    door = FaultyS3(upstream)
    try:
        yield door
    finally:
        door.close()
