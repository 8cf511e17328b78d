"""Prometheus metrics of a gRPC server."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

import facecloak
from facecloak_rpc.addresses import has_ipv6, is_any
from facecloak_rpc.tls import TlsSettings, watched_context
from facecloak_rpc.watched_files import WatchedFiles

# From a cloaked thumbnail (milliseconds) to an enrollment on a CPU (minutes).
CALL_SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Upper ends of the histograms' buckets, seconds."""
# No header of a client's may have this name in a WSGI environment.
_CERTIFIED = "facecloak.certified"


class RpcMetrics:
    """Counts and times calls by method. Methods are full names, such as ``facecloak.v1.ApplyService/ApplyCloak``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.in_flight = Gauge("facecloak_rpc_in_flight", "Calls being served.", ["method"], registry=registry)
        self.awaiting_message = Gauge(
            "facecloak_rpc_awaiting_message", "Calls whose message has not come in yet, of those being served.",
            ["method"], registry=registry,
        )  # fmt: skip
        self.connections = Gauge(
            "facecloak_rpc_connections", "Connections that have calls open, health's and reflection's aside.",
            registry=registry,
        )  # fmt: skip
        self.unread_bytes = Gauge(
            "facecloak_rpc_unread_bytes", "Bytes of answers that callers have not taken yet.", registry=registry
        )
        self.answers_given_up = Counter(
            "facecloak_rpc_answers_given_up", "Answers that their callers did not take in time.", registry=registry
        )
        self.handled = Counter(
            "facecloak_rpc_handled",
            "Calls that ended, by gRPC code and reason.",
            ["method", "code", "reason"],
            registry=registry,
        )
        self.seconds = Histogram(
            "facecloak_rpc_seconds", "Time from the start of a call to its end.", ["method"],
            buckets=CALL_SECONDS_BUCKETS, registry=registry,
        )  # fmt: skip
        self.ready = Gauge(
            "facecloak_ready", "1 while what the service depends on answers, or it can do without for now; else 0.",
            registry=registry,
        )  # fmt: skip
        self.degraded = Gauge(
            "facecloak_degraded", "1 while something that the service depends on is away and it serves what it can "
            "without: apply, users whose masks it remembers.", registry=registry,
        )  # fmt: skip
        Info("facecloak_build", "The release that runs.", registry=registry).info({"version": facecloak.__version__})


class _MetricsServer(ThreadingWSGIServer):
    daemon_threads = True
    tls: WatchedFiles[ssl.SSLContext] | None = None

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """One connection, from its handshake on: in its own thread, so that a slow one holds up nobody."""
        if self.tls is not None:
            try:
                request.settimeout(_QuietHandler.timeout)
                request = self.tls.current().wrap_socket(request, server_side=True)
            except OSError:  # also ssl.SSLError
                self.shutdown_request(request)
                return
        super().process_request_thread(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that break are no events."""

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            # :: is both families to gRPC, whatever the machine's own default is.
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class _QuietHandler(WSGIRequestHandler):
    # A client that sends no request holds a thread, and no longer than this, seconds.
    timeout = 5.0

    def get_environ(self) -> dict[str, Any]:
        """Says whether the client has shown a certificate, which TLS has checked."""
        environ = super().get_environ()
        shown = self.connection.getpeercert(binary_form=True) if isinstance(self.connection, ssl.SSLSocket) else None
        environ[_CERTIFIED] = shown is not None
        return environ

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Scrapes are no events."""


def serve_metrics(
    registry: CollectorRegistry,
    *,
    host: str,
    port: int,
    is_ready: Callable[[], bool],
    shows_metrics: bool = True,
    tls: TlsSettings | None = None,
) -> WSGIServer:
    """Serves over HTTP, in threads of its own: ``registry`` at /metrics if it ``shows_metrics``, 200 at /livez for as
    long as the process runs, and at /readyz 200 or 503. On the same addresses as gRPC: both families where ``host``
    stands for all. With ``tls`` by HTTPS; where that asks callers for certificates, /metrics does, and the probes do
    not: who runs them has none. Raises OSError where it cannot, FileUnusable for the certificates."""
    if is_any(host):
        host = "::" if has_ipv6() else "0.0.0.0"
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    context = None if tls is None else watched_context(tls, asks=ssl.CERT_OPTIONAL)
    server_class = type("_Server", (_MetricsServer,), {"address_family": family, "tls": context})
    server: WSGIServer = make_server(
        str(address[0]),
        port,
        _application(registry, is_ready, shows_metrics, asks=tls is not None and tls.is_mutual),
        server_class,
        handler_class=_QuietHandler,
    )
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def _application(
    registry: CollectorRegistry, is_ready: Callable[[], bool], shows_metrics: bool, *, asks: bool
) -> Callable[..., Iterable[bytes]]:
    metrics = make_wsgi_app(registry)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path not in ("/livez", "/readyz"):
            if shows_metrics and asks and not environ[_CERTIFIED]:
                start_response("403 Forbidden", [("Content-Type", "text/plain")])
                return [b"this asks for a client certificate\n"]
            if shows_metrics:
                return metrics(environ, start_response)
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"not here\n"]
        well = path == "/livez" or is_ready()
        start_response("200 OK" if well else "503 Service Unavailable", [("Content-Type", "text/plain")])
        return [b"ok\n" if well else b"not ready\n"]

    return application
