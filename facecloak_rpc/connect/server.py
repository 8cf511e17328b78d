"""The HTTP server: a thread a connection, no more than so many, TLS as gRPC's own port has it."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from http.server import ThreadingHTTPServer
from typing import Any

from facecloak_rpc.addresses import has_ipv6, is_any
from facecloak_rpc.connect.request_handler import Gateway, RequestHandler
from facecloak_rpc.tls import TlsSettings, watched_context

_HANDSHAKE_SECONDS = 10.0


class ConnectServer(ThreadingHTTPServer):
    """Serves a gateway. ``start`` it, then ``stop``."""

    daemon_threads = True
    # Ended by the interceptor's own wait for the calls in flight.
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, gateway: Gateway, *, host: str, port: int, tls: TlsSettings, connections_limit: int, share_port: bool
    ) -> None:
        """Listens, on the same addresses as gRPC. Raises OSError where it cannot, FileUnusable for the certificates."""
        if is_any(host):
            host = "::" if has_ipv6() else "0.0.0.0"
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = family
        self.allow_reuse_port = share_port
        self._gateway = gateway
        self._tls = watched_context(tls) if tls.is_on else None
        self._places = threading.BoundedSemaphore(connections_limit)
        super().__init__((str(address[0]), port), RequestHandler)

    def server_bind(self) -> None:
        """:: is both families, whatever the machine's own default is."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def start(self) -> None:
        """Begins to serve, in threads of its own."""
        threading.Thread(target=self.serve_forever, name="http", daemon=True).start()

    def stop(self) -> None:
        """Takes no more connections and calls; those in flight go on."""
        self._gateway.draining.set()
        self.shutdown()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hangs up where there are too many connections: those that have places are idle for no longer than a while."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """One connection, from its handshake on."""
        try:
            with suppress(OSError):  # also ssl.SSLError
                request = self._secured(request)
                super().process_request_thread(request, client_address)
                return
            self.shutdown_request(request)
        finally:
            self._places.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """See socketserver."""
        handler = type("Handler", (RequestHandler,), {"gateway": self._gateway, "auth_context": _auth_context(request)})
        handler(request, client_address, self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that break are no events; calls' errors are the interceptor's."""

    def _secured(self, request: socket.socket) -> socket.socket:
        if self._tls is None:
            return request
        request.settimeout(_HANDSHAKE_SECONDS)
        return self._tls.current().wrap_socket(request, server_side=True)


def _auth_context(request: Any) -> dict[str, list[bytes]]:
    """What gRPC tells of a caller's certificate, and is looked at."""
    certificate = request.getpeercert(binary_form=True) if isinstance(request, ssl.SSLSocket) else None
    if certificate is None:
        return {}
    return {"x509_pem_cert": [ssl.DER_cert_to_PEM_cert(certificate).encode()]}
