"""Faces between protobuf and domain, for both services."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from google.protobuf import any_pb2

from facecloak.errors import FaceCloakError
from facecloak.faces import ALIGNED_SIZE, Face, aligning_transform
from facecloak.faces.align import scale_of
from facecloak.v1 import common_pb2
from facecloak_rpc.boxes import box_from, box_to

POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
"""The fields of FaceLandmarks, in the order of the domain's five landmarks."""


def face_to(face: Face) -> common_pb2.Face:
    """A face as an answer has it."""
    return common_pb2.Face(
        box=box_to(face.box),
        landmarks=landmarks_to(face.landmarks),
        score=face.score,
        side=ALIGNED_SIZE / scale_of(aligning_transform(face.landmarks)),
    )


def face_from(message: common_pb2.Face) -> Face:
    """The other way of :func:`face_to`. Raises InvalidInput, InvalidLandmarks for what is no face."""
    points = [(getattr(message.landmarks, name).x, getattr(message.landmarks, name).y) for name in POINTS]
    return Face(box_from(message.box, field="face.box"), np.array(points, np.float32), message.score)


def found_to(faces: Sequence[Face]) -> common_pb2.FacesFound:
    """The detail of an error that says that a face must be chosen."""
    return common_pb2.FacesFound(faces=[face_to(face) for face in faces])


def faces_in(error: FaceCloakError) -> tuple[Face, ...]:
    """The faces that an error says are to be chosen from, raised here or by a server; none for other errors."""
    found = common_pb2.FacesFound()
    for detail in getattr(error, "details", ()):
        if isinstance(detail, any_pb2.Any) and detail.Unpack(found):
            return tuple(face_from(face) for face in found.faces)
    return tuple(getattr(error, "faces", ()))


def landmarks_to(landmarks: np.ndarray) -> common_pb2.FaceLandmarks:
    """Five landmarks (5, 2) as a message."""
    points = {name: common_pb2.Point(x=float(x), y=float(y)) for name, (x, y) in zip(POINTS, landmarks, strict=True)}
    return common_pb2.FaceLandmarks(**points)
