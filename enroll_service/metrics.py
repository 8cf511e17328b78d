"""What the enrollment service counts about its jobs."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from enroll_service.pipeline.report import EnrollmentReport
from facecloak.masks.bank import StoredMask
from facecloak_rpc.metrics import CALL_SECONDS_BUCKETS

# The strengths aim at 8.8 to 9.4 where masks move; what lies outside is worth seeing too.
_JOD_BUCKETS = (6.0, 7.0, 7.5, 8.0, 8.25, 8.5, 8.7, 8.8, 8.9, 9.0, 9.1, 9.2, 9.3, 9.4, 9.6, 9.8, 10.0)


class EnrollMetrics:
    """Counts enrollments by outcome, times them, and keeps the spread of how visible the masks are."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._enrollments = Counter(
            "facecloak_enrollments", "Enrollments that ended: stored, or the reason why not.", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "facecloak_enrollment_seconds", "Time that a worker spent on one enrollment, without the wait for it.",
            buckets=CALL_SECONDS_BUCKETS, registry=registry,
        )  # fmt: skip
        self._jod = Histogram(
            "facecloak_mask_jod", "JOD that a stored mask's painted part keeps on the enrolled crop, predicted.",
            buckets=_JOD_BUCKETS, registry=registry,
        )  # fmt: skip

    def ended(self, outcome: str, *, seconds: float, mask: StoredMask | None) -> None:
        """Counts one enrollment; ``mask`` where one was stored."""
        self._enrollments.labels(outcome).inc()
        self._seconds.observe(seconds)
        jod = EnrollmentReport.read(mask.report).jod if mask is not None else None
        if jod is not None:
            self._jod.observe(jod)


def watch_queue(registry: CollectorRegistry, *, waiting: Callable[[], float], running: Callable[[], float]) -> None:
    """Shows how long the queue is whenever metrics are read."""
    Gauge("facecloak_enrollments_waiting", "Enrollments waiting for a worker.", registry=registry).set_function(waiting)
    Gauge("facecloak_enrollments_running", "Enrollments being worked on.", registry=registry).set_function(running)
