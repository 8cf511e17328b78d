"""The one place where the apply service's protobuf messages and domain types meet."""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf import any_pb2

from apply_service.errors import NotCloaked
from facecloak.cloaking.cloaker import (
    CloakResult,
    FoundFaces,
    Outcome,
    PhotoNotCloaked,
    PlacementMethod,
    Subject,
    SubjectResult,
)
from facecloak.errors import FaceCloakError, InvalidInput
from facecloak.faces import Face
from facecloak.limits import MAX_SUBJECTS, check_request_id, check_user_id
from facecloak.users import DEFAULT_TENANT
from facecloak.v1 import apply_pb2, common_pb2
from facecloak_rpc.boxes import box_from, box_to, is_coordinate
from facecloak_rpc.faces import POINTS, face_from, face_to, landmarks_to

_PLACEMENTS = {
    PlacementMethod.MESH: apply_pb2.MASK_PLACEMENT_MESH,
    PlacementMethod.LANDMARKS: apply_pb2.MASK_PLACEMENT_LANDMARKS,
    PlacementMethod.SQUARE: apply_pb2.MASK_PLACEMENT_LANDMARKS,
}
_OUTCOME_PREFIX = "CLOAK_OUTCOME_"
_PLACEMENT_PREFIX = "MASK_PLACEMENT_"


def subjects_from(request: apply_pb2.ApplyCloakRequest, *, tenant: str = DEFAULT_TENANT) -> tuple[Subject, ...]:
    """The users of ``tenant`` that the request names.

    Raises InvalidInput where the request id, the number of subjects, a user id or a hint is malformed.
    """
    check_request_id(request.request_id)
    count = len(request.subjects)
    if not 1 <= count <= MAX_SUBJECTS:
        raise InvalidInput(f"give 1 to {MAX_SUBJECTS} subjects", field="subjects", limit=MAX_SUBJECTS, count=count)
    if len({subject.user_id for subject in request.subjects}) < count:
        raise InvalidInput("every subject needs its own user id", field="subjects.user_id")
    return tuple(_subject_from(subject, tenant=tenant) for subject in request.subjects)


def request_to(
    photo: bytes, subjects: tuple[Subject, ...], *, require_cloaked: bool = False, recloak: bool = False
) -> apply_pb2.ApplyCloakRequest:
    """The client's side of :func:`subjects_from`."""
    messages = []
    for subject in subjects:
        message = apply_pb2.Subject(user_id=subject.user_id)
        if subject.landmarks is not None:
            message.face.landmarks.CopyFrom(landmarks_to(subject.landmarks))
        elif subject.box is not None:
            message.face.box.CopyFrom(box_to(subject.box))
        messages.append(message)
    return apply_pb2.ApplyCloakRequest(photo=photo, subjects=messages, require_cloaked=require_cloaked, recloak=recloak)


def response_to(result: CloakResult, *, request_id: str) -> apply_pb2.ApplyCloakResponse:
    """The answer to one photo."""
    return apply_pb2.ApplyCloakResponse(
        request_id=request_id,
        photo=result.photo,
        subjects=[_subject_to(subject) for subject in result.subjects],
        encoding_path=f"ENCODING_PATH_{result.encoding_path.name}",
        dropped_metadata=result.dropped,
        c2pa_signed=result.c2pa_signed,
    )


def require_cloaked(result: CloakResult) -> None:
    """Raises NotCloaked, with every subject's outcome, unless all are cloaked."""
    try:
        result.require_cloaked()
    except PhotoNotCloaked as error:
        subjects = apply_pb2.NotCloaked(subjects=[_subject_to(subject) for subject in result.subjects])
        raise NotCloaked(error, details=(subjects,)) from error


def faces_to(found: FoundFaces, *, request_id: str) -> apply_pb2.FindFacesResponse:
    """The answer to one search."""
    faces = [face_to(face) for face in found.faces]
    return apply_pb2.FindFacesResponse(request_id=request_id, width=found.width, height=found.height, faces=faces)


def faces_from(response: apply_pb2.FindFacesResponse) -> FoundFaces:
    """The client's side of :func:`faces_to`."""
    return FoundFaces(response.width, response.height, tuple(face_from(face) for face in response.faces))


def subject_result_from(message: apply_pb2.SubjectResult) -> SubjectResult:
    """The client's side of what an answer says of one subject.

    Raises ValueError for an outcome that this release does not know.
    """
    return SubjectResult(
        user_id=message.user_id,
        outcome=Outcome(apply_pb2.CloakOutcome.Name(message.outcome).removeprefix(_OUTCOME_PREFIX)),
        face=face_from(message.face) if message.HasField("face") else None,
        mask_id=message.mask_id or None,
        placement_method=next((method for method, number in _PLACEMENTS.items() if number == message.placement), None),
        strength=message.strength if message.placement else None,
        advice=message.advice,
        faces=tuple(face_from(face) for face in message.faces),
    )


def not_cloaked_from(error: FaceCloakError) -> list[apply_pb2.SubjectResult] | None:
    """What an error with the reason NOT_CLOAKED, raised here or by a server, says of the subjects; None for others."""
    detail = apply_pb2.NotCloaked()
    for message in getattr(error, "details", ()):
        if isinstance(message, apply_pb2.NotCloaked):
            return list(message.subjects)
        if isinstance(message, any_pb2.Any) and message.Unpack(detail):
            return list(detail.subjects)
    return None


def record_of(response: apply_pb2.ApplyCloakResponse) -> dict[str, Any]:
    """What was done to a photo of one subject, as JSON has it."""
    message = response.subjects[0]
    result = subject_result_from(message)
    placed = message.placement != apply_pb2.MASK_PLACEMENT_UNSPECIFIED
    return {
        "outcome": result.outcome.value,
        "face": face_record(result.face) if result.face is not None else None,
        "placement": apply_pb2.MaskPlacement.Name(message.placement).removeprefix(_PLACEMENT_PREFIX)
        if placed
        else None,
        "strength": message.strength if placed else None,
        "mask_id": result.mask_id,
        "encoding_path": apply_pb2.EncodingPath.Name(response.encoding_path).removeprefix("ENCODING_PATH_"),
        "dropped_metadata": list(response.dropped_metadata),
        "c2pa_signed": response.c2pa_signed,
        "advice": result.advice,
        "faces": [face_record(face) for face in result.faces],
    }


def face_record(face: Face) -> dict[str, Any]:
    """A face as JSON has it: box x, y, width, height and five points x, y, px of the upright photo."""
    box = face.box
    return {
        "box": [round(number, 2) for number in (box.x, box.y, box.width, box.height)],
        "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in face.landmarks],
        "score": round(face.score, 4),
    }


def outcomes_from(response: apply_pb2.ApplyCloakResponse) -> dict[str, str]:
    """User id -> outcome as the domain names it, for clients."""
    return {s.user_id: apply_pb2.CloakOutcome.Name(s.outcome).removeprefix(_OUTCOME_PREFIX) for s in response.subjects}


def _subject_from(message: apply_pb2.Subject, *, tenant: str) -> Subject:
    check_user_id(message.user_id, field="subjects.user_id")
    hint = message.face.WhichOneof("hint")
    if hint == "box":
        box = box_from(message.face.box, field="subjects.face.box")
        return Subject(user_id=message.user_id, tenant=tenant, box=box)
    if hint == "landmarks":
        return Subject(user_id=message.user_id, tenant=tenant, landmarks=_landmarks_from(message.face.landmarks))
    return Subject(user_id=message.user_id, tenant=tenant)


def _landmarks_from(message: common_pb2.FaceLandmarks) -> np.ndarray:
    if not all(message.HasField(name) for name in POINTS):
        raise InvalidInput("all five landmarks are needed", field="subjects.face.landmarks")
    points = [(getattr(message, name).x, getattr(message, name).y) for name in POINTS]
    if not all(is_coordinate(value) for point in points for value in point):
        raise InvalidInput("landmarks need finite coordinates", field="subjects.face.landmarks")
    return np.array(points, np.float32)


def _subject_to(result: SubjectResult) -> apply_pb2.SubjectResult:
    return apply_pb2.SubjectResult(
        user_id=result.user_id,
        # Same names on both sides; protobuf raises ValueError for one that the proto lacks.
        outcome=f"{_OUTCOME_PREFIX}{result.outcome.name}",
        face=face_to(result.face) if result.face is not None else None,
        mask_id=result.mask_id or "",
        placement=_PLACEMENTS[result.placement_method]
        if result.placement_method is not None
        else apply_pb2.MASK_PLACEMENT_UNSPECIFIED,
        strength=result.strength or 0.0,
        advice=result.advice,
        faces=[face_to(face) for face in result.faces],
    )
