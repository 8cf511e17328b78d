"""The two nouns of this room: a box and a face."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from facecloak.faces.errors import InvalidBox, InvalidLandmarks

LANDMARK_COUNT = 5
# Photos are at most tens of thousands of px wide: anything beyond is a garbled number, and would only overflow later.
COORDINATE_LIMIT_PX = 1e6


@dataclass(frozen=True)
class Box:
    """An upright rectangle in pixels of the upright photo; it may reach beyond the photo.

    ``x``, ``y`` is the top left corner. Raises :class:`InvalidBox` where a number is not finite or the area is zero.
    """

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        numbers = (self.x, self.y, self.width, self.height)
        if not all(math.isfinite(number) and abs(number) <= COORDINATE_LIMIT_PX for number in numbers):
            raise InvalidBox("the face box holds a number that is not finite or beyond any photo")
        if self.width <= 0 or self.height <= 0:
            raise InvalidBox("the face box has no area")

    @property
    def area(self) -> float:
        return self.width * self.height

    @property
    def center(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2

    def intersection_area(self, other: Box) -> float:
        """Area shared with ``other``, px squared."""
        width = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        height = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        return max(width, 0.0) * max(height, 0.0)

    def iou(self, other: Box) -> float:
        """Intersection over union with ``other``, 0..1."""
        shared = self.intersection_area(other)
        return shared / (self.area + other.area - shared)


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a photo.

    Attributes:
        box: around the face, forehead to chin; may reach beyond the photo.
        landmarks: (5, 2) float32, x and y in photo px: eye on the image's left, eye on its right, nose tip, mouth
            corner on the image's left, mouth corner on its right. Read-only. Points may lie outside the photo.
        score: the detector's confidence, 0..1.
        mesh: (468, 3) float64 photo px, as :meth:`facecloak.faces.facemesh.FaceMesh.points` gives it, where the finder
            saw it on the way; read-only. None says nothing about the face.
    """

    box: Box
    landmarks: np.ndarray
    score: float
    mesh: np.ndarray | None = None

    def __post_init__(self) -> None:
        landmarks = checked_landmarks(self.landmarks).astype(np.float32)
        landmarks.setflags(write=False)
        object.__setattr__(self, "landmarks", landmarks)
        if self.mesh is not None:
            mesh = np.array(self.mesh, np.float64)
            mesh.setflags(write=False)
            object.__setattr__(self, "mesh", mesh)

    @property
    def eye_distance_px(self) -> float:
        """Distance between the two eyes in photo px."""
        return float(np.linalg.norm(self.landmarks[1] - self.landmarks[0]))


def checked_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """A (5, 2) float64 copy of ``landmarks``; raises :class:`InvalidLandmarks` unless they are finite and apart."""
    points = np.array(landmarks, dtype=np.float64)
    if points.shape != (LANDMARK_COUNT, 2):
        raise InvalidLandmarks("five landmarks of x and y are needed", shape=points.shape)
    xs, ys = points.T.tolist()
    if not all(abs(number) <= COORDINATE_LIMIT_PX for number in (*xs, *ys)):  # nor is a number that is none
        raise InvalidLandmarks("the landmarks hold a number that is not finite or beyond any photo")
    if max(max(xs) - min(xs), max(ys) - min(ys)) < 1e-3:
        raise InvalidLandmarks("the landmarks all lie in one place")
    return points
