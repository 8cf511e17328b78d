"""What is asked of an enrollment, how far it has come, and what becomes known of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b

from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.settings import Strength
from facecloak.masks.bank import StoredMask

RECEIPT = "receipt"
"""Entry of a stored mask's report that tells by which request it was made (:mod:`enroll_service.jobs.idempotency`)."""


class Stage(StrEnum):
    """Which part of the work is going on."""

    QUEUED = "queued"
    SYNTHESIZE = "synthesize"
    PERTURB = "perturb"
    PERSONALIZE = "personalize"


@dataclass(frozen=True)
class ProgressEvent:
    """How far a job has come; ``fraction`` is 0..1 of the whole and never falls."""

    stage: Stage
    fraction: float
    detail: str = ""


@dataclass(frozen=True)
class Enrollment:
    """What is known about a stored mask; everything of it but the pixels."""

    mask_id: str
    created_at: str
    seed: int
    versions: dict[str, str]
    report: dict[str, object]
    mask_count: int = 1

    @classmethod
    def of(cls, mask: StoredMask) -> Enrollment:
        """Describes ``mask``."""
        return cls(
            mask_id=mask.mask_id,
            created_at=mask.created_at,
            seed=mask.seed,
            versions=dict(mask.versions),
            report={name: value for name, value in mask.report.items() if name != RECEIPT},
            mask_count=len(mask.masks),
        )


@dataclass(frozen=True)
class EnrollmentRequest:
    """What to enroll: 1..16 photos of one user. ``seed`` or ``strength`` None: the operator's; ``request_id`` may be
    empty.

    With ``add`` the user's stored mask is refined: the queue puts it in as ``earlier`` when the work begins. With
    ``leave_out_unfit`` photos that do not qualify are left out, as long as one is left.
    """

    user_id: str
    photos: tuple[EnrollmentPhoto, ...] = field(repr=False)
    seed: int | None = None
    request_id: str = ""
    strength: Strength | None = None
    add: bool = False
    leave_out_unfit: bool = False
    earlier: StoredMask | None = field(default=None, repr=False)

    def digest(self, *, key: bytes) -> bytes:
        """Keyed digest of the content, to tell a repeated call from another one; useless without the key."""
        digest = blake2b(key=key, digest_size=32)
        photos = [part for photo in self.photos for part in (photo.data, repr(photo.face).encode())]
        # Said only where it is asked for: receipts of releases that did not know it stay good.
        further = ("leave_out_unfit",) if self.leave_out_unfit else ()
        options = repr((self.seed, self.strength, self.add, *further)).encode()
        for part in (self.user_id.encode(), options, *photos):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.digest()
