"""Where the face is in its own frame."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from facecloak.faces import ALIGNED_SIZE
from facecloak.faces.shape import OUTLINE, face_shape

_SOFT_PX = 3.0


@functools.cache
def face_region(*, grown_px: int = 0, soft: bool = False) -> np.ndarray:
    """(112, 112) float32 0..1: 1 within the outline of the mean face grown by ``grown_px``, on a soft edge if wanted.
    Read-only."""
    region: np.ndarray = np.zeros((ALIGNED_SIZE, ALIGNED_SIZE), np.float32)
    cv2.fillPoly(region, [np.round(face_shape().mean[OUTLINE, :2]).astype(np.int32)], 1.0)
    if grown_px:
        region = cv2.dilate(region, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grown_px + 1,) * 2))
    if soft:
        region = cv2.GaussianBlur(region, (0, 0), _SOFT_PX)
    region.setflags(write=False)
    return region
