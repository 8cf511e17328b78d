"""The one place where the apply service's protobuf messages and domain types meet."""

from __future__ import annotations

import numpy as np

from facecloak.cloaking.cloaker import CloakResult, Subject, SubjectResult
from facecloak.errors import InvalidInput
from facecloak.faces import Face
from facecloak.limits import MAX_SUBJECTS, check_request_id, check_user_id
from facecloak.v1 import apply_pb2, common_pb2
from facecloak_rpc.boxes import box_from, box_to, is_coordinate

_POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")


def subjects_from(request: apply_pb2.ApplyCloakRequest) -> tuple[Subject, ...]:
    """Raises InvalidInput where the request id, the number of subjects, a user id or a hint is malformed."""
    check_request_id(request.request_id)
    count = len(request.subjects)
    if not 1 <= count <= MAX_SUBJECTS:
        raise InvalidInput(f"give 1 to {MAX_SUBJECTS} subjects", field="subjects", limit=MAX_SUBJECTS, count=count)
    if len({subject.user_id for subject in request.subjects}) < count:
        raise InvalidInput("every subject needs its own user id", field="subjects.user_id")
    return tuple(_subject_from(subject) for subject in request.subjects)


def request_to(photo: bytes, subjects: tuple[Subject, ...]) -> apply_pb2.ApplyCloakRequest:
    """The client's side of :func:`subjects_from`."""
    messages = []
    for subject in subjects:
        message = apply_pb2.Subject(user_id=subject.user_id)
        if subject.landmarks is not None:
            message.face.landmarks.CopyFrom(_landmarks_to(subject.landmarks))
        elif subject.box is not None:
            message.face.box.CopyFrom(box_to(subject.box))
        messages.append(message)
    return apply_pb2.ApplyCloakRequest(photo=photo, subjects=messages)


def response_to(result: CloakResult, *, request_id: str) -> apply_pb2.ApplyCloakResponse:
    """The answer to one photo."""
    return apply_pb2.ApplyCloakResponse(
        request_id=request_id,
        photo=result.photo,
        subjects=[_subject_to(subject) for subject in result.subjects],
        encoding_path=f"ENCODING_PATH_{result.encoding_path.name}",
        dropped_metadata=result.dropped,
    )


def outcomes_from(response: apply_pb2.ApplyCloakResponse) -> dict[str, str]:
    """User id -> outcome as the domain names it, for clients."""
    prefix = "CLOAK_OUTCOME_"
    return {s.user_id: apply_pb2.CloakOutcome.Name(s.outcome).removeprefix(prefix) for s in response.subjects}


def _subject_from(message: apply_pb2.Subject) -> Subject:
    check_user_id(message.user_id, field="subjects.user_id")
    hint = message.face.WhichOneof("hint")
    if hint == "box":
        return Subject(user_id=message.user_id, box=box_from(message.face.box, field="subjects.face.box"))
    if hint == "landmarks":
        return Subject(user_id=message.user_id, landmarks=_landmarks_from(message.face.landmarks))
    return Subject(user_id=message.user_id)


def _landmarks_from(message: common_pb2.FaceLandmarks) -> np.ndarray:
    if not all(message.HasField(name) for name in _POINTS):
        raise InvalidInput("all five landmarks are needed", field="subjects.face.landmarks")
    points = [(getattr(message, name).x, getattr(message, name).y) for name in _POINTS]
    if not all(is_coordinate(value) for point in points for value in point):
        raise InvalidInput("landmarks need finite coordinates", field="subjects.face.landmarks")
    return np.array(points, np.float32)


def _subject_to(result: SubjectResult) -> apply_pb2.SubjectResult:
    return apply_pb2.SubjectResult(
        user_id=result.user_id,
        # Same names on both sides; protobuf raises ValueError for one that the proto lacks.
        outcome=f"CLOAK_OUTCOME_{result.outcome.name}",
        face=_face_to(result.face) if result.face is not None else None,
        mask_id=result.mask_id or "",
    )


def _face_to(face: Face) -> apply_pb2.Face:
    return apply_pb2.Face(box=box_to(face.box), landmarks=_landmarks_to(face.landmarks))


def _landmarks_to(landmarks: np.ndarray) -> common_pb2.FaceLandmarks:
    points = {name: common_pb2.Point(x=float(x), y=float(y)) for name, (x, y) in zip(_POINTS, landmarks, strict=True)}
    return common_pb2.FaceLandmarks(**points)
