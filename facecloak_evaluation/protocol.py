"""The protocol that every protection figure uses, as one value, and the thing it measures.

One photo of each person is enrolled, or several; others of the person are cloaked at their own size, go through a
platform, and a finder that the services do not use finds the face afresh. Recognizers that enrollment never saw then
look for the nearest photos in a gallery of clean photos of all evaluated people and of others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from facecloak.limits import MAX_ENROLLMENT_PHOTOS
from facecloak_evaluation.errors import EvaluationInputInvalid
from facecloak_evaluation.platforms import PLATFORMS
from facecloak_evaluation.surrogate_guard import RecognizerIdentity

if TYPE_CHECKING:
    from enroll_service.pipeline.intake.photo import EnrollmentPhoto
    from facecloak.faces import Box
    from facecloak.masks.displacement import DisplacementSize


MAX_STRENGTH = 4.0
"""Largest factor on a mask that a measurement tries."""


class Pairing(StrEnum):
    """Which side of a comparison wears the cloak."""

    CLOAKED_PROBE = "cloaked probe, clean gallery"
    CLOAKED_GALLERY = "clean probe, cloaked gallery"
    BOTH_CLOAKED = "cloaked probe, cloaked gallery"


@dataclass(frozen=True)
class EvaluationProtocol:
    """How protection is measured.

    Attributes:
        enroll_photos: numbers of each person's photos that are enrolled beside the enrollment photo.
        gallery_photos: numbers of the photos of each person that are in the gallery.
        probe_photos: numbers of the photos of each person that are probes. No photo is of two of these kinds, and the
            enrollment photo is neither probe nor gallery.
        platforms: names out of PLATFORMS, what happens to a photo before it is evaluated.
        ranks: k of PSR@k.
        strengths: factors on the mask for the curve of protection against visibility.
        extraction_photos: how many cloaked photos an attacker averages
            (:mod:`facecloak_evaluation.extraction_attack`).
        reapply: cloak each probe a second time, too.
        purify: also see what is left after :mod:`facecloak_evaluation.purification`.
        surrogates_too: also let the surrogates evaluate, told apart from the evaluators and part of no mean.
        resamples: bootstrap resamples of people.
        seed: of the bootstrap.
    """

    enroll_photos: tuple[int, ...] = ()
    gallery_photos: tuple[int, ...] = (1, 2, 3)
    probe_photos: tuple[int, ...] = (4, 5, 6, 7)
    platforms: tuple[str, ...] = ("jpeg85",)
    ranks: tuple[int, ...] = (1, 5)
    strengths: tuple[float, ...] = ()
    extraction_photos: tuple[int, ...] = ()
    reapply: bool = False
    surrogates_too: bool = False
    purify: bool = False
    resamples: int = 2000
    seed: int = 1

    def __post_init__(self) -> None:
        if not self.gallery_photos or not self.probe_photos:
            raise EvaluationInputInvalid("a measurement needs gallery photos and probes")
        if set(self.gallery_photos) & set(self.probe_photos):
            raise EvaluationInputInvalid("a photo cannot be both in the gallery and a probe")
        if set(self.enroll_photos) & {*self.gallery_photos, *self.probe_photos}:
            raise EvaluationInputInvalid("a photo cannot be enrolled and also be in the gallery or a probe")
        if len(self.enroll_photos) >= MAX_ENROLLMENT_PHOTOS:
            raise EvaluationInputInvalid(f"an enrollment takes at most {MAX_ENROLLMENT_PHOTOS} photos")
        if any(not 0 < strength <= MAX_STRENGTH for strength in self.strengths):
            raise EvaluationInputInvalid(f"a strength is above 0 and at most {MAX_STRENGTH:g}")
        if any(count < 1 for count in self.extraction_photos):
            raise EvaluationInputInvalid("an extraction takes at least one photo")
        unknown = [name for name in self.platforms if name not in PLATFORMS]
        if unknown or not self.platforms:
            raise EvaluationInputInvalid(
                f"unknown platform {', '.join(unknown)}; known: {', '.join(PLATFORMS)}", unknown=unknown
            )

    def as_json(self) -> dict[str, Any]:
        """With what each platform does, spelled out."""
        return asdict(self) | {
            "platforms": {name: PLATFORMS[name].description for name in self.platforms},
            "pairings": [str(pairing) for pairing in Pairing],
            "gallery": "clean photos as they are; cloaked ones after the platform",
            "undetected": "where the evaluation's finder misses the face after the platform, the crop is taken at the "
            "clean photo's landmarks: a missed detection by itself never counts as protection",
        }


@dataclass(frozen=True)
class EnrollmentCost:
    """What the evaluation keeps of one enrollment.

    Attributes:
        seconds: wall time of learning the mask; for a mask that was reused, what it took when it was made.
        cpu_seconds: processor time of the same, which a busy machine changes little; None where it is not known.
        stages: wall time by stage, where the service tells.
        peak_memory_mebibytes: largest resident memory of the process that learned it; None where it is not known.
        reused: the mask was already in the evaluation's own sealed work folder.
        displacements: of each mask that displaces, how far; empty where none does, or where it is not known.
    """

    seconds: float
    cpu_seconds: float | None = None
    stages: Mapping[str, float] = field(default_factory=dict)
    peak_memory_mebibytes: float | None = None
    reused: bool = False
    displacements: tuple[DisplacementSize, ...] = ()


@dataclass(frozen=True)
class CloakedPhoto:
    """What came back for one photo.

    Attributes:
        photo: encoded as the upload was.
        outcome: the service's own word for what was done, "CLOAKED" if it was.
    """

    photo: bytes
    outcome: str

    @property
    def is_cloaked(self) -> bool:
        return self.outcome == "CLOAKED"


class Protector(Protocol):
    """The services as the evaluation sees them: the whole way in process, or remote. Thread safe."""

    def surrogates(self) -> tuple[RecognizerIdentity, ...]:
        """What the masks are learned against; the guard compares them with the evaluators."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """JSON-able: settings, finder, versions: what a stranger needs to repeat the measurement."""
        ...

    def enroll(self, user: str, photos: Sequence[EnrollmentPhoto]) -> EnrollmentCost:
        """Learn and keep the user's mask from the photos' faces.

        Raises FaceCloakError where a photo is refused.
        """
        ...

    def cloak(self, user: str, photo: bytes, box: Box) -> CloakedPhoto:
        """Add the user's mask to one photo; `box` is the uploader's hint, px of the upright photo."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class ScalableProtector(Protocol):
    """A protector that can also lay a mask on thicker or thinner than it was made."""

    def cloak_at(self, user: str, photo: bytes, box: Box, *, strength: float) -> CloakedPhoto:
        """As :meth:`Protector.cloak`, every level of the mask times `strength`."""
        ...


@runtime_checkable
class DisplacingProtector(Protocol):
    """A protector that can also show what its masks displace, without what they paint."""

    def displace(self, user: str, photo: bytes, box: Box) -> CloakedPhoto | None:
        """As :meth:`Protector.cloak`, nothing painted; None where the user's masks displace nothing."""
        ...
