"""The service's face finder: boxes, then five landmarks, then the landmarks again on the upright face."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facecloak.faces.detector import FrDetector
from facecloak.faces.errors import InvalidBox
from facecloak.faces.face import Box, Face
from facecloak.faces.landmarks import FrLandmarks
from facecloak.faces.pixels import checked_photo


class FaceFinder:
    """Finds faces and their five landmarks in a photo. Holds no state between calls; safe to share between threads."""

    def __init__(self, detector: FrDetector, landmarks: FrLandmarks) -> None:
        self._detector = detector
        self._landmarks = landmarks
        self.identity = f"{detector.identity}+{landmarks.identity}"

    @classmethod
    def load(cls, model_repository: Path, *, threads: int = 1) -> FaceFinder:
        """Opens the finder's models; raises :class:`FinderModelMissing`."""
        return cls(FrDetector(model_repository, threads=threads), FrLandmarks(model_repository, threads=threads))

    def find(self, srgb_u8: np.ndarray) -> list[Face]:
        """All faces of an upright photo (H, W, 3) uint8 RGB, largest first; at most 64."""
        photo = checked_photo(srgb_u8)
        boxes, scores = self._detector.detect(photo)
        faces = []
        for (x1, y1, x2, y2), score in zip(boxes.tolist(), scores.tolist(), strict=True):
            if x2 > x1 and y2 > y1:
                faces.append(self._face(photo, Box(x1, y1, x2 - x1, y2 - y1), score))
        return sorted(faces, key=lambda face: face.box.area, reverse=True)

    def landmarks_for(self, srgb_u8: np.ndarray, box: Box) -> Face | None:
        """The face in the caller's box, or None where the box holds no face. Raises :class:`InvalidBox` off the photo."""
        photo = checked_photo(srgb_u8)
        if box.intersection_area(Box(0, 0, photo.shape[1], photo.shape[0])) <= 0:
            raise InvalidBox("the face box lies outside the photo")
        return self._face(photo, box, 1.0)

    def _face(self, photo: np.ndarray, box: Box, score: float) -> Face:
        points = self._landmarks.place(photo, center=box.center, side=box.height)
        across = points[1] - points[0]
        points = self._landmarks.place(
            photo, center=box.center, side=box.height, angle=float(np.arctan2(across[1], across[0]))
        )
        return Face(box, points, score)
