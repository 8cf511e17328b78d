"""Five points from faceplugin's `fr_landmark` (64x64 gray in, the 68 points of iBUG 300-W out)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from facecloak.faces.align import inverse_transform, transform_points, warp_crop
from facecloak.faces.model import FaceModel

_SIZE = 64


def _five_of_68(points: np.ndarray) -> np.ndarray:
    """Eye centres (means of six outline points), nose tip, mouth corners of the 68 points of 300-W."""
    return np.stack([points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[30], points[48], points[54]])


class FrLandmarks:
    """Places five landmarks in a square view of a face."""

    MODEL = "fr_landmark"

    def __init__(self, model_repository: Path, *, threads: int = 1) -> None:
        self._model = FaceModel(model_repository, self.MODEL, threads=threads)
        self.identity = self._model.identity

    def place(self, srgb_u8: np.ndarray, *, center: tuple[float, float], side: float, angle: float = 0.0) -> np.ndarray:
        """The (5, 2) float64 landmarks in photo px of the face in a square of ``side`` px, turned by ``angle`` radians."""
        scale = _SIZE / side
        cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
        linear = np.array([[cosine, sine], [-sine, cosine]])
        # Corner of the square = corner of pixel 0, whose centre is at 0.
        offset = np.full(2, (_SIZE - 1) / 2) - linear @ np.asarray(center)
        transform = np.hstack([linear, offset[:, None]])
        crop = warp_crop(srgb_u8, transform, width=_SIZE, height=_SIZE)
        gray = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32) / 256
        points = self._model(gray[None, None])[0].reshape(68, 2).astype(np.float64) * _SIZE - 0.5
        return _five_of_68(transform_points(inverse_transform(transform), points))
