"""A mask laid over a face: which part of the photo it covers, and what it changes there.

Whoever changes the photo, be it pixels or a JPEG's coefficients, asks a :class:`Placement` and knows no geometry.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from math import ceil, floor
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from facecloak.faces import Face, aligning_transform
from facecloak.faces.frame import FIELD_STEP_PX, field_at, mesh_in_crop, quick_field
from facecloak.masks.mask import MASK_SIZE, Mask, MaskGeometry

# Where a px of the crop is many of the photo, laying a mask pixel by pixel costs more than all the rest. Its levels are
# then looked at this often for each px of the crop, which at 12 megapixels (every other px) parts from each pixel's own
# look by 1.7 % of their root mean square and 0.9 levels at most; the field, which has a place for every other px of the
# crop, as often as it has places.
_LEVELS_LOOKS = 3
_LARGEST_STEP_PX = 16


class PlacementMethod(StrEnum):
    """How a mask was placed on a face."""

    MESH = "mesh"
    """A mask in the face's own frame, by the face's mesh."""
    LANDMARKS = "landmarks"
    """Such a mask, but no mesh was seen: by the five landmarks, as near as they can bring it."""
    SQUARE = "square"
    """A mask in the aligned crop's frame, by the five landmarks."""


class Placement(Protocol):
    """What a mask adds to an upright photo, and where."""

    def bounds(self, *, width: int, height: int) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) px, right and bottom exclusive, of a photo of ``width`` x ``height`` px outside
        which nothing changes; empty (left == right or top == bottom) where the mask lies off the photo."""
        ...

    def change(
        self,
        *,
        left: int,
        top: int,
        width: int,
        height: int,
        step: tuple[int, int] = (1, 1),
        colors: np.ndarray | None = None,
    ) -> np.ndarray:
        """(height, width, channels) float32 levels to add to the part of the photo whose corner is at ``left``,
        ``top``; zero outside the mask. However a photo is cut into parts, a pixel gets the same change, but for
        rounding.

        Args:
            step: px of the photo, across and down, that one pixel of the answer stands for; ``width`` and ``height``
                count the answer's pixels.
            colors: (channels, 3) float32, what each channel takes of R, G and B; these themselves if not given.
        """
        ...


def place_mask(mask: Mask, face: Face, *, mesh: np.ndarray | None = None, strength: float = 1.0) -> Placement:
    """The mask over the face, by the geometry that the mask has.

    Args:
        face: its landmarks count, in upright photo px.
        mesh: (468, 3) the face's mesh in upright photo px, see :meth:`FaceFinder.mesh_of`. A mask in the face's own
            frame follows it; without it, such a mask is laid by the landmarks, as near as they can bring it.
        strength: factor on the mask's levels, 0..; 1 is the mask as it was made.
    """
    if mask.geometry is MaskGeometry.FACE and mesh is not None:
        return FacePlacement(mask, face, mesh, strength=strength)
    return SquarePlacement(mask, face, strength=strength)


def wants_mesh(mask: Mask) -> bool:
    """Whether :func:`place_mask` can use the face's mesh for this mask."""
    return mask.geometry is MaskGeometry.FACE


def placement_method(mask: Mask, *, mesh: np.ndarray | None) -> PlacementMethod:
    """How :func:`place_mask` places this mask."""
    if mask.geometry is not MaskGeometry.FACE:
        return PlacementMethod.SQUARE
    return PlacementMethod.LANDMARKS if mesh is None else PlacementMethod.MESH


class SquarePlacement:
    """The mask's square of the aligned crop, laid over the face by the inverse of the face's aligning transform.

    Bilinear where the face is larger than the crop, the mean over each photo pixel's area where it is smaller (so that
    fine detail averages out and does not alias). A photo pixel whose center is outside the square does not change, and
    no pixel changes by more than ``strength * max|mask|`` levels.
    """

    def __init__(self, mask: Mask, face: Face, *, strength: float = 1.0) -> None:
        self._to_crop = aligning_transform(face.landmarks)
        self._square = _square_px(self._to_crop)
        self._levels = mask.pixels.astype(np.float32) * np.float32(strength)

    def bounds(self, *, width: int, height: int) -> tuple[int, int, int, int]:
        """See :class:`Placement`."""
        return _within(self._square, width=width, height=height)

    def change(
        self,
        *,
        left: int,
        top: int,
        width: int,
        height: int,
        step: tuple[int, int] = (1, 1),
        colors: np.ndarray | None = None,
    ) -> np.ndarray:
        """See :class:`Placement`."""
        to_crop = _part(self._to_crop, left=left, top=top, step=step)
        samples, fine = _finer(to_crop)
        levels = _in_colors(self._levels, colors)

        def look(to_levels: np.ndarray, part: _Part) -> np.ndarray:
            return cv2.warpAffine(
                levels,
                to_levels,
                (part.width, part.height),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )

        part = _Part(left // step[0], top // step[1], width * samples, height * samples)
        change = _sparse(look, fine, part, step=int(1 / (_LEVELS_LOOKS * _scale(fine))))
        return _within_square(change, to_crop, width=width, height=height)


class FacePlacement:
    """A mask in the face's own frame, bent to the face's pose and expression by its mesh, within the aligned square.

    Bilinear, and the mean over each photo pixel's area where the face is smaller than the crop. Beyond the square, and
    where the frame ends, nothing changes; no pixel changes by more than ``strength * max|mask|`` levels.
    """

    def __init__(self, mask: Mask, face: Face, mesh: np.ndarray, *, strength: float = 1.0) -> None:
        self._to_crop = aligning_transform(face.landmarks)
        self._square = _square_px(self._to_crop)
        self._levels = mask.pixels.astype(np.float32) * np.float32(strength)
        self._field = quick_field(mesh_in_crop(mesh, self._to_crop))

    def bounds(self, *, width: int, height: int) -> tuple[int, int, int, int]:
        """See :class:`Placement`."""
        return _within(self._square, width=width, height=height)

    def change(
        self,
        *,
        left: int,
        top: int,
        width: int,
        height: int,
        step: tuple[int, int] = (1, 1),
        colors: np.ndarray | None = None,
    ) -> np.ndarray:
        """See :class:`Placement`."""
        to_crop = _part(self._to_crop, left=left, top=top, step=step)
        samples, fine = _finer(to_crop)
        levels = _in_colors(self._levels, colors)

        def place(to_field: np.ndarray, part: _Part) -> np.ndarray:
            return field_at(self._field, to_field, width=part.width, height=part.height)

        def look(to_levels: np.ndarray, part: _Part) -> np.ndarray:
            places = _sparse(place, to_levels, part, step=int(FIELD_STEP_PX / _scale(to_levels)))
            # OpenCV wants None for the second map of two coordinates in one; its stubs do not know.
            return cv2.remap(levels, places, None, cv2.INTER_LINEAR)  # type: ignore[call-overload]

        part = _Part(left // step[0], top // step[1], width * samples, height * samples)
        change = _sparse(look, fine, part, step=int(1 / (_LEVELS_LOOKS * _scale(fine))))
        return _within_square(change, to_crop, width=width, height=height)


def square_side_px(face: Face) -> float:
    """Side of the aligned square in photo px: how large the mask lies on the photo."""
    return MASK_SIZE / _scale(aligning_transform(face.landmarks))


def _finer(to_crop: np.ndarray) -> tuple[int, np.ndarray]:
    """Samples of a photo pixel in each direction, and the transform from px of these samples to px of the crop."""
    # One sample a mask pixel and more in each direction; the mean over a photo pixel is then free of aliases.
    samples = max(1, int(np.ceil(np.hypot(to_crop[0, :2], to_crop[1, :2]).max() - 1e-6)))
    fine = to_crop.copy()
    fine[:, :2] /= samples
    # The samples of a photo pixel lie around its center: fine pixel i is at photo (i + 1/2) / samples - 1/2.
    fine[:, 2] += to_crop[:, :2] @ np.full(2, 0.5 / samples - 0.5)
    return samples, fine


def _within_square(change: np.ndarray, to_crop: np.ndarray, *, width: int, height: int) -> np.ndarray:
    """A sampled change as the mean over each pixel, (height, width, channels), zero outside the crop's square."""
    if change.shape[:2] != (height, width):
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
    within = cv2.copyTo(change, inside)
    return within if within.ndim == 3 else within[:, :, None]


class _Part(NamedTuple):
    """A part of a photo, in px of any size."""

    left: int
    top: int
    width: int
    height: int


def _sparse(
    look: Callable[[np.ndarray, _Part], np.ndarray], transform: np.ndarray, part: _Part, *, step: int
) -> np.ndarray:
    """What ``look(transform, part)`` sees, looked at every ``step`` px and linear between: at the same places however a
    photo is cut into parts."""
    step = min(step, _LARGEST_STEP_PX)
    if step < 2:
        return look(transform, part)
    # From one look before the part to one behind it: at its own edge an enlarged picture is not linear but flat.
    before = step + part.left % step, step + part.top % step
    across, down = -(-(part.width + before[0]) // step) + 1, -(-(part.height + before[1]) // step) + 1
    sparse = transform.copy()
    sparse[:, 2] += transform[:, :2] @ [(step - 1) / 2 - px for px in before]
    sparse[:, :2] *= step
    seen = look(sparse, _Part(part.left // step - 1, part.top // step - 1, across, down))
    enlarged = cv2.resize(seen, (across * step, down * step))
    return enlarged[before[1] : before[1] + part.height, before[0] : before[0] + part.width]


def _square_px(to_crop: np.ndarray) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) px of a photo, of any size, within which the crop's square lies."""
    (a, b, x), (c, d, y) = to_crop.tolist()
    area = a * d - b * c
    corners = [(u - x, v - y) for u in (-0.5, MASK_SIZE - 0.5) for v in (-0.5, MASK_SIZE - 0.5)]
    xs, ys = [(d * u - b * v) / area for u, v in corners], [(a * v - c * u) / area for u, v in corners]
    return floor(min(xs)), floor(min(ys)), ceil(max(xs)) + 1, ceil(max(ys)) + 1


def _within(square: tuple[int, int, int, int], *, width: int, height: int) -> tuple[int, int, int, int]:
    """The part of it on a photo; right and bottom exclusive."""
    left, top = max(square[0], 0), max(square[1], 0)
    return left, top, max(min(square[2], width), left), max(min(square[3], height), top)


def _part(to_crop: np.ndarray, *, left: float, top: float, step: tuple[int, int]) -> np.ndarray:
    """The transform for a part of the photo whose corner is at ``left``, ``top``, seen in pixels of ``step`` px."""
    part = to_crop.copy()
    part[:, :2] *= step
    # The middle of its first pixel.
    part[:, 2] += to_crop[:, :2] @ (left + (step[0] - 1) / 2, top + (step[1] - 1) / 2)
    return part


def _in_colors(levels: np.ndarray, colors: np.ndarray | None) -> np.ndarray:
    if colors is None:
        return levels
    # One by one and put together: a quarter of the time that OpenCV takes for two of three at once.
    channels = [cv2.transform(levels, color[None]) for color in colors]
    return channels[0] if len(channels) == 1 else cv2.merge(channels)


def _scale(to_crop: np.ndarray) -> float:
    """Crop px that one photo px becomes."""
    return float(np.hypot(to_crop[0, 0], to_crop[1, 0]))
