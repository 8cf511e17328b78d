"""What a mask changes in the aligned crop of one face: levels to add, and how far from where each px is taken.

The mask's frame is brought to the crop here, by the face's mesh or as it is; its strength and its colors are fitted to
the photo here. What is left to do in the photo is a similarity (:mod:`facecloak.cloaking.placement`).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from facecloak.cloaking.head_window import edge_window, head_window
from facecloak.cloaking.tone import tone_of
from facecloak.cloaking.visibility import Eye, VisibilityBudget
from facecloak.faces import ALIGNED_SIZE
from facecloak.faces.frame import quick_field
from facecloak.masks.displacement import displacement_px
from facecloak.masks.mask import Mask, MaskGeometry

STRENGTHS = (0.5, 2.0)
"""Least and largest factor by which a mask's levels follow a photo."""

# Bent by the mesh, a mask's levels are kept at so many places for each px of the crop: in the photo they then part
# from each pixel's own look into the mask by 4 % of their root mean square.
_PLACES = 2
_LEAST_SHIFT_PX = 0.01


@dataclass(frozen=True, eq=False)
class CropChange:
    """What changes in the aligned crop.

    Attributes:
        levels: (112 * places, 112 * places, 3) float32 to add to R, G and B; None where nothing is.
        places: of ``levels``, for each px of the crop.
        shift_px: (112, 112, 2) float32 px of the crop, x then y: the changed crop shows at a px what the crop shows
            that far from it; None where nothing moves.
        whole_square: whether ``levels`` end with the crop's square, where they need not be zero.
        box: (left, top, right, bottom) px of the crop outside which nothing changes; None where nothing does.
        strength: the factor on the mask's levels.
    """

    levels: np.ndarray | None
    places: int
    shift_px: np.ndarray | None
    whole_square: bool
    box: tuple[float, float, float, float] | None
    strength: float


def crop_change(
    mask: Mask, *, mesh_in_crop: np.ndarray | None, strength: float, crop_u8: np.ndarray | None
) -> CropChange:
    """Brings a mask to a face's aligned crop.

    Args:
        mesh_in_crop: (468, 3) the face's mesh, px of the crop, for a mask in the face's frame; None: the mask's frame
            is taken for the crop.
        strength: factor on all that the mask does, 0 and up.
        crop_u8: (112, 112, 3) uint8 RGB, the crop as the photo shows it: the levels keep to its colors and, where the
            mask says how visible they are to be, are made that visible on it. None: they are added as they are.
    """
    in_frame = mask.geometry is MaskGeometry.FACE
    field = quick_field(mesh_in_crop) if in_frame and mesh_in_crop is not None else None
    levels: np.ndarray | None = None
    followed = 1.0
    if mask.paints:
        levels = mask.pixels.astype(np.float32)
        if in_frame:
            levels = cv2.multiply(levels, _window(ALIGNED_SIZE, 3))
        if crop_u8 is not None:
            levels = cv2.transform(levels, tone_of(crop_u8))
        if field is not None:
            levels = _bent(levels, field)
        if crop_u8 is not None and (mask.target_jod is not None or mask.target_ssimulacra2 is not None):
            followed = _followed(levels, crop_u8, VisibilityBudget(mask.target_jod, mask.target_ssimulacra2))
        levels *= np.float32(strength * followed)
    shift = _shift(mask, field, strength) if mask.moves else None
    return CropChange(
        levels=levels,
        places=_PLACES if field is not None else 1,
        shift_px=shift,
        whole_square=not in_frame,
        box=_box(field, shift, whole_square=not in_frame) if mask.paints or mask.moves else None,
        strength=strength * followed,
    )


def _followed(levels: np.ndarray, crop_u8: np.ndarray, budget: VisibilityBudget) -> float:
    """The factor that brings levels just within a budget on a crop."""
    if len(levels) != ALIGNED_SIZE:
        levels = cv2.resize(levels, (ALIGNED_SIZE, ALIGNED_SIZE), interpolation=cv2.INTER_AREA)
    return float(np.clip(Eye.on(crop_u8).strength(levels, budget), *STRENGTHS))


def _box(
    field: np.ndarray | None, shift: np.ndarray | None, *, whole_square: bool
) -> tuple[float, float, float, float] | None:
    """The part of the crop that has anything of the head's window, and where anything moves."""
    last = ALIGNED_SIZE - 0.5
    if whole_square:
        return -0.5, -0.5, last, last
    seen = head_window()
    if field is not None:
        seen = cv2.remap(seen, field, None, cv2.INTER_LINEAR)  # type: ignore[call-overload]
    boxes = [box for box in (_extent(seen), None if shift is None else _extent(shift)) if box is not None]
    if not boxes:
        return None
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return max(min(lefts), -0.5), max(min(tops), -0.5), min(max(rights), last), min(max(bottoms), last)


def _extent(values: np.ndarray) -> tuple[float, float, float, float] | None:
    """(left, top, right, bottom) px of the crop, of what is not zero in (n, n) or (n, n, 2) places of it."""
    lines = values.reshape(len(values), -1)
    rows = np.flatnonzero(lines.any(axis=1))
    columns = np.flatnonzero(lines.any(axis=0)) // (lines.shape[1] // len(values))
    if not len(rows):
        return None
    step = ALIGNED_SIZE / len(values)
    # As far as the next places, where all is zero.
    low, high = (columns[0] - 1, rows[0] - 1), (columns[-1] + 1, rows[-1] + 1)
    left, top, right, bottom = (float(place * step + (step - 1) / 2) for place in (*low, *high))
    return left, top, right, bottom


def _bent(levels: np.ndarray, field: np.ndarray) -> np.ndarray:
    """(224, 224, 3) levels of the frame, seen in the crop."""
    side = ALIGNED_SIZE * _PLACES
    places = cv2.resize(field, (side, side), interpolation=cv2.INTER_LINEAR)
    # OpenCV wants None for the second map of two coordinates in one; its stubs do not know.
    bent = cv2.remap(levels, places, None, cv2.INTER_LINEAR)  # type: ignore[call-overload]
    return np.asarray(cv2.multiply(bent, _edge(side, 3)))


def _shift(mask: Mask, field: np.ndarray | None, strength: float) -> np.ndarray:
    shift = cv2.multiply(displacement_px(mask.displacement), _window(ALIGNED_SIZE, 2), scale=strength)
    if field is None:
        return shift
    seen = cv2.remap(shift, field, None, cv2.INTER_LINEAR)  # type: ignore[call-overload]
    seen = cv2.divide(seen, _foreshortening(field))
    bent = cv2.resize(seen, (ALIGNED_SIZE, ALIGNED_SIZE), interpolation=cv2.INTER_CUBIC)
    # Bicubic interpolation rings beside where all is still.
    bent[np.abs(bent) < _LEAST_SHIFT_PX] = 0
    return np.asarray(cv2.multiply(bent, _edge(ALIGNED_SIZE, 2)))


def _foreshortening(field: np.ndarray) -> np.ndarray:
    """How many px of the frame a px of the crop is worth, across and down, where these are more than one: (56, 56, 2).

    What moves a cheek by a px moves it by less where it is seen from the side. Moved by as much, its outline shows a
    dent; and where one piece of the face hides another, what lies side by side would be torn apart.
    """
    scale = len(field) / ALIGNED_SIZE
    across, down = (cv2.Sobel(field, cv2.CV_32F, dx, dy, ksize=3, scale=scale / 8) for dx, dy in ((1, 0), (0, 1)))
    lengths = cv2.merge([cv2.magnitude(*cv2.split(along)) for along in (across, down)])
    return np.maximum(lengths, np.float32(1))


# With as many channels as what they are multiplied with: a tenth of the time that NumPy takes to spread one.
@functools.cache
def _window(side: int, channels: int) -> np.ndarray:
    return cv2.merge([cv2.resize(head_window(), (side, side), interpolation=cv2.INTER_LINEAR)] * channels)


@functools.cache
def _edge(side: int, channels: int) -> np.ndarray:
    return cv2.merge([cv2.resize(edge_window(), (side, side), interpolation=cv2.INTER_LINEAR)] * channels)
