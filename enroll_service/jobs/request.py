"""What is asked of an enrollment, and what becomes known of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b

from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.report import EnrollmentReport
from enroll_service.pipeline.strengths import MaskKind, Strength
from facecloak.masks.bank import StoredMask
from facecloak.masks.consent import Consent
from facecloak.users import DEFAULT_TENANT, User
from facecloak_rpc.identity import ANYBODY, Caller


@dataclass(frozen=True)
class Enrollment:
    """What may be told about a stored mask: not its pixels, nor its seed, by which the photo would give them again."""

    mask_id: str
    created_at: str
    versions: dict[str, str]
    report: EnrollmentReport
    mask_count: int = 1
    consent: Consent | None = None

    @classmethod
    def of(cls, mask: StoredMask) -> Enrollment:
        """Describes ``mask``."""
        return cls(
            mask_id=mask.mask_id,
            created_at=mask.created_at,
            versions=dict(mask.versions),
            report=EnrollmentReport.read(mask.report),
            mask_count=len(mask.masks),
            consent=mask.consent,
        )


@dataclass(frozen=True)
class EnrollmentRequest:
    """What to enroll: 1..16 photos of one user. ``seed`` None: a fresh one. ``strength`` or
    ``kind`` None: the operator's. ``request_id`` may be empty.

    With ``add`` the user's stored mask is refined: the queue puts it in as ``earlier`` when the work begins. With
    ``leave_out_unfit`` photos that do not qualify are left out, as long as one is left.
    """

    user_id: str
    photos: tuple[EnrollmentPhoto, ...] = field(repr=False)
    seed: int | None = None
    request_id: str = ""
    strength: Strength | None = None
    kind: MaskKind | None = None
    add: bool = False
    leave_out_unfit: bool = False
    earlier: StoredMask | None = field(default=None, repr=False)
    tenant: str = DEFAULT_TENANT
    caller: Caller = ANYBODY
    consent: Consent | None = None

    def __post_init__(self) -> None:
        User(self.tenant, self.user_id)  # refuses what can be none

    @property
    def user(self) -> User:
        """Whose mask it is to be."""
        return User(self.tenant, self.user_id)

    def digest(self, *, key: bytes) -> bytes:
        """Keyed digest of the content, to tell a repeated call from another one; useless without the key."""
        digest = blake2b(key=key, digest_size=32)
        photos = [part for photo in self.photos for part in (photo.data, repr(photo.face).encode())]
        # Said only where it is asked for: receipts of releases that did not know it stay good.
        further = ("leave_out_unfit",) * self.leave_out_unfit + (() if self.kind is None else (str(self.kind),))
        further += () if self.consent is None else (repr(self.consent),)
        options = repr((self.seed, self.strength, self.add, *further)).encode()
        for part in (self.user.to_bytes(), options, *photos):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.digest()
