"""Health that tells the truth: SERVING only while what the service depends on answers."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog
from grpc_health.v1 import health, health_pb2
from prometheus_client import Gauge

LIVE = "live"
"""The health service's name for the process itself: SERVING for as long as it runs, whatever it depends on. For what
restarts processes: restarting one mends no store."""

_log = structlog.get_logger("facecloak.readiness")


class Readiness:
    """Probes a service's dependencies in a thread and sets the health of the service and of the server ("")."""

    def __init__(
        self,
        servicer: health.HealthServicer,
        *,
        service: str,
        probe: Callable[[], None],
        every_seconds: float,
        gauge: Gauge,
    ) -> None:
        """``probe`` returns when all is well and raises otherwise; whatever it raises means not ready."""
        self._servicer = servicer
        self._services = ("", service)
        self._probe = probe
        self._every_seconds = every_seconds
        self._gauge = gauge
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._state: bool | None = None
        self._thread = threading.Thread(target=self._run, name="readiness", daemon=True)
        for name in self._services:
            servicer.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
        servicer.set(LIVE, health_pb2.HealthCheckResponse.SERVING)

    def start(self) -> None:
        """Begins probing, at once."""
        self._thread.start()

    def wait_ready(self, timeout_seconds: float) -> bool:
        """Waits for the first probe that succeeds."""
        return self._ready.wait(timeout_seconds)

    def stop(self) -> None:
        """Ends probing; what the service says then is NOT_SERVING for good."""
        self._stop.set()
        self._gauge.set(0)
        self._servicer.enter_graceful_shutdown()

    def check(self) -> bool:
        """Probes once and sets the health accordingly."""
        try:
            self._probe()
        except Exception as error:  # noqa: BLE001 - a dependency may fail in any way, and each way means the same
            self._set(False, reason=str(getattr(error, "reason", type(error).__qualname__)))
        else:
            self._set(True, reason="")
        return bool(self._state)

    def _run(self) -> None:
        while not self._stop.is_set():
            ready = self.check()
            # While something is missing, look sooner: it often comes within seconds of us at deployment.
            self._stop.wait(self._every_seconds if ready else min(self._every_seconds, 2.0))

    def _set(self, ready: bool, *, reason: str) -> None:
        if ready != self._state:
            (_log.info if ready else _log.warning)("ready" if ready else "not ready", reason=reason)
        self._state = ready
        self._gauge.set(ready and not self._stop.is_set())
        answer = health_pb2.HealthCheckResponse
        for name in self._services:
            self._servicer.set(name, answer.SERVING if ready else answer.NOT_SERVING)
        if ready:
            self._ready.set()
