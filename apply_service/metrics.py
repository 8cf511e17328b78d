"""What the apply service counts about its photos."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from facecloak.cloaking.cloaker import CloakResult, EncodingPath


class ApplyMetrics:
    """Counts photos by how they were changed and subjects by outcome."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._photos = Counter(
            "facecloak_photos", "Photos answered, by how they were changed: full (encoded again), splice or unchanged.",
            ["way"], registry=registry,
        )  # fmt: skip
        self._subjects = Counter(
            "facecloak_subjects", "Subjects of answered photos, by outcome.", ["outcome"], registry=registry
        )

        self._full = Counter(
            "facecloak_photos_full", "Photos that were encoded again in full, by why they could not be spliced.",
            ["reason"], registry=registry,
        )  # fmt: skip

        self._masks_laid = Counter(
            "facecloak_masks_laid", "Masks that were added to faces, by what they were laid: the face's mesh; its five "
            "landmarks, because no mesh was seen; or square, as masks of the aligned crop are.",
            ["by"], registry=registry,
        )  # fmt: skip

    def answered(self, result: CloakResult) -> None:
        """Counts one photo that was answered."""
        self._photos.labels(result.encoding_path.value).inc()
        if result.encoding_path is EncodingPath.REENCODED:
            self._full.labels(result.fallback_reason).inc()
        for subject in result.subjects:
            self._subjects.labels(subject.outcome.value).inc()
            if subject.placement_method is not None:
                self._masks_laid.labels(subject.placement_method.value).inc()
