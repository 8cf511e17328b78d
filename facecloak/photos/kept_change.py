"""How much of a wanted change a photo's file keeps: quantization takes a faint one from a strongly compressed photo.

What is kept is counted along what was wanted: noise of another encoding is no change.
"""

from __future__ import annotations

import cv2
import numpy as np

_BLOCK = 8
# So many blocks of a component, or px of a picture, tell the whole to some percent.
_MOST_BLOCKS = 512
_MOST_PX = 512
_BASIS = cv2.dct(np.eye(_BLOCK, dtype=np.float32), flags=cv2.DCT_ROWS).T


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
    # Two products of long matrices: a product for each block takes ten times as long. Transposed blocks come out.
    halfway = (blocks.reshape(-1, _BLOCK) @ _BASIS.T).reshape(-1, _BLOCK, _BLOCK)
    wanted = (halfway.swapaxes(1, 2).reshape(-1, _BLOCK) @ _BASIS.T).reshape(-1, _BLOCK * _BLOCK)
    steps = np.ascontiguousarray(table.T, np.float32).ravel()
    return kept_along(wanted, np.round(wanted * (1 / steps)) * steps)


def kept_along(wanted: np.ndarray, got: np.ndarray) -> float:
    """Root mean square of the share of ``got`` that is along ``wanted``; 0 where nothing was wanted, or the opposite
    was got."""
    energy = float(np.square(wanted, dtype=np.float64).sum())
    if energy <= 0:
        return 0.0
    along = float(np.multiply(wanted, got, dtype=np.float64).sum())
    return max(along, 0.0) / (energy * wanted.size) ** 0.5


def part_of(samples: np.ndarray, bounds: tuple[int, int, int, int]) -> np.ndarray:
    """(h, w, C) float32 levels of 0..255: the colors of a part of a picture of 8 or 16 bits, at most 512 px a side of
    it, evenly picked."""
    left, top, right, bottom = bounds
    down, across = max(1, -(-(bottom - top) // _MOST_PX)), max(1, -(-(right - left) // _MOST_PX))
    colors = 1 if samples.shape[2] <= 2 else 3
    part = samples[top:bottom:down, left:right:across, :colors].astype(np.float32)
    return part / np.float32(257) if samples.dtype == np.uint16 else part
