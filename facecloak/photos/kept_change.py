"""How much of a wanted change a photo's file keeps: quantization takes a faint one from a strongly compressed photo.

What is kept is counted along what was wanted: noise of another encoding is no change.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

_BLOCK = 8
# So many blocks of a component, or px of a picture, tell the whole to some percent.
_MOST_BLOCKS = 512
_MOST_PX = 512
_ROWS = cv2.dct(np.eye(_BLOCK), flags=cv2.DCT_ROWS)
# From a block's 64 samples to its 64 coefficients.
_BASIS = np.kron(_ROWS, _ROWS).astype(np.float32)


def kept_in_blocks(levels: np.ndarray, table: np.ndarray) -> float:
    """Root mean square of what JPEG's quantization keeps of levels that are added to one component.

    Args:
        levels: (h, w) float32, from a block's corner on.
        table: (8, 8) quantization steps.
    """
    height, width = levels.shape
    down, across = -(-height // _BLOCK), -(-width // _BLOCK)
    if not down or not across:
        return 0.0
    step = max(1, round((down * across / _MOST_BLOCKS) ** 0.5))
    padding = ((0, down * _BLOCK - height), (0, across * _BLOCK - width))
    whole = np.pad(levels, padding, mode="edge") if padding != ((0, 0), (0, 0)) else levels
    blocks = whole.reshape(down, _BLOCK, across, _BLOCK)[::step, :, ::step].swapaxes(1, 2)
    # One product of large matrices: a product for each block takes ten times as long.
    wanted = blocks.reshape(-1, _BLOCK * _BLOCK) @ _BASIS
    steps = np.ascontiguousarray(table, np.float32).ravel()
    got = wanted * (1 / steps)
    np.rint(got, out=got)
    got *= steps
    return kept_along(wanted, got)


def kept_along(wanted: np.ndarray, got: np.ndarray) -> float:
    """Root mean square of the share of ``got`` that is along ``wanted``; 0 where nothing was wanted, or the opposite
    was got."""
    # Each row by itself: sums of float32 stay exact to six digits, and take no copy in float64.
    energy = float(np.vecdot(_rows(wanted), _rows(wanted)).sum(dtype=np.float64))
    if energy <= 0:
        return 0.0
    along = float(np.vecdot(_rows(wanted), _rows(got)).sum(dtype=np.float64))
    return max(along, 0.0) / (energy * wanted.size) ** 0.5


def _rows(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), math.prod(values.shape[1:]))


def part_of(samples: np.ndarray, bounds: tuple[int, int, int, int]) -> np.ndarray:
    """(h, w, C) float32 levels of 0..255: the colors of a part of a picture of 8 or 16 bits, at most 512 px a side of
    it, evenly picked."""
    left, top, right, bottom = bounds
    down, across = max(1, -(-(bottom - top) // _MOST_PX)), max(1, -(-(right - left) // _MOST_PX))
    colors = 1 if samples.shape[2] <= 2 else 3
    part = samples[top:bottom:down, left:right:across, :colors].astype(np.float32)
    return part / np.float32(257) if samples.dtype == np.uint16 else part
