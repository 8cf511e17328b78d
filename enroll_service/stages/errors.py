"""Why an enrolment is refused or ends early."""

from __future__ import annotations

from facecloak.errors import ErrorCode, FaceCloakError


class EnrollmentRefused(FaceCloakError):
    """The photos do not qualify. ``metadata["photo"]`` is the index (from 0) of the photo at fault."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "ENROLLMENT_REFUSED"


class NoFace(EnrollmentRefused):
    reason = "NO_FACE"


class SeveralFaces(EnrollmentRefused):
    reason = "SEVERAL_FACES"


class FaceTooSmall(EnrollmentRefused):
    reason = "FACE_TOO_SMALL"


class FaceBlurred(EnrollmentRefused):
    reason = "FACE_BLURRED"


class FaceCutOff(EnrollmentRefused):
    reason = "FACE_CUT_OFF"


class NotSamePerson(EnrollmentRefused):
    reason = "NOT_SAME_PERSON"


class EnrollmentCancelled(FaceCloakError):
    """The caller went away or took the request back; nothing was stored."""

    code = ErrorCode.CANCELLED
    reason = "ENROLLMENT_CANCELLED"
