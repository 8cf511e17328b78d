"""Where in its frame a mask may change anything: the face, and a narrow margin about its outline."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from facecloak.faces.shape import OUTLINE, face_shape
from facecloak.masks.mask import MASK_SIZE

FADE_PX = (1.0, 7.0)
"""Outside the outline of the mean face, px of the frame: within the first nothing is taken off, beyond the second
nothing changes. Hair, ears' rims, throat and what is behind the head lie further out."""
EDGE_PX = 8.0
"""Over so many px, what is at the frame's edge fades: the chin lies across it."""

_FINE = 4


@functools.cache
def head_window() -> np.ndarray:
    """(112, 112) float32 0..1 in the face's frame, read-only: what share of a mask a photo gets there.

    The face's outline in the frame is the mean face's. Placed by a face's mesh, the window therefore ends where that
    very face does, in its pose.
    """
    side = MASK_SIZE * _FINE
    outside = np.full((side, side), 255, np.uint8)
    # Pixel centers are whole numbers, in both.
    outline = (face_shape().mean[OUTLINE, :2] + 0.5) * _FINE - 0.5
    cv2.fillPoly(outside, [np.round(outline).astype(np.int32)], (0,))
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / _FINE
    beyond = cv2.resize(distance, (MASK_SIZE, MASK_SIZE), interpolation=cv2.INTER_AREA)
    window = np.asarray(1 - smooth_step((beyond - FADE_PX[0]) / (FADE_PX[1] - FADE_PX[0]))) * edge_window()
    window = window.astype(np.float32)
    window.setflags(write=False)
    return window


@functools.cache
def edge_window() -> np.ndarray:
    """(112, 112) float32 0..1, read-only: falls to 0 at the edge of a square of 112 px."""
    place = np.arange(MASK_SIZE)
    ramp = smooth_step(np.minimum(place, MASK_SIZE - 1 - place) / EDGE_PX)
    window = np.outer(ramp, ramp).astype(np.float32)
    window.setflags(write=False)
    return window


def smooth_step(share: np.ndarray | float) -> np.ndarray:
    """0 up to 0, 1 from 1 on, smooth between (3 x^2 - 2 x^3)."""
    clipped = np.clip(share, 0.0, 1.0)
    return np.asarray(clipped * clipped * (3 - 2 * clipped))
