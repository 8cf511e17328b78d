"""The check at the door of this room."""

from __future__ import annotations

import numpy as np

from facecloak.faces.errors import InvalidPixels

# OpenCV addresses warp sources with 16 bit numbers; a photo beyond that could not be read correctly.
MAX_SIDE_PX = 32766


def checked_photo(srgb_u8: np.ndarray) -> np.ndarray:
    """``srgb_u8``, contiguous; raises :class:`InvalidPixels` unless it is uint8, (H, W, 3), 1..32766 px a side."""
    if not isinstance(srgb_u8, np.ndarray) or srgb_u8.dtype != np.uint8 or srgb_u8.ndim != 3 or srgb_u8.shape[2] != 3:
        raise InvalidPixels("a photo is an array of uint8, height x width x 3")
    height, width = srgb_u8.shape[:2]
    if not (0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX):
        raise InvalidPixels("the photo has no pixels or too long a side", width=width, height=height, limit=MAX_SIDE_PX)
    return np.ascontiguousarray(srgb_u8)
