"""What the enrollment service does, without gRPC: enroll, describe, delete. Servicer and CLI both call this."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from enroll_service.errors import ConsentRequired
from enroll_service.jobs.job import Subscriber
from enroll_service.jobs.request import Enrollment, EnrollmentRequest
from enroll_service.jobs.runner import EnrollmentJobs
from enroll_service.pipeline.intake.photo import check_photo_count
from enroll_service.validation import PhotoChecks, Validation
from facecloak.errors import InvalidInput
from facecloak.photos import DEFAULT_LIMITS, PhotoLimits, PhotoTooLarge
from facecloak.photos.memory import pixels_of
from facecloak.stores import DeletionReceipt, MaskPage, MaskStore
from facecloak.users import User
from facecloak_rpc.audit import Audit, NoAudit
from facecloak_rpc.refusals import Refusals

SEED_LIMIT = 2**32
DEFAULT_PAGE_SIZE = 100


class Enrollments:
    """Enrolls users and keeps their masks in a store."""

    def __init__(
        self,
        *,
        jobs: EnrollmentJobs,
        checks: PhotoChecks,
        store: MaskStore,
        photo_bytes_limit: int,
        photo_pixels_limit: int,
        photo_limits: PhotoLimits = DEFAULT_LIMITS,
        consent_required: bool = False,
        audit: Audit | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        """``photo_bytes_limit`` and ``photo_pixels_limit`` bound the sums of one request's photos,
        ``photo_limits`` each of them; ``consent_required``: whether a request needs a consent record.
        Closes ``audit`` and ``refusals``."""
        self._consent_required = consent_required
        self._audit = audit or NoAudit()
        self.refusals = refusals or Refusals(self._audit)
        """Where refused calls are counted."""
        self._jobs = jobs
        self._checks = checks
        self._store = store
        self._photo_bytes_limit = photo_bytes_limit
        self._photo_pixels_limit = photo_pixels_limit
        self._photo_limits = photo_limits

    def enroll(self, request: EnrollmentRequest) -> Subscriber:
        """Queues the request or joins the one of the same request id; iterate what it returns.

        Raises:
            InvalidInput: user id, number or size of the photos, or seed out of range.
            ConsentRequired, ConsentInvalid: there is no consent record, or one that does not hold now.
            Overloaded, RequestIdReused, ShuttingDown: see :meth:`EnrollmentJobs.submit`.
        """
        with self.refusals.counted("EnrollUser", request.caller, request.user):
            self._require_valid(request)
            return self._jobs.submit(request)

    def validate(self, request: EnrollmentRequest, *, cancelled: Callable[[], bool]) -> Validation:
        """Whether the request would be enrolled now, as far as can be told without a recognizer. Stores nothing.

        Raises: what :meth:`enroll`, or the work that it begins, would; and Overloaded where too many are looked at.
        """
        self._require_valid(request)
        earlier = self._jobs.validate(request)
        return self._checks.look(replace(request, earlier=earlier), cancelled=cancelled)

    def _require_valid(self, request: EnrollmentRequest) -> None:
        count, size = len(request.photos), sum(len(photo.data) for photo in request.photos)
        check_photo_count(count)
        if size > self._photo_bytes_limit:
            limit = self._photo_bytes_limit
            raise InvalidInput("the photos are too large together", field="photos", max_bytes=limit, bytes=size)
        self._check_pixels(request)
        if request.seed is not None and not 0 <= request.seed < SEED_LIMIT:
            raise InvalidInput("the seed must be 0 to 2^32 - 1", field="seed", limit=SEED_LIMIT - 1)
        if request.consent is not None:
            request.consent.require_present()
        elif self._consent_required:
            raise ConsentRequired("a consent record is required", field="consent")

    def _check_pixels(self, request: EnrollmentRequest) -> None:
        """A file of a few bytes may become as many pixels as a photo may have: told before any is decoded."""
        pixels = 0
        for photo in request.photos:
            with suppress(PhotoTooLarge):  # the pipeline's to refuse, or to leave out
                pixels += pixels_of(photo.data, limits=self._photo_limits)
        if pixels > self._photo_pixels_limit:
            limit = self._photo_pixels_limit
            raise InvalidInput(
                "the photos have too many pixels together", field="photos", max_pixels=limit, pixels=pixels
            )

    def get(self, user: User) -> Enrollment:
        """Describes the user's stored mask. Raises MaskNotFound."""
        return Enrollment.of(self._store.get(user))

    def list(self, tenant: str, *, page_size: int = 0, page_token: str = "") -> MaskPage:
        """A page of the tenant's enrollments; ``page_size`` 0 is DEFAULT_PAGE_SIZE.

        Raises:
            InvalidInput: a page size beyond the limit, or a token that this tenant was not given here.
            AuditUnavailable: what is told could not be noted.
        """
        return self._store.list_masks(tenant, limit=page_size or DEFAULT_PAGE_SIZE, token=page_token)

    def delete(self, user: User) -> DeletionReceipt:
        """Deletes the user's mask and stops the user's enrollments; returns what was done, signed."""
        return self._jobs.forget(user, then=lambda: self._store.erase(user))

    def probe(self) -> None:
        """Raises unless the store answers."""
        self._store.probe()

    def close(self) -> None:
        """Cancels what runs and waits for it."""
        self._jobs.close()
        self.refusals.close()
        self._audit.close()
