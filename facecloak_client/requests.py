"""The messages of the calls, made from what programs have at hand."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime

from facecloak.v1 import apply_pb2, common_pb2, enroll_pb2

SubjectLike = str | apply_pb2.Subject
"""A user id, or a subject with a hint: see :func:`subject`."""

PhotoLike = bytes | enroll_pb2.EnrollmentPhoto
"""A file's bytes, or those with which face it is: see :func:`photo`."""


TICKET_HEADER = "x-facecloak-ticket"
"""Metadata that upload tickets travel in."""


def new_request_id() -> str:
    """A random request id, which names one call."""
    return uuid.uuid4().hex


def subject(
    user_id: str, *, box: common_pb2.FaceBox | None = None, landmarks: common_pb2.FaceLandmarks | None = None
) -> apply_pb2.Subject:
    """Whose face is to be cloaked, and where it is: a face's box or, better and quicker, its five points."""
    if box is not None and landmarks is not None:
        raise ValueError("give box or landmarks, not both")
    if box is None and landmarks is None:
        return apply_pb2.Subject(user_id=user_id)
    hint = common_pb2.FaceHint(box=box) if box is not None else common_pb2.FaceHint(landmarks=landmarks)
    return apply_pb2.Subject(user_id=user_id, face=hint)


def photo(data: bytes, *, face: common_pb2.FaceBox | None = None) -> enroll_pb2.EnrollmentPhoto:
    """A photo to learn from, and which face is the user's where it shows several."""
    return enroll_pb2.EnrollmentPhoto(data=data, face=face)


def consent(
    text_version: str, *, purpose: str, given_at: datetime, expires_at: datetime | None = None
) -> enroll_pb2.ConsentRecord:
    """A person's consent to be enrolled: the version of the text that was shown, the purpose, when it was given and, if
    it expires, when. Raises ValueError for a time without a time zone."""
    record = enroll_pb2.ConsentRecord(text_version=text_version, purpose=purpose)
    for instant, field in ((given_at, record.given_at), (expires_at, record.expires_at)):
        if instant is not None:
            if instant.utcoffset() is None:
                raise ValueError("a time of a consent needs a zone")
            field.FromDatetime(instant.astimezone(UTC))
    return record


def ticket_metadata(tickets: str | Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Upload tickets, one for each user whom a call names, as its metadata."""
    given = [tickets] if isinstance(tickets, str) else tickets
    return tuple((TICKET_HEADER, ticket) for ticket in given)


def apply_request(
    data: bytes,
    subjects: SubjectLike | Iterable[SubjectLike],
    *,
    require_cloaked: bool = True,
    recloak: bool = False,
    request_id: str = "",
) -> apply_pb2.ApplyCloakRequest:
    """A photo to cloak. Unless ``require_cloaked`` is False, a photo that comes back is safe to publish."""
    given = [subjects] if isinstance(subjects, str | apply_pb2.Subject) else list(subjects)
    return apply_pb2.ApplyCloakRequest(
        request_id=request_id,
        photo=data,
        subjects=[subject(one) if isinstance(one, str) else one for one in given],
        require_cloaked=require_cloaked,
        recloak=recloak,
    )


def enroll_request(
    user_id: str,
    photos: PhotoLike | Iterable[PhotoLike],
    *,
    options: enroll_pb2.EnrollOptions | None = None,
    consent: enroll_pb2.ConsentRecord | None = None,
    request_id: str = "",
    validate_only: bool = False,
) -> enroll_pb2.EnrollUserRequest:
    """Photos to learn a mask from. Without a request id it gets a random one, so that the call can be repeated."""
    given = [photos] if isinstance(photos, bytes | enroll_pb2.EnrollmentPhoto) else list(photos)
    return enroll_pb2.EnrollUserRequest(
        request_id=request_id or new_request_id(),
        user_id=user_id,
        photos=[photo(one) if isinstance(one, bytes) else one for one in given],
        options=options,
        validate_only=validate_only,
        consent=consent,
    )
