"""Why an enrollment is refused or ends early."""

from __future__ import annotations

from collections.abc import Sequence

from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.faces import Face


class EnrollmentRefused(FaceCloakError):
    """The photos do not qualify. ``metadata["photo"]`` is the index (from 0) of the photo at fault."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "ENROLLMENT_REFUSED"


class NoFace(EnrollmentRefused):
    reason = "NO_FACE"


class SeveralFaces(EnrollmentRefused):
    """Whose face it is would be a guess. ``faces`` are those of the photo, largest first, for the caller to choose."""

    reason = "SEVERAL_FACES"

    def __init__(self, public_message: str, /, *, found: Sequence[Face], **metadata: object) -> None:
        super().__init__(public_message, faces=len(found), **metadata)
        self.faces = tuple(found)


class PhotoAlreadyCloaked(EnrollmentRefused):
    """The photo carries our own tag: what would be learned from it is the masked face."""

    reason = "PHOTO_ALREADY_CLOAKED"


class FaceTooSmall(EnrollmentRefused):
    reason = "FACE_TOO_SMALL"


class FaceBlurred(EnrollmentRefused):
    reason = "FACE_BLURRED"


class FaceCutOff(EnrollmentRefused):
    reason = "FACE_CUT_OFF"


class NotSamePerson(EnrollmentRefused):
    """``photos`` in the metadata lists all that differ, ``photo`` is the first; neither is there where no person is in
    more than half of the photos (of two that differ, nobody can say which one is wrong)."""

    reason = "NOT_SAME_PERSON"


class SynthesizerUnavailable(FaceCloakError):
    """The synthesizer that the settings name cannot be had here: weights, a recognizer or a GPU are missing."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "SYNTHESIZER_UNAVAILABLE"


class SynthesisFailed(FaceCloakError):
    """A generative synthesizer drew nothing that shows the person. Other photos or another synthesizer may help."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "SYNTHESIS_FAILED"


class RecipeUnusable(FaceCloakError):
    """The recipe's file is missing, damaged, or says what this release does not know."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "RECIPE_UNUSABLE"


class MaskNotRefinable(FaceCloakError):
    """The stored mask cannot be carried on with these photos: it lies in another frame. Enrolling anew works."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "MASK_NOT_REFINABLE"


class EnrollmentCancelled(FaceCloakError):
    """The caller went away or took the request back; nothing was stored."""

    code = ErrorCode.CANCELLED
    reason = "ENROLLMENT_CANCELLED"
