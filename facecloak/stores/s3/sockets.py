"""Sockets that keep to the context's deadline, however slowly the other side goes on: for urllib3.

A socket's own timeout is about one read: a server that sends a byte a second never meets it. Here every read and write
gets no more than is left until :data:`facecloak.call_context.deadline`, and so do looking a name up and connecting.
"""

from __future__ import annotations

import queue
import socket
import ssl
import threading
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from facecloak.call_context import seconds_left

# Lookups that hang hold a thread each, until the resolver gives up: more than these are refused.
_LOOKUPS = threading.BoundedSemaphore(8)
_FOREVER = 3600.0


class _Bounded:
    """What the two kinds of sockets share; ``settimeout`` sets the limit of one operation."""

    _operation_seconds: float | None = None

    def settimeout(self, value: float | None) -> None:
        self._operation_seconds = value
        super().settimeout(value)  # type: ignore[misc]

    def _narrow(self) -> None:
        left = seconds_left(_FOREVER if self._operation_seconds is None else self._operation_seconds)
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        super().settimeout(left)  # type: ignore[misc]

    def recv(self, *args: Any, **kwargs: Any) -> bytes:
        self._narrow()
        return super().recv(*args, **kwargs)  # type: ignore[misc]

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self._narrow()
        return super().recv_into(*args, **kwargs)  # type: ignore[misc]

    def send(self, *args: Any, **kwargs: Any) -> int:
        self._narrow()
        return super().send(*args, **kwargs)  # type: ignore[misc]

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self._narrow()
        return super().sendall(*args, **kwargs)  # type: ignore[misc]


class BoundedSocket(_Bounded, socket.socket):
    """A plain one."""


class BoundedSSLSocket(_Bounded, ssl.SSLSocket):
    """One with TLS."""

    def do_handshake(self, block: bool = False) -> None:
        """As the base's."""
        self._narrow()
        super().do_handshake(block)


def connect(connection: HTTPConnection) -> socket.socket:
    """A connected :class:`BoundedSocket`; raises urllib3's errors."""
    limit = connection.timeout if isinstance(connection.timeout, int | float) else _FOREVER
    failure: OSError | None = None
    for family, kind, protocol, _, address in _resolved(connection, limit=limit):
        left = seconds_left(limit)
        if left <= 0:
            failure = TimeoutError("the deadline has passed")
            break
        made = BoundedSocket(family, kind, protocol)
        try:
            for option in connection.socket_options or ():
                made.setsockopt(*option)
            made.settimeout(left)
            made.connect(address)
        except OSError as error:
            made.close()
            failure = error
        else:
            return made
    if isinstance(failure, TimeoutError):
        raise ConnectTimeoutError(connection, f"connecting to {connection.host} took too long") from failure
    raise NewConnectionError(connection, f"no connection to {connection.host}: {failure}") from failure


def _resolved(connection: HTTPConnection, *, limit: float) -> list[Any]:
    """Addresses of the connection's host. The resolver knows no deadline, so it is asked in a thread of its own."""
    answers: queue.SimpleQueue[list[Any] | OSError | UnicodeError] = queue.SimpleQueue()
    host, port = connection.host.strip("[]"), connection.port

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)
        finally:
            _LOOKUPS.release()

    if not _LOOKUPS.acquire(blocking=False):
        raise NameResolutionError(host, connection, socket.gaierror("lookups of other calls hang"))
    threading.Thread(target=ask, name="lookup", daemon=True).start()
    try:
        found = answers.get(timeout=max(0.001, seconds_left(limit)))
    except queue.Empty as error:
        raise NameResolutionError(host, connection, socket.gaierror("the lookup took too long")) from error
    if isinstance(found, OSError | UnicodeError):
        raise NameResolutionError(host, connection, socket.gaierror(str(found))) from found
    return found


class _PlainConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return connect(self)


class _TlsConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return connect(self)


class BoundedHTTPPool(HTTPConnectionPool):
    """Connections without TLS to one server."""

    ConnectionCls = _PlainConnection


class BoundedHTTPSPool(HTTPSConnectionPool):
    """Connections with TLS to one server."""

    ConnectionCls = _TlsConnection
