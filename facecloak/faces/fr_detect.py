"""faceplugin's `fr_detect`: an SSD detector like Linzaer's Ultra-Light-Fast RFB-320; 320x240 in, 4420 boxes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facecloak.faces.detector import CanvasDetections
from facecloak.faces.model import FaceModel

_WIDTH, _HEIGHT = 320, 240
_MIN_SCORE = 0.65  # faceplugin-face-recognition-js 0.0.1, lib/fr_detect.js


class FrDetect:
    """Finds faces tilted by up to about 45 degrees; its boxes reach from the forehead to the chin."""

    MODEL = "fr_detect"

    def __init__(self, model_repository: Path, *, threads: int = 1) -> None:
        self._model = FaceModel(model_repository, self.MODEL, outputs=("scores", "boxes"), threads=threads)
        self.canvas = (_WIDTH, _HEIGHT)
        self.identity = self._model.identity

    def detect(self, canvas_srgb_u8: np.ndarray) -> CanvasDetections:
        """Faces on a (240, 320, 3) uint8 RGB canvas, in its px; overlapping boxes are not merged."""
        tensor = (canvas_srgb_u8.astype(np.float32) - 127) / 128
        scores, boxes = self._model(tensor.transpose(2, 0, 1)[None])
        scores = scores.reshape(-1, 2)[:, 1].astype(np.float64)
        sure = np.flatnonzero(scores >= _MIN_SCORE)
        # The graph decodes its priors itself: corners as shares of the canvas.
        corners = boxes.reshape(-1, 4)[sure].astype(np.float64) * [_WIDTH, _HEIGHT, _WIDTH, _HEIGHT]
        return CanvasDetections(boxes=corners, scores=scores[sure], angles=np.zeros(sure.size))
