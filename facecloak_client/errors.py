"""What a call can fail with: one class a reason, below one class a status code.

Decide by the class, never by the text. A reason that this release does not know is of its code's class. All reasons,
with what to do about them, are in protos/facecloak/v1/common.proto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import grpc
from google.protobuf import any_pb2

from facecloak.v1 import apply_pb2, common_pb2


class CallFailed(Exception):
    """A call that ended without an answer.

    Attributes:
        code: the gRPC status code.
        reason: stable name of the exact cause, such as NO_FACE; the code's name where no FaceCloak service answered.
        message: a sentence for a person.
        metadata: facts about the error, such as the limit that was exceeded.
        retry_after_s: seconds after which the service asks to be called again; None where it does not say.
        request_id: finds the call in the service's log; "" where no service answered.
        details: the status' details as they came.
    """

    known_reason: ClassVar[str] = ""
    """The reason that the class stands for; "" where it stands for a code."""

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode,
        reason: str,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        request_id: str = "",
        details: Sequence[any_pb2.Any] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        self.details = tuple(details)

    def __str__(self) -> str:
        return f"{self.message} ({self.reason})"

    @property
    def is_retryable(self) -> bool:
        """Whether the same call may succeed later. The client has tried again already, as often as it was told to."""
        return self.code in RETRYABLE_CODES


RETRYABLE_CODES = frozenset({grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE})
"""After these a call may be repeated as it is."""


# By code: what to do.


class InvalidRequest(CallFailed):
    """The request is wrong and will stay wrong; mend it."""


class NotFound(CallFailed):
    """There is no such thing."""


class PreconditionFailed(CallFailed):
    """The request is well formed, but what it holds does not qualify, or the service is set up wrongly."""


class Aborted(CallFailed):
    """Another call got in the way."""


class LimitReached(CallFailed):
    """A limit on load was reached; try again later."""


class Unavailable(CallFailed):
    """Something that the service needs does not answer, or the service itself; try again."""


class DeadlineExceeded(CallFailed):
    """The time for the call is over; the service stopped working on it."""

    known_reason = "DEADLINE_EXCEEDED"


class Cancelled(CallFailed):
    """The call was cancelled; the service stopped working on it."""

    known_reason = "CANCELLED"


class Unauthenticated(CallFailed):
    """The service does not know who calls: token or client certificate are missing or not good."""


class PermissionDenied(CallFailed):
    """Who calls may not do that."""


class Defect(CallFailed):
    """A defect of the service, a damaged mask or model, or an answer that is none: report the request id."""

    known_reason = "INTERNAL"


# INVALID_ARGUMENT


class InvalidInput(InvalidRequest):
    """A field is missing, malformed or out of range; ``metadata["field"]`` names it."""

    known_reason = "INVALID_INPUT"


class InvalidUserId(InvalidRequest):
    """A user id that is empty, too long, or has control characters."""

    known_reason = "INVALID_USER_ID"


class ConsentInvalid(InvalidRequest):
    """A consent record is malformed, was given in the future, or is over; metadata names the field."""

    known_reason = "CONSENT_INVALID"


class InvalidFaceHint(InvalidRequest):
    """A hint outside the photo, not finite, or five points that form no face."""

    known_reason = "INVALID_FACE_HINT"


class PhotoRefused(InvalidRequest):
    """A file that is no photo that the services take."""


class PhotoTooLarge(PhotoRefused):
    """More bytes or pixels, or a longer side, than the service takes."""

    known_reason = "PHOTO_TOO_LARGE"


class PhotoTruncated(PhotoRefused):
    """The file ends early."""

    known_reason = "PHOTO_TRUNCATED"


class PhotoDamaged(PhotoRefused):
    """The file contradicts itself."""

    known_reason = "PHOTO_DAMAGED"


class UnsupportedPhoto(PhotoRefused):
    """Not a JPEG, PNG or WebP file."""

    known_reason = "UNSUPPORTED_PHOTO"


class UnsupportedColorMode(PhotoRefused):
    """CMYK, or a bit depth that cannot be cloaked faithfully."""

    known_reason = "UNSUPPORTED_COLOR_MODE"


class AnimatedPhoto(PhotoRefused):
    """More than one frame."""

    known_reason = "ANIMATED_PHOTO"


# NOT_FOUND


class MaskNotFound(NotFound):
    """This user is not enrolled."""

    known_reason = "MASK_NOT_FOUND"


class ConsentExpired(NotFound):
    """There is a mask, and the consent that it was made with is over."""

    known_reason = "CONSENT_EXPIRED"


# FAILED_PRECONDITION


class EnrollmentRefused(PreconditionFailed):
    """A photo that does not qualify for an enrollment."""

    @property
    def photo(self) -> int | None:
        """Index, from 0, of the photo at fault; None where no single one is."""
        index = self.metadata.get("photo", "")
        return int(index) if index.isdecimal() else None


class NoFace(EnrollmentRefused):
    """A photo shows no face."""

    known_reason = "NO_FACE"


class SeveralFaces(EnrollmentRefused):
    """A photo shows several faces: send the box of one of :attr:`faces` with it."""

    known_reason = "SEVERAL_FACES"

    @property
    def faces(self) -> Sequence[common_pb2.Face]:
        """The faces to choose from, largest first."""
        found = common_pb2.FacesFound()
        return next((tuple(found.faces) for detail in self.details if detail.Unpack(found)), ())


class FaceTooSmall(EnrollmentRefused):
    """The metadata names what was found and what is needed."""

    known_reason = "FACE_TOO_SMALL"


class FaceBlurred(EnrollmentRefused):
    """Too little detail in the face."""

    known_reason = "FACE_BLURRED"


class FaceCutOff(EnrollmentRefused):
    """The face leaves the photo."""

    known_reason = "FACE_CUT_OFF"


class NotSamePerson(EnrollmentRefused):
    """The photos show different people."""

    known_reason = "NOT_SAME_PERSON"


class PhotoAlreadyCloaked(EnrollmentRefused):
    """A photo carries FaceCloak's own tag; send the original."""

    known_reason = "PHOTO_ALREADY_CLOAKED"


class SynthesisFailed(PreconditionFailed):
    """The generative synthesizer drew nothing that shows the person."""

    known_reason = "SYNTHESIS_FAILED"


class SynthesizerUnavailable(PreconditionFailed):
    """Weights, recognizer or GPU of the synthesizer are missing."""

    known_reason = "SYNTHESIZER_UNAVAILABLE"


class MaskNotRefinable(PreconditionFailed):
    """The stored mask lies in another frame than the new photos ask for; enroll anew."""

    known_reason = "MASK_NOT_REFINABLE"


class MaskFormatUnsupported(PreconditionFailed):
    """The user's mask was made by a later release than the service's: tell its operator."""

    known_reason = "MASK_FORMAT_UNSUPPORTED"


class NotCloaked(PreconditionFailed):
    """A photo of which a subject is not cloaked: it must not be published as if it were."""

    known_reason = "NOT_CLOAKED"

    @property
    def subjects(self) -> Sequence[apply_pb2.SubjectResult]:
        """What became of each subject, in the order of the request."""
        detail = apply_pb2.NotCloaked()
        return next((tuple(detail.subjects) for packed in self.details if packed.Unpack(detail)), ())


class RequestIdReused(PreconditionFailed):
    """A request id came again with other content."""

    known_reason = "REQUEST_ID_REUSED"


class ConsentRequired(PreconditionFailed):
    """The operator wants a consent record, and the request has none."""

    known_reason = "CONSENT_REQUIRED"


class WrongKey(PreconditionFailed):
    """The service's key is not the one that sealed the mask store: tell its operator."""

    known_reason = "WRONG_KEY"


# ABORTED


class EnrollmentOvertaken(Aborted):
    """The mask to be refined, or the one that this request id made, was replaced meanwhile; nothing was stored."""

    known_reason = "ENROLLMENT_OVERTAKEN"


class UserDeleted(Aborted):
    """The user was deleted since the mask was asked for; nothing was stored."""

    known_reason = "USER_DELETED"


# RESOURCE_EXHAUSTED, UNAVAILABLE, DEADLINE_EXCEEDED


class Overloaded(LimitReached):
    """The service has as much to do as it takes."""

    known_reason = "OVERLOADED"


class AuditUnavailable(Unavailable):
    """The audit log cannot be written: nothing was stored; a deletion was done."""

    known_reason = "AUDIT_UNAVAILABLE"


class KeyServerUnavailable(Unavailable):
    """The server that holds the masks' keys does not answer."""

    known_reason = "KEY_SERVER_UNAVAILABLE"


class StoreUnavailable(Unavailable):
    """The mask store does not answer, or not as one would."""

    known_reason = "STORE_UNAVAILABLE"


class DecoderUnavailable(Unavailable):
    """No process can be had that decodes photos."""

    known_reason = "DECODER_UNAVAILABLE"


class ShuttingDown(Unavailable):
    """The service is about to stop."""

    known_reason = "SHUTTING_DOWN"


class RequestIncomplete(DeadlineExceeded):
    """The call's message did not come in within the time that the service waits for it."""

    known_reason = "REQUEST_INCOMPLETE"


# Who calls, and how often.


class CredentialsMissing(Unauthenticated):
    """Neither a token nor a client certificate came with the call, and the service asks for one."""

    known_reason = "CREDENTIALS_MISSING"


class CredentialsInvalid(Unauthenticated):
    """A token or a certificate came, and proves nothing: malformed, ended, meant for others, or of an unknown key."""

    known_reason = "CREDENTIALS_INVALID"


class CallerUnknown(PermissionDenied):
    """The operator has given this caller neither a tenant nor rights."""

    known_reason = "CALLER_UNKNOWN"


class RightMissing(PermissionDenied):
    """The caller may not call this method; ``metadata["right"]`` names the right that it asks for."""

    known_reason = "RIGHT_MISSING"


class TicketMissing(PermissionDenied):
    """No upload ticket came for this user and this very photo."""

    known_reason = "TICKET_MISSING"


class TicketInvalid(PermissionDenied):
    """An upload ticket is malformed, ended, or signed by nobody who may."""

    known_reason = "TICKET_INVALID"


class RateLimited(LimitReached):
    """This caller calls more often than it may, all in all or for this user."""

    known_reason = "RATE_LIMITED"


class ShareExceeded(LimitReached):
    """This caller, or its tenant, has as many calls waiting or in work as it may."""

    known_reason = "SHARE_EXCEEDED"


class TokenKeysUnavailable(Unavailable):
    """The keys that tokens are checked by cannot be had."""

    known_reason = "TOKEN_KEYS_UNAVAILABLE"
