"""What the apply service counts about its photos."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from facecloak.cloak import CloakResult


class ApplyMetrics:
    """Counts photos by the way they went and subjects by outcome."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._photos = Counter(
            "facecloak_photos", "Photos answered, by the way they went: full, splice or unchanged.", ["way"],
            registry=registry,
        )  # fmt: skip
        self._subjects = Counter(
            "facecloak_subjects", "Subjects of answered photos, by outcome.", ["outcome"], registry=registry
        )

    def answered(self, result: CloakResult, *, way: str) -> None:
        """Counts one photo that was answered."""
        self._photos.labels(way).inc()
        for subject in result.subjects:
            self._subjects.labels(subject.outcome.value).inc()
