"""What the enrollment service counts about its jobs."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from enroll_service.pipeline.report import EnrollmentReport
from facecloak.masks.bank import StoredMask
from facecloak_rpc.metrics import CALL_SECONDS_BUCKETS

# The strengths aim at 0.80 to 0.90; what lies outside is worth seeing too.
_SSIM_BUCKETS = (0.6, 0.7, 0.75, 0.8, 0.82, 0.84, 0.86, 0.88, 0.9, 0.92, 0.94, 0.96, 0.98, 1.0)


class EnrollMetrics:
    """Counts enrollments by outcome, times them, and keeps the spread of the masks' structural similarity."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._enrollments = Counter(
            "facecloak_enrollments", "Enrollments that ended: stored, or the reason why not.", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "facecloak_enrollment_seconds", "Time that a worker spent on one enrollment, without the wait for it.",
            buckets=CALL_SECONDS_BUCKETS, registry=registry,
        )  # fmt: skip
        self._ssim = Histogram(
            "facecloak_mask_ssim", "Structural similarity that a stored mask leaves on the enrolled crop.",
            buckets=_SSIM_BUCKETS, registry=registry,
        )  # fmt: skip

    def ended(self, outcome: str, *, seconds: float, mask: StoredMask | None) -> None:
        """Counts one enrollment; ``mask`` where one was stored."""
        self._enrollments.labels(outcome).inc()
        self._seconds.observe(seconds)
        if mask is not None:
            self._ssim.observe(EnrollmentReport.read(mask.report).ssim)


def watch_queue(registry: CollectorRegistry, *, waiting: Callable[[], float], running: Callable[[], float]) -> None:
    """Shows how long the queue is whenever metrics are read."""
    Gauge("facecloak_enrollments_waiting", "Enrollments waiting for a worker.", registry=registry).set_function(waiting)
    Gauge("facecloak_enrollments_running", "Enrollments being worked on.", registry=registry).set_function(running)
