"""YuNet on a canvas of 320x320 px (Wu et al., Machine Intelligence Research 2023; OpenCV Zoo, 2023mar)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from facecloak.faces.detector import CanvasDetections
from facecloak.faces.model import FaceModel

_SIZE = 320
_STRIDES = (8, 16, 32)
# OpenCV's FaceDetectorYN takes 0.9; what is no face is left out by the mesh.
_MIN_SCORE = 0.5


def _cells() -> np.ndarray:
    """(2100, 3): column and row of each cell, and its stride."""
    grids = []
    for stride in _STRIDES:
        side = np.arange(_SIZE // stride)
        x, y = np.meshgrid(side, side)
        grids.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], axis=1))
    return np.concatenate(grids).astype(np.float64)


class YuNet:
    """Finds faces of about 10 px and more that are tilted by no more than some 40 degrees, with five points each, in a
    quarter of the time that BlazeFace takes; its boxes reach from the forehead to the chin."""

    MODEL = "yunet"

    def __init__(self, model_repository: Path, *, threads: int = 1) -> None:
        kinds = ("cls", "obj", "bbox", "kps")
        outputs = tuple(f"{kind}_{stride}" for kind in kinds for stride in _STRIDES)
        self._model = FaceModel(model_repository, self.MODEL, outputs=outputs, threads=threads)
        self._cells = _cells()
        self.canvas = (_SIZE, _SIZE)
        self.identity = self._model.identity

    def detect(self, canvas_srgb_u8: np.ndarray) -> CanvasDetections:
        """Faces on a (320, 320, 3) uint8 RGB canvas, in its px; overlapping boxes are not merged."""
        # Levels of 0..255, B first.
        outputs = self._model(cv2.dnn.blobFromImage(canvas_srgb_u8, swapRB=True))
        of_face, of_object = (np.concatenate([part.ravel() for part in outputs[at : at + 3]]) for at in (0, 3))
        squares = of_face * of_object
        sure = np.flatnonzero(squares >= _MIN_SCORE**2)
        boxes, points = (
            np.concatenate([part[0] for part in outputs[at : at + 3]])[sure].astype(np.float64) for at in (6, 9)
        )
        cells = self._cells[sure]
        corner, stride = cells[:, :2], cells[:, 2:]
        # A box: its center as an offset from the cell's corner, its sides' logarithms, all in strides. So are points.
        centers = (corner + boxes[:, :2]) * stride
        halves = np.exp(np.clip(boxes[:, 2:], -10, 10)) * stride / 2
        places = (corner[:, None] + points.reshape(-1, 5, 2)) * stride[:, None]
        across = places[:, 1] - places[:, 0]
        return CanvasDetections(
            boxes=np.concatenate([centers - halves, centers + halves], axis=1),
            scores=np.sqrt(np.clip(squares[sure].astype(np.float64), 0, 1)),
            angles=np.arctan2(across[:, 1], across[:, 0]),
            # Eye, eye, nose, corner, corner: from the image's left, as ours.
            points=places - 0.5,
        )
