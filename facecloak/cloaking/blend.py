"""Blending on pixels: what a mask placed on a face changes, added to a decoded photo."""

from __future__ import annotations

import cv2
import numpy as np

from facecloak.cloaking.placement import Placement, place_mask
from facecloak.faces import Face
from facecloak.masks.mask import Mask

_STRIP_ROWS = 128


def add_mask(srgb_u8: np.ndarray, mask: Mask, face: Face, *, strength: float = 1.0) -> np.ndarray:
    """Add a mask to one face; a changed copy.

    The sum is rounded and clipped to 0..255; no pixel changes by more than ``ceil(strength * max|mask|)`` levels.

    Args:
        srgb_u8: (H, W, 3) uint8 RGB, upright.
        mask, face, strength: see :func:`facecloak.cloaking.placement.place_mask`; the face in px of ``srgb_u8``.
    """
    cloaked = srgb_u8.copy()
    add_in_place(cloaked, place_mask(mask, face, strength=strength))
    return cloaked


def add_in_place(srgb_u8: np.ndarray, placement: Placement) -> None:
    """Add what a placed mask changes to the photo itself, (H, W, 3) uint8 RGB, upright."""
    left, top, right, bottom = placement.bounds(width=srgb_u8.shape[1], height=srgb_u8.shape[0])
    if left == right:
        return
    # In strips, so that a face of 48 megapixels needs megabytes and not half a gigabyte of float.
    for row in range(top, bottom, _STRIP_ROWS):
        height = min(_STRIP_ROWS, bottom - row)
        strip = srgb_u8[row : row + height, left:right]
        change = placement.change(left=left, top=row, width=right - left, height=height)
        strip[:] = cv2.add(strip, change, dtype=cv2.CV_8U)
