"""A mask laid over a face: which part of the photo it covers, and what it changes there.

Whoever changes the photo, be it pixels or a JPEG's coefficients, asks a :class:`Placement` and knows no geometry.
"""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np

from facecloak.faces import Face, aligning_transform
from facecloak.mask import MASK_SIZE, Mask


class Placement(Protocol):
    """What a mask adds to an upright photo, and where."""

    def bounds(self, *, width: int, height: int) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) px, right and bottom exclusive, of a photo of ``width`` x ``height`` px outside
        which nothing changes; empty (left == right or top == bottom) where the mask lies off the photo."""
        ...

    def change(self, *, left: int, top: int, width: int, height: int) -> np.ndarray:
        """(height, width, 3) float32 RGB levels to add to the part of the photo whose corner is at ``left``, ``top``;
        zero outside the mask. However a photo is cut into parts, a pixel gets the same change, but for rounding."""
        ...


def place_mask(mask: Mask, face: Face, *, strength: float = 1.0) -> Placement:
    """The mask over the face, by the geometry that the mask has.

    Args:
        face: its landmarks count, in upright photo px.
        strength: factor on the mask's levels, 0..; 1 is the mask as it was made.
    """
    return SquarePlacement(mask, face, strength=strength)


class SquarePlacement:
    """The mask's square of the aligned crop, laid over the face by the inverse of the face's aligning transform.

    Bilinear where the face is larger than the crop, the mean over each photo pixel's area where it is smaller (so that
    fine detail averages out and does not alias). A photo pixel whose centre is outside the square does not change, and
    no pixel changes by more than ``strength * max|mask|`` levels.
    """

    def __init__(self, mask: Mask, face: Face, *, strength: float = 1.0) -> None:
        self._to_crop = aligning_transform(face.landmarks)
        self._levels = mask.pixels.astype(np.float32) * np.float32(strength)

    def bounds(self, *, width: int, height: int) -> tuple[int, int, int, int]:
        """See :class:`Placement`."""
        corners = np.array([[u, v] for u in (-0.5, MASK_SIZE - 0.5) for v in (-0.5, MASK_SIZE - 0.5)])
        placed = np.linalg.solve(self._to_crop[:, :2], (corners - self._to_crop[:, 2]).T)
        low, high = np.floor(placed.min(axis=1)).astype(int), np.ceil(placed.max(axis=1)).astype(int) + 1
        left, top = max(int(low[0]), 0), max(int(low[1]), 0)
        return left, top, max(min(int(high[0]), width), left), max(min(int(high[1]), height), top)

    def change(self, *, left: int, top: int, width: int, height: int) -> np.ndarray:
        """See :class:`Placement`."""
        to_crop = self._to_crop.copy()
        to_crop[:, 2] += to_crop[:, :2] @ (left, top)
        return _warp(self._levels, to_crop, width=width, height=height)


def square_side_px(face: Face) -> float:
    """Side of the aligned square in photo px: how large the mask lies on the photo."""
    return MASK_SIZE / _scale(aligning_transform(face.landmarks))


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
    # Into zeros: a tenth of the time that NumPy's boolean index takes.
    return cv2.copyTo(change, inside)


def _scale(to_crop: np.ndarray) -> float:
    """Crop px that one photo px becomes."""
    return float(np.hypot(to_crop[0, 0], to_crop[1, 0]))
