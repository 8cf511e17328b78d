"""Blending on pixels: what a mask placed on a face changes, made in a decoded photo."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import cv2
import numpy as np

from facecloak.cloaking.placement import Placement, place_mask
from facecloak.faces import Face, aligned_crop
from facecloak.masks.mask import Mask

# In tiles, so that a face of 48 megapixels needs megabytes and not a gigabyte of float, and none is larger than
# OpenCV's largest picture to remap.
_TILE_ROWS, _TILE_COLUMNS = 128, 4096
# Bicubic interpolation looks so far.
_FILTER_PX = 2
# ITU-R BT.601, as JFIF and PNG's readers have it.
_GRAY_OF_RGB = np.array([[0.299, 0.587, 0.114]], np.float32)
# Of a level of 0..255 in 16 bits.
_LEVEL_U16 = 257.0


def add_mask(srgb_u8: np.ndarray, mask: Mask, face: Face, *, strength: float = 1.0) -> np.ndarray:
    """Put a mask on one face by its landmarks, fitted to the photo; a changed copy.

    Args:
        srgb_u8: (H, W, 3) uint8 RGB, upright.
        mask, face, strength: see :func:`facecloak.cloaking.placement.place_mask`; the face in px of ``srgb_u8``.
    """
    cloaked = srgb_u8.copy()
    crop = aligned_crop(srgb_u8, face.landmarks)
    add_in_place(cloaked, place_mask(mask, face, strength=strength, crop_u8=crop))
    return cloaked


def add_in_place(samples: np.ndarray, placement: Placement) -> None:
    """Make a placement's change in the photo itself: displaced by bicubic interpolation, then added to.

    What is not displaced and gets no levels keeps its very values; sums are rounded and clipped to the samples' range.

    Args:
        samples: (H, W, C) uint8 or uint16, upright, of RGB or of one gray channel; further channels (alpha) are kept.
    """
    bounds = placement.bounds(width=samples.shape[1], height=samples.shape[0])
    if bounds[0] >= bounds[2] or bounds[1] >= bounds[3]:
        return
    colors = samples[:, :, :1] if samples.shape[2] <= 2 else samples[:, :, :3]
    reach = ceil(placement.reach_px) + _FILTER_PX if placement.reach_px else 0
    originals = _Originals(colors, bounds, reach=reach)
    for left, top, right, bottom in _tiles(bounds):
        tile = colors[top:bottom, left:right]
        width, height = right - left, bottom - top
        shift = placement.displacement(left=left, top=top, width=width, height=height) if reach else None
        moved = tile if shift is None else originals.displaced(shift, left=left, top=top)
        in_gray = _GRAY_OF_RGB if colors.shape[2] == 1 else None
        change = placement.change(left=left, top=top, width=width, height=height, colors=in_gray)
        if change is not None:
            if samples.dtype == np.uint16:
                change = change * np.float32(_LEVEL_U16)
            moved = cv2.add(moved, change, dtype=cv2.CV_16U if samples.dtype == np.uint16 else cv2.CV_8U)
        if moved is not tile:
            tile[:] = moved.reshape(tile.shape)


def _tiles(bounds: tuple[int, int, int, int]) -> Iterator[tuple[int, int, int, int]]:
    """(left, top, right, bottom), row by row."""
    left, top, right, bottom = bounds
    for row in range(top, bottom, _TILE_ROWS):
        for column in range(left, right, _TILE_COLUMNS):
            yield column, row, min(column + _TILE_COLUMNS, right), min(row + _TILE_ROWS, bottom)


class _Originals:
    """The samples as they were, of a photo that is changed from top to bottom: so much as is still to be looked at."""

    def __init__(self, colors: np.ndarray, bounds: tuple[int, int, int, int], *, reach: int) -> None:
        width = colors.shape[1]
        self._colors, self._reach = colors, reach
        self._left, self._right = max(bounds[0] - reach, 0), min(bounds[2] + reach, width)
        self._top = self._bottom = max(bounds[1] - reach, 0)
        self._rows = np.empty((0, self._right - self._left, colors.shape[2]), colors.dtype)

    def displaced(self, shift: np.ndarray, *, left: int, top: int) -> np.ndarray:
        """A tile's samples, each from ``shift`` (h, w, 2) px further."""
        height, width = shift.shape[:2]
        self._hold(top - self._reach, top + height + self._reach)
        first = max(left - self._reach, self._left)
        source = self._rows[:, first - self._left : left + width + self._reach - self._left]
        places = shift.copy()
        places[:, :, 0] += np.arange(left - first, left - first + width, dtype=np.float32)
        places[:, :, 1] += np.arange(top - self._top, top - self._top + height, dtype=np.float32)[:, None]
        source = np.ascontiguousarray(source)
        return cv2.remap(  # type: ignore[call-overload]
            source, places, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )

    def _hold(self, top: int, bottom: int) -> None:
        """Rows ``top`` to ``bottom``, as far as there are any; those that were changed since are still held."""
        bottom = min(bottom, len(self._colors))
        if bottom > self._bottom:
            new = self._colors[self._bottom : bottom, self._left : self._right]
            kept = self._rows[max(top - self._top, 0) :]
            self._top, self._bottom = self._bottom - len(kept), bottom
            self._rows = np.concatenate([kept, new])
