"""Face boxes from faceplugin's `fr_detect` (an RFB-320 SSD detector: 320x240 in, 4420 scored boxes out)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from facecloak.faces.model import FaceModel

_WIDTH, _HEIGHT = 320, 240
_MIN_SCORE = 0.65  # faceplugin-face-recognition-js 0.0.1, lib/fr_detect.js
_MAX_IOU = 0.4  # same


def best_boxes(boxes: np.ndarray, scores: np.ndarray, *, max_iou: float, limit: int) -> np.ndarray:
    """Greedy non-maximum suppression: indices of at most ``limit`` boxes (N, 4; x1 y1 x2 y2), best score first."""
    remaining = np.argsort(-scores, kind="stable")
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    kept: list[int] = []
    while remaining.size and len(kept) < limit:
        best, remaining = int(remaining[0]), remaining[1:]
        kept.append(best)
        shared = np.prod(
            np.maximum(np.minimum(boxes[best, 2:], boxes[remaining, 2:]) - np.maximum(boxes[best, :2], boxes[remaining, :2]), 0),
            axis=1,
        )
        union = areas[best] + areas[remaining] - shared
        remaining = remaining[shared <= max_iou * union]
    return np.array(kept, dtype=np.intp)


class FrDetector:
    """Finds face boxes in one view of a photo."""

    MODEL = "fr_detect"

    def __init__(self, model_repository: Path, *, threads: int = 1) -> None:
        self._model = FaceModel(model_repository, self.MODEL, threads=threads)
        self.identity = self._model.identity

    def detect(self, srgb_u8: np.ndarray, *, limit: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) as x1 y1 x2 y2 in photo px and scores (N,), best first."""
        height, width = srgb_u8.shape[:2]
        scale = min(_WIDTH / width, _HEIGHT / height)
        inner_width, inner_height = max(1, round(width * scale)), max(1, round(height * scale))
        canvas = np.full((_HEIGHT, _WIDTH, 3), 127, dtype=np.uint8)
        canvas[:inner_height, :inner_width] = cv2.resize(srgb_u8, (inner_width, inner_height), interpolation=cv2.INTER_AREA)
        tensor = (canvas.astype(np.float32) - 127) / 128
        scores, boxes = self._model(tensor.transpose(2, 0, 1)[None])
        scores, boxes = scores[0, :, 1], boxes[0] * np.array([_WIDTH, _HEIGHT] * 2, np.float32)
        sure = np.flatnonzero(scores >= _MIN_SCORE)
        scores, boxes = scores[sure], boxes[sure] / np.array([inner_width / width, inner_height / height] * 2)
        kept = best_boxes(boxes, scores, max_iou=_MAX_IOU, limit=limit)
        return boxes[kept], scores[kept]
