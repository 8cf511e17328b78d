"""Placing the face that a detector saw or a caller told of, and the second opinion on whether it is one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facecloak.faces.align import aligning_transform, inverse_transform, scale_of, transform_points
from facecloak.faces.detector import Detection
from facecloak.faces.errors import InvalidLandmarks
from facecloak.faces.face import Box, Face
from facecloak.faces.facemesh import FaceMesh, five_of_mesh
from facecloak.faces.landmarks import (
    FivePoints,
    Settled,
    distance_px,
    refined_landmarks,
    settled_landmarks,
    strays,
    unbiased,
)
from facecloak.faces.views import WorkingCopy, chained, close_up

_MIN_PRESENCE = 0.5
SURE_SCORE = 0.7
"""How sure a detector is of a face that is surely none of its mistakes."""
# Where detector and mesh are both in doubt and the landmarks do not rest, there is no face, but a drawing, leaves, or a
# part of a face. Of 1076 faces in 940 news photos this refuses three, none of them placed on a face's own landmarks. In
# four more both are in doubt, of faces that the photo's edge cuts; their landmarks move by 1.9 px at most.
_DOUBTFUL_PRESENCE = 0.95
_DOUBTFUL_MOVED_PX = 3.0
# On 742 LFW faces the two landmark networks part by 1.2 px in the median, 5.5 in one of a hundred, 8.7 at most.
_MAX_DISAGREEMENT_PX = 12.0
# Landmarks from a caller's box that rest, and that the mesh sees within this of the same place, are the face's.
# Measured with 1040 boxes of 20 people, up to 60 % of their side off and 0.5 to 2.5 times as large, some faces tilted
# by up to 45 degrees: 911 are so, and their landmarks at most 0.3 px from the face's own; of 56 others that the mesh
# takes for a face, 31 are 20 px and more away.
_SURE_PX = 4.0
_SURE_MOVED_PX = 1.0
# All others must come out the same when sought from where the mesh sees the face.
_MAX_RESTART_PX = 1.0
# The face in the aligned crop, forehead to chin: median of MTCNN's and fr_detect's boxes around LFW faces.
_FACE_IN_CROP = Box(17.0, 10.0, 77.0, 108.0)


@dataclass(frozen=True, eq=False)
class PlacedFace:
    """A face, and whether its landmarks rest where the mesh sees them, too."""

    face: Face
    is_sure: bool


@dataclass(frozen=True, eq=False)
class SeenByMesh:
    """A face that the mesh confirms: all its points, the five landmarks among them as the mesh places them, how far
    these are from those that were asked about, px of the aligned crop, and how surely a face is there, 0..1."""

    mesh: np.ndarray
    landmarks: np.ndarray
    apart_px: float
    presence: float


class FacePlacer:
    """Five landmarks of one face, by one network, and what the face mesh (``mesh``) says to them; without it the
    detector is believed. ``first_side``: of the first look, in sides of a detection without points."""

    def __init__(self, landmarks: FivePoints, mesh: FaceMesh | None, *, first_side: float) -> None:
        self._landmarks = landmarks
        self._mesh = mesh
        self._first_side = first_side

    def placed(
        self, photo: np.ndarray, detection: Detection, *, to_photo: np.ndarray | None = None
    ) -> PlacedFace | None:
        """The face of a detection in ``photo``, or, by ``to_photo``, in the photo that this is a part of."""
        copy = close_up(photo, center=detection.center, side=detection.side)
        near, here = copy.srgb_u8, detection.seen_in(copy)
        settled = self._settled(near, here)
        if settled is None:
            return None
        seen = None if self._mesh is None else self._seen_by(self._mesh, near, settled.points)
        if seen is None and self._mesh is not None:
            return None
        if seen is not None and _is_doubtful(detection, settled, seen):
            return None
        to_whole = copy.to_photo if to_photo is None else chained(copy.to_photo, to_photo)
        mesh = None if seen is None else seen.mesh
        is_sure = settled.moved_px <= _SURE_MOVED_PX and (seen is None or seen.apart_px <= _SURE_PX)
        return PlacedFace(_face_of(settled.points, mesh, to_whole, score=detection.score), is_sure)

    def confirmed(self, settled: Settled, copy: WorkingCopy) -> Face | None:
        """The face of landmarks that a caller's hint led to, where the mesh confirms it."""
        if self._mesh is None:
            return None
        seen = self._seen_by(self._mesh, copy.srgb_u8, settled.points)
        if seen is None or not self._is_stable(copy.srgb_u8, settled, seen):
            return None
        return _face_of(settled.points, seen.mesh, copy.to_photo, score=1.0)

    def mesh_at(self, photo: np.ndarray, points: np.ndarray) -> np.ndarray | None:
        """(468, 3) mesh points of the face with these five landmarks; None where the mesh sees none there."""
        seen = None if self._mesh is None else self._seen_by(self._mesh, photo, points)
        return None if seen is None else seen.mesh

    def _settled(self, near: np.ndarray, detection: Detection) -> Settled | None:
        """The landmarks of a detection: from its own on, where it has any, else from its square on."""
        if detection.points is not None:
            settled = settled_landmarks(near, detection.points, self._landmarks)
            if settled is not None and not strays(settled.points, detection):
                return settled
        return refined_landmarks(near, detection, self._landmarks, first_side=self._first_side)

    @staticmethod
    def _seen_by(mesh: FaceMesh, photo: np.ndarray, points: np.ndarray) -> SeenByMesh | None:
        """What the mesh sees at these landmarks, where that is a face in the same place; else None."""
        try:
            vertices, presence = mesh.points(photo, points)
            landmarks = five_of_mesh(vertices[:, :2])
            apart = distance_px(unbiased(landmarks, mesh), points)
        except InvalidLandmarks:
            return None
        if presence < _MIN_PRESENCE or apart > _MAX_DISAGREEMENT_PX:
            return None
        return SeenByMesh(vertices, landmarks, apart, presence)

    def _is_stable(self, photo: np.ndarray, settled: Settled, seen: SeenByMesh) -> bool:
        """Whether landmarks from a box of unknown fit are the face's: a box far off can lead the looks astray."""
        # Where the mesh itself places the landmarks, it is no second witness.
        if self._landmarks is not self._mesh and seen.apart_px <= _SURE_PX and settled.moved_px <= _SURE_MOVED_PX:
            return True
        again = settled_landmarks(photo, seen.landmarks, self._landmarks)
        return again is not None and distance_px(again.points, settled.points) <= _MAX_RESTART_PX


def _is_doubtful(detection: Detection, settled: Settled, seen: SeenByMesh) -> bool:
    return detection.score < SURE_SCORE and seen.presence < _DOUBTFUL_PRESENCE and settled.moved_px > _DOUBTFUL_MOVED_PX


def _face_of(points: np.ndarray, mesh: np.ndarray | None, to_photo: np.ndarray, *, score: float) -> Face:
    """A face of the photo from landmarks and mesh in px of a copy."""
    placed = transform_points(to_photo, points)
    if mesh is not None:
        mesh = np.hstack([transform_points(to_photo, mesh[:, :2]), mesh[:, 2:] * scale_of(to_photo)])
    box = box_around(inverse_transform(aligning_transform(placed)))
    return Face(box, placed.astype(np.float32), score, mesh)


def box_around(to_photo: np.ndarray) -> Box:
    """An upright box of the face's size about its center: alike for every detector, and for the caller's own box."""
    x, y = transform_points(to_photo, np.array([_FACE_IN_CROP.center]))[0].tolist()
    scale = scale_of(to_photo)
    width, height = _FACE_IN_CROP.width * scale, _FACE_IN_CROP.height * scale
    return Box(x - width / 2, y - height / 2, width, height)
