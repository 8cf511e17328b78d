"""The arithmetic of cloaking: a mask laid over a face, at the photo's own size."""

from __future__ import annotations

import cv2
import numpy as np

from facecloak.faces import Face, aligning_transform
from facecloak.mask import MASK_SIZE, Mask

_STRIP_ROWS = 128


def add_mask(srgb_u8: np.ndarray, mask: Mask, face: Face, *, strength: float = 1.0) -> np.ndarray:
    """Add a mask to one face; a changed copy.

    The mask's square of the aligned crop is laid over the face by the inverse of the face's aligning transform:
    bilinear where the face is larger than the crop, the mean over each photo pixel's area where it is smaller (so that
    fine detail averages out and does not alias). The sum is rounded and clipped to 0..255. A photo pixel whose centre
    is outside the square does not change, and no pixel changes by more than ``ceil(strength * max|mask|)`` levels.

    Args:
        srgb_u8: (H, W, 3) uint8 RGB, upright.
        mask: the user's mask.
        face: where; its landmarks count, in px of ``srgb_u8``.
        strength: factor on the mask's levels, 0..; 1 is the mask as it was made.
    """
    cloaked = srgb_u8.copy()
    add_mask_in_place(cloaked, mask, face, strength=strength)
    return cloaked


def add_mask_in_place(srgb_u8: np.ndarray, mask: Mask, face: Face, *, strength: float = 1.0) -> None:
    """:func:`add_mask` on the photo itself."""
    to_crop = aligning_transform(face.landmarks)
    levels = mask.pixels.astype(np.float32) * np.float32(strength)
    left, top, right, bottom = _bounds(to_crop, width=srgb_u8.shape[1], height=srgb_u8.shape[0])
    if left == right:
        return
    # In strips, so that a face of 48 megapixels needs megabytes and not half a gigabyte of float.
    for row in range(top, bottom, _STRIP_ROWS):
        height = min(_STRIP_ROWS, bottom - row)
        strip = srgb_u8[row : row + height, left:right]
        change = _warp(levels, _shifted(to_crop, x=left, y=row), width=right - left, height=height)
        strip[:] = cv2.add(strip, change, dtype=cv2.CV_8U)


def _bounds(to_crop: np.ndarray, *, width: int, height: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) px of a photo within which the crop's square lies; right and bottom exclusive."""
    corners = np.array([[u, v] for u in (-0.5, MASK_SIZE - 0.5) for v in (-0.5, MASK_SIZE - 0.5)])
    placed = np.linalg.solve(to_crop[:, :2], (corners - to_crop[:, 2]).T)
    low, high = np.floor(placed.min(axis=1)).astype(int), np.ceil(placed.max(axis=1)).astype(int) + 1
    left, top = max(int(low[0]), 0), max(int(low[1]), 0)
    return left, top, max(min(int(high[0]), width), left), max(min(int(high[1]), height), top)


def _shifted(to_crop: np.ndarray, *, x: float, y: float) -> np.ndarray:
    """The transform for a part of the photo whose corner is at ``x``, ``y``."""
    shifted = to_crop.copy()
    shifted[:, 2] += to_crop[:, :2] @ (x, y)
    return shifted


def _warp(levels: np.ndarray, to_crop: np.ndarray, *, width: int, height: int) -> np.ndarray:
    """(height, width, 3) float32 of the mask's levels as seen from a photo; zero outside the mask's square."""
    # One sample a mask pixel and more in each direction; the mean over a photo pixel is then free of aliases.
    samples = max(1, int(np.ceil(_scale(to_crop) - 1e-6)))
    fine = to_crop.copy()
    fine[:, :2] /= samples
    # The samples of a photo pixel lie around its centre: fine pixel i is at photo (i + 1/2) / samples - 1/2.
    fine[:, 2] += to_crop[:, :2] @ np.full(2, 0.5 / samples - 0.5)
    change = cv2.warpAffine(
        levels,
        fine,
        (width * samples, height * samples),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if samples > 1:
        change = cv2.resize(change, (width, height), interpolation=cv2.INTER_AREA)
    inside = cv2.warpAffine(
        np.ones((MASK_SIZE, MASK_SIZE), np.uint8),
        to_crop,
        (width, height),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    change[inside == 0] = 0
    return change


def _scale(to_crop: np.ndarray) -> float:
    """Crop px that one photo px becomes."""
    return float(np.hypot(to_crop[0, 0], to_crop[1, 0]))


def square_side_px(face: Face) -> float:
    """Side of the aligned square in photo px: how large the mask lies on the photo."""
    return MASK_SIZE / _scale(aligning_transform(face.landmarks))
