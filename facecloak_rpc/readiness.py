"""Health that tells the truth: SERVING only while what the service depends on answers, or it can do without."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog
from grpc_health.v1 import health, health_pb2

from facecloak.errors import ErrorCode, FaceCloakError
from facecloak_rpc.metrics import RpcMetrics

LIVE = "live"
"""The health service's name for the process itself: SERVING for as long as it runs, whatever it depends on. For what
restarts processes: restarting one mends no store."""

UNDEGRADED = "undegraded"
"""The health service's name for the service with all that it depends on: NOT_SERVING while it is degraded, when the
service itself is SERVING still."""

# A probe runs every recognizer once, beside enrollments that use all cores. What takes longer hangs, and no dependency
# has a say in it: a folder on a network file system that is away stops whoever asks it.
_PROBE_SECONDS = 60.0
# While something is missing, look sooner: it often comes within seconds of us at deployment.
_SOONER_SECONDS = 2.0
_log = structlog.get_logger("facecloak.readiness")


class Degraded(FaceCloakError):
    """Something that the service depends on is away, and much of what is asked of it can be done without."""

    code = ErrorCode.UNAVAILABLE
    reason = "DEGRADED"

    @classmethod
    def because(cls, error: FaceCloakError) -> Degraded:
        """From what is away."""
        made = cls(error.public_message, cause=error.reason, **error.metadata)
        made.advice = error.advice
        return made


class ProbeHangs(FaceCloakError):
    """A probe of what the service depends on does not come to an end."""

    code = ErrorCode.UNAVAILABLE
    reason = "PROBE_HANGS"
    advice = "look at what the service depends on: a network file system that is away stops whoever asks it"


class Readiness:
    """Probes a service's dependencies in a thread and sets the health of the service and of the server ("")."""

    def __init__(
        self,
        servicer: health.HealthServicer,
        *,
        service: str,
        probe: Callable[[], None],
        every_seconds: float,
        metrics: RpcMetrics,
        probe_seconds: float = _PROBE_SECONDS,
    ) -> None:
        """``probe`` returns when all is well and raises otherwise: :class:`Degraded`, or anything else, which means not
        ready; so does taking longer than ``probe_seconds``."""
        self._servicer = servicer
        self._services = ("", service)
        self._probe = probe
        self._every_seconds = every_seconds
        self._metrics = metrics
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._state: tuple[bool, str] | None = None
        self._probe_seconds = probe_seconds
        self._lock = threading.Lock()
        self._probed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="readiness", daemon=True)
        for name in (*self._services, UNDEGRADED):
            servicer.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
        servicer.set(LIVE, health_pb2.HealthCheckResponse.SERVING)

    def start(self) -> None:
        """Begins probing, at once."""
        self._thread.start()

    def wait_ready(self, timeout_seconds: float) -> bool:
        """Waits for the first probe that succeeds."""
        return self._ready.wait(timeout_seconds)

    @property
    def is_ready(self) -> bool:
        """Whether the last probe found all well or bearable, and no stop has begun."""
        state = self._state
        return state is not None and state[0] and not self._stop.is_set()

    def stop(self) -> None:
        """Ends probing; what the service says then is NOT_SERVING for good."""
        self._stop.set()
        self._metrics.ready.set(0)
        self._servicer.enter_graceful_shutdown()

    def check(self) -> bool:
        """Probes once and sets the health accordingly."""
        try:
            self._probe()
        except Degraded as error:
            self._set(True, error=error)
        except Exception as error:  # noqa: BLE001 - a dependency may fail in any way, and each way means the same
            self._set(False, error=error)
        else:
            self._set(True, error=None)
        finally:
            self._probed.set()
        return bool(self._state and self._state[0])

    def _run(self) -> None:
        while not self._stop.is_set():
            self._probed.clear()
            prober = threading.Thread(target=self.check, name="readiness-probe", daemon=True)
            prober.start()
            if not self._probed.wait(self._probe_seconds):
                self._set(False, error=ProbeHangs("what the service depends on does not answer"))
                prober.join()
            well = self._state == (True, "")
            self._stop.wait(self._every_seconds if well else min(self._every_seconds, _SOONER_SECONDS))

    def _set(self, ready: bool, *, error: Exception | None) -> None:
        with self._lock:
            self._set_locked(ready, error=error)

    def _set_locked(self, ready: bool, *, error: Exception | None) -> None:
        metadata: dict[str, str] = getattr(error, "metadata", {})
        reason = "" if error is None else str(getattr(error, "reason", type(error).__qualname__))
        reason, fault = metadata.get("cause", reason), metadata.get("fault", "")
        state = (ready, f"{reason} {fault}".strip())
        if state != self._state:
            facts = {name: text for name in ("advice",) if (text := getattr(error, name, ""))}
            if fault:
                facts["fault"] = fault
            event = "not ready" if not ready else "degraded" if error else "ready"
            (_log.warning if error else _log.info)(event, reason=reason, **facts)
        self._state = state
        self._metrics.ready.set(ready and not self._stop.is_set())
        self._metrics.degraded.set(ready and error is not None)
        answer = health_pb2.HealthCheckResponse
        for name in self._services:
            self._servicer.set(name, answer.SERVING if ready else answer.NOT_SERVING)
        self._servicer.set(UNDEGRADED, answer.SERVING if error is None else answer.NOT_SERVING)
        if ready:
            self._ready.set()
