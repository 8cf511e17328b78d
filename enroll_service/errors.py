"""Errors of the enrollment service itself; those of the photos and of the learning live beside their code."""

from __future__ import annotations

from facecloak.errors import ErrorCode, FaceCloakError


class ConsentRequired(FaceCloakError):
    """The service enrolls nobody without a consent record, and the request has none."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "CONSENT_REQUIRED"


class RequestIdReused(FaceCloakError):
    """A request id came again with other content."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "REQUEST_ID_REUSED"


class EnrollmentOvertaken(FaceCloakError):
    """The mask that was to be refined was replaced meanwhile; nothing was stored. The call can be repeated."""

    code = ErrorCode.ABORTED
    reason = "ENROLLMENT_OVERTAKEN"
