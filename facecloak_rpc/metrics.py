"""Prometheus metrics of a gRPC server."""

from __future__ import annotations

from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, start_http_server

import facecloak

# From a cloaked thumbnail (milliseconds) to an enrollment on a CPU (minutes).
CALL_SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Upper ends of the histograms' buckets, seconds."""


class RpcMetrics:
    """Counts and times calls by method. Methods are full names, such as ``facecloak.v1.ApplyService/ApplyCloak``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.in_flight = Gauge("facecloak_rpc_in_flight", "Calls being served.", ["method"], registry=registry)
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
            "facecloak_ready", "1 while everything that the service depends on answers, else 0.", registry=registry
        )
        Info("facecloak_build", "The release that runs.", registry=registry).info({"version": facecloak.__version__})


def serve_metrics(registry: CollectorRegistry, *, host: str, port: int) -> WSGIServer:
    """Serves ``registry`` over HTTP at /metrics in a thread of its own. Raises OSError where the port is taken."""
    http_server, _thread = start_http_server(port, addr=host, registry=registry)
    return http_server
