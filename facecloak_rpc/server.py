"""A gRPC server as FaceCloak runs it: bounded, observable, and stopped without losing a call."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, cast
from wsgiref.simple_server import WSGIServer

import grpc
import structlog
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from facecloak.errors import ErrorCode, FaceCloakError
from facecloak_rpc.addresses import host_and_port, is_loopback
from facecloak_rpc.admission import Admission
from facecloak_rpc.call_threads import CallThreads
from facecloak_rpc.caller_limits import CallerLimits
from facecloak_rpc.identity import Authenticator, Right
from facecloak_rpc.identity.rights import RIGHTS
from facecloak_rpc.infrastructure import CALLS_LIMIT
from facecloak_rpc.interceptor import CallInterceptor
from facecloak_rpc.metrics import RpcMetrics, serve_metrics
from facecloak_rpc.process_memory import keep_little, leave_out_of_collections
from facecloak_rpc.readiness import Readiness
from facecloak_rpc.refusals import Refusals
from facecloak_rpc.settings import RpcSettings
from facecloak_rpc.telemetry import Telemetry
from facecloak_rpc.tls import server_credentials

if TYPE_CHECKING:
    from facecloak_rpc.connect import ConnectServer

# After the last call's handler returned, gRPC still has to put its status on the wire.
_FLUSH_SECONDS = 1.0
# Threads that tell callers that there are too many calls of theirs: a millisecond each.
_REFUSERS = 32
# Streams of one connection beyond the calls that it may have open.
_STREAMS_TO_REFUSE = 1024
# TLS and HTTP/2's first frame: three round trips.
_HANDSHAKE_MILLISECONDS = 5_000
# What gRPC reads of one connection at once; its own most is 4 MiB.
_READ_BYTES = 256 * 2**10
_log = structlog.get_logger("facecloak.server")


class AddressInUse(FaceCloakError):
    """The server cannot listen where it was told to."""

    code = ErrorCode.UNAVAILABLE
    reason = "ADDRESS_IN_USE"


@dataclass
class RpcServer:
    """A built server. ``start`` it, then ``run_until_signal`` or ``stop`` it; it cannot be started again."""

    settings: RpcSettings
    grpc_server: grpc.Server
    port: int
    """The port it listens on, also when the settings said 0."""
    interceptor: CallInterceptor
    readiness: Readiness
    telemetry: Telemetry
    begin_drain: Callable[[], None]
    """Called when a stop begins: ends long calls that would otherwise outlast the grace."""
    close: Callable[[], None]
    """Called when no call is left: releases what the service holds."""
    http: ConnectServer | None = None
    """The same service over HTTP, where that is on."""
    _metrics_server: WSGIServer | None = field(default=None, init=False)

    @property
    def target(self) -> str:
        """``host:port`` for clients on the same machine."""
        return host_and_port(self.settings.host, self.port)

    @property
    def metrics_port(self) -> int:
        """Port of /metrics, 0 when it is off."""
        return self._metrics_server.server_port if self._metrics_server else 0

    def start(self) -> None:
        """Begins to serve. Health answers NOT_SERVING until the first probe has succeeded."""
        if self.settings.metrics_port:
            try:
                self._metrics_server = serve_metrics(
                    self.telemetry.registry,
                    host=self.settings.host,
                    port=self.settings.metrics_port,
                    is_ready=lambda: self.readiness.is_ready,
                    shows_metrics=self.settings.metrics,
                    tls=self.settings.tls if self.settings.metrics_tls else None,
                )
            except OSError as error:
                address = host_and_port(self.settings.host, self.settings.metrics_port)
                why = error.strerror or type(error).__name__
                raise AddressInUse(f"/metrics cannot listen at {address}: {why}", address=address) from error
        self.grpc_server.start()
        if self.http is not None:
            self.http.start()
        self.readiness.start()
        _log.info(
            "listening", target=self.target, metrics_port=self.metrics_port, tls=self.settings.tls.is_on,
            mutual_tls=self.settings.tls.is_mutual,
        )  # fmt: skip
        if not is_loopback(self.settings.host) and not self.settings.is_protected:
            _log.warning(
                "INSECURE: whoever reaches this port can enroll, delete and cloak anybody, and read what others send",
                target=self.target, tls=self.settings.tls.is_on, advice="set TLS and callers' identities, or keep "
                "everybody but your pipeline from this port",
            )  # fmt: skip

    def stop(self, *, grace_seconds: float | None = None, hurry: threading.Event | None = None) -> None:
        """Refuses new calls, lets those in flight finish within the grace, then closes; ``hurry`` ends the grace."""
        grace = self.settings.grace_seconds if grace_seconds is None else grace_seconds
        self.readiness.stop()
        stopped = self.grpc_server.stop(grace)
        if self.http is not None:
            self.http.stop()
        self.begin_drain()
        # gRPC waits for health watchers and reflection too, which clients never close: wait for the calls that matter.
        waited = 0.0
        while waited < grace and not (hurry is not None and hurry.is_set()):
            if self.interceptor.wait_idle(min(0.1, grace - waited)):
                break
            waited += 0.1
        hurried = hurry is not None and hurry.is_set()
        self.grpc_server.stop(None if hurried else min(_FLUSH_SECONDS, grace))
        stopped.wait(_FLUSH_SECONDS + 1.0)
        self.close()
        self.interceptor.close()
        self.telemetry.tracer.close()
        if self._metrics_server is not None:
            self._metrics_server.shutdown()
            self._metrics_server.server_close()
        _log.info("stopped", hurried=hurried)

    def run_until_signal(self) -> int:
        """Starts, and serves until SIGTERM or SIGINT; a second one stops at once. Returns the exit status, 0.

        Only callable in the main thread, where Python delivers signals.
        """
        keep_little()
        leave_out_of_collections()
        asked, hurry = threading.Event(), threading.Event()

        def on_signal(_number: int, _frame: FrameType | None) -> None:
            # In a thread of its own: the handler runs inside the main thread's wait, which may hold the event's lock.
            threading.Thread(target=(hurry if asked.is_set() else asked).set, daemon=True).start()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        self.start()
        # The kernel may hand a signal to another thread, and Python acts on it only when this one runs again.
        while not asked.wait(0.5):
            pass
        _log.info("draining", grace_seconds=self.settings.grace_seconds)
        self.stop(hurry=hurry)
        return 0


@dataclass(frozen=True)
class KnownCallers:
    """Who calls, and how much each may: what the server asks before a call, and the service within one."""

    authenticator: Authenticator
    limits: CallerLimits

    @classmethod
    def of(cls, settings: RpcSettings) -> KnownCallers:
        """As the settings say. Raises FileUnusable."""
        authenticator = Authenticator(settings.identity, is_mutual=settings.tls.is_mutual)
        return cls(authenticator, CallerLimits(settings.caller_limits, callers=lambda: authenticator.callers))


def build_server(
    *,
    settings: RpcSettings,
    service: str,
    add_servicer: Callable[[grpc.Server], None],
    probe: Callable[[], None],
    telemetry: Telemetry,
    begin_drain: Callable[[], None] = lambda: None,
    close: Callable[[], None] = lambda: None,
    share_port: bool = False,
    admission: Admission | None = None,
    message_bytes_limit: int | None = None,
    rights: Mapping[str, Right] = RIGHTS,
    callers: KnownCallers | None = None,
    refusals: Refusals | None = None,
) -> RpcServer:
    """Builds a server of one service, bound to its port but not started.

    Args:
        service: full name of the service, such as ``facecloak.v1.ApplyService``.
        probe: raises unless everything that the service depends on answers.
        telemetry: whose registry /metrics shows.
        admission: what the service takes on; by default every call that is let in.
        message_bytes_limit: largest message that it takes, bytes; by default the settings' own.
        rights: what each method asks of callers.
        callers: who calls and how much each may; by default as the settings say.
        refusals: is told of refused calls; whoever made it closes it.
        share_port: whether other processes may listen on the same port, and the kernel spreads connections over them.

    Raises:
        AddressInUse: the port is taken or the host is not this machine's.
        FileUnusable: a certificate, its key, or a file of callers or keys cannot be used.
    """
    metrics = RpcMetrics(telemetry.registry)
    callers = callers or KnownCallers.of(settings)
    # A thread for every call that is let in, for every probe, and for those that are about to be refused.
    threads = CallThreads(settings.concurrent_calls_limit + CALLS_LIMIT + _REFUSERS)
    interceptor = CallInterceptor(
        metrics,
        telemetry.tracer,
        calls_waiting=lambda: threads.waiting,
        calls_limit=settings.concurrent_calls_limit,
        connection_calls_limit=settings.connection_calls_limit,
        reading_limit=settings.reading_limit,
        message_seconds=settings.message_seconds,
        answer_seconds=settings.answer_seconds,
        admission=admission,
        authenticator=callers.authenticator,
        limits=callers.limits,
        rights=rights,
        refusals=refusals,
    )
    grpc_server = grpc.server(
        threads,
        interceptors=[interceptor],
        options=_server_options(
            settings, share_port=share_port, message_bytes_limit=message_bytes_limit or settings.message_bytes_limit
        ),
    )
    health_servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, grpc_server)
    add_servicer(grpc_server)
    if settings.reflection:
        reflection.enable_server_reflection((service, health.SERVICE_NAME, reflection.SERVICE_NAME), grpc_server)
    address = host_and_port(settings.host, settings.port)
    try:
        if settings.tls.is_on:
            port = grpc_server.add_secure_port(address, server_credentials(settings.tls))
        else:
            port = grpc_server.add_insecure_port(address)
    except RuntimeError as error:
        raise AddressInUse("the server cannot listen at this address", address=address) from error
    readiness = Readiness(
        health_servicer, service=service, probe=probe, every_seconds=settings.readiness_seconds, metrics=metrics
    )
    return RpcServer(
        settings=settings, grpc_server=grpc_server, port=port, interceptor=interceptor, readiness=readiness,
        telemetry=telemetry, begin_drain=begin_drain, close=close,
        http=_http_server(
            settings, add_servicer, interceptor, share_port=share_port,
            message_bytes_limit=message_bytes_limit or settings.message_bytes_limit,
        ),
    )  # fmt: skip


def _http_server(
    settings: RpcSettings,
    add_servicer: Callable[[grpc.Server], None],
    interceptor: CallInterceptor,
    *,
    share_port: bool,
    message_bytes_limit: int,
) -> ConnectServer | None:
    """The service over HTTP, on its port; None where that is off."""
    if not settings.http_port:
        return None
    from facecloak_rpc.connect import ConnectServer, Gateway, HandlerTable

    handlers = HandlerTable()
    add_servicer(cast(grpc.Server, handlers))
    gateway = Gateway(
        handlers=handlers,
        interceptor=interceptor,
        message_bytes_limit=message_bytes_limit,
        message_seconds=settings.message_seconds,
    )
    try:
        return ConnectServer(
            gateway,
            host=settings.host,
            port=settings.http_port,
            tls=settings.tls,
            connections_limit=settings.connections_limit,
            share_port=share_port,
        )
    except OSError as error:
        address = host_and_port(settings.host, settings.http_port)
        why = error.strerror or type(error).__name__
        raise AddressInUse(f"HTTP cannot listen at {address}: {why}", address=address) from error


def _server_options(settings: RpcSettings, *, share_port: bool, message_bytes_limit: int) -> list[tuple[str, int]]:
    options = [
        ("grpc.max_receive_message_length", message_bytes_limit),
        ("grpc.max_send_message_length", settings.message_bytes_limit),
        ("grpc.keepalive_time_ms", round(settings.keepalive_seconds * 1000)),
        ("grpc.keepalive_timeout_ms", round(settings.keepalive_timeout_seconds * 1000)),
        # Far above our own limit of a connection's calls: HTTP/2 resets what a client begins beyond, without a reason.
        ("grpc.max_concurrent_streams", settings.connection_calls_limit + _STREAMS_TO_REFUSE),
        # A message that nobody reads yet takes one window of HTTP/2 (64 KiB) and no more: without probing for larger
        # ones. Messages that are read get the window that they need, whatever the network.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 65_535),
        ("grpc.experimental.tcp_max_read_chunk_size", _READ_BYTES),
        # gRPC's own two minutes let whoever connects and says nothing keep everybody else out for as long.
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MILLISECONDS),
        ("grpc.max_allowed_incoming_connections", settings.connections_limit),
        ("grpc.max_connection_idle_ms", round(settings.connection_idle_seconds * 1000)),
        # Let clients ping as often as we do; the default would close their connections for it.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Two servers on one port would share the calls between them without anybody noticing, unless that is meant.
        ("grpc.so_reuseport", int(share_port)),
    ]
    if settings.connection_age_seconds:
        # Spread by 10 % by gRPC itself, so that clients do not all come back at once; calls in flight go on.
        options.append(("grpc.max_connection_age_ms", round(settings.connection_age_seconds * 1000)))
    return options
