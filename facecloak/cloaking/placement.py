"""A mask placed on a face: which part of the photo it covers, and what it changes there.

Whoever changes the photo, be it pixels or a JPEG's blocks, asks a :class:`Placement` and knows no geometry.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from math import ceil, floor
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from facecloak.cloaking.crop_change import CropChange, crop_change
from facecloak.faces import Face, aligning_transform
from facecloak.faces.frame import mesh_in_crop
from facecloak.masks.mask import MASK_SIZE, Mask, MaskGeometry

# Where a px of the crop is many of the photo, placing a mask pixel by pixel costs more than all the rest. Its levels
# are then looked at this often for each px of the crop, which at 12 megapixels (every other px) parts from each
# pixel's own look by 1.7 % of their root mean square; a displacement is smooth and is looked at once.
_LEVELS_LOOKS = 3
_SHIFT_LOOKS = 1
_LARGEST_STEP_PX = 32


class PlacementMethod(StrEnum):
    """How a mask was placed on a face."""

    MESH = "mesh"
    """A mask in the face's own frame, by the face's mesh."""
    LANDMARKS = "landmarks"
    """Such a mask, but no mesh was seen: by the five landmarks, as near as they can bring it."""
    SQUARE = "square"
    """A mask in the aligned crop's frame, by the five landmarks."""


class Placement(Protocol):
    """What a mask changes in an upright photo, and where: first it moves, then it adds.

    However a photo is cut into parts, a pixel gets the same change, but for rounding.
    """

    @property
    def reach_px(self) -> float:
        """How far anything is moved at most, px of the photo, in x or in y; 0 where nothing moves."""
        ...

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
    ) -> np.ndarray | None:
        """(height, width, channels) float32 levels to add to the part of the photo whose corner is at ``left``,
        ``top``; zero outside the mask; None where the mask adds nothing anywhere.

        Args:
            step: px of the photo, across and down, that one pixel of the answer stands for; ``width`` and ``height``
                count the answer's pixels.
            colors: (channels, 3) float32, what each channel takes of R, G and B; these themselves if not given.
        """
        ...

    def displacement(
        self, *, left: int, top: int, width: int, height: int, step: tuple[int, int] = (1, 1)
    ) -> np.ndarray | None:
        """(height, width, 2) float32 pixels of the answer, x then y: the changed photo shows at a pixel what the photo
        shows that far from it; exactly zero outside the mask; None where nothing moves anywhere. For the arguments
        see :meth:`change`."""
        ...


def place_mask(
    mask: Mask,
    face: Face,
    *,
    mesh: np.ndarray | None = None,
    strength: float = 1.0,
    crop_u8: np.ndarray | None = None,
) -> FacePlacement:
    """The mask on the face, by the geometry that the mask has.

    Args:
        face: its landmarks count, in upright photo px.
        mesh: (468, 3) the face's mesh in upright photo px, see :meth:`FaceFinder.mesh_of`. A mask in the face's own
            frame follows it; without it, such a mask is placed by the landmarks, as near as they can bring it.
        strength: factor on all that the mask does, 0..; 1 is the mask as it was made.
        crop_u8: (112, 112, 3) uint8 RGB, the face's aligned crop in this photo, which the mask's levels are then
            fitted to; see :func:`facecloak.cloaking.crop_change.crop_change`.
    """
    to_crop = aligning_transform(face.landmarks)
    in_crop = mesh_in_crop(mesh, to_crop) if mesh is not None and wants_mesh(mask) else None
    change = crop_change(mask, mesh_in_crop=in_crop, strength=strength, crop_u8=crop_u8)
    return FacePlacement(change, to_crop)


def wants_mesh(mask: Mask) -> bool:
    """Whether :func:`place_mask` can use the face's mesh for this mask."""
    return mask.geometry is MaskGeometry.FACE


def placement_method(mask: Mask, *, mesh: np.ndarray | None) -> PlacementMethod:
    """How :func:`place_mask` places this mask."""
    if mask.geometry is not MaskGeometry.FACE:
        return PlacementMethod.SQUARE
    return PlacementMethod.LANDMARKS if mesh is None else PlacementMethod.MESH


class FacePlacement:
    """What changes in a face's aligned crop, carried into the photo by the inverse of the face's aligning transform.

    Levels are bilinear where the face is larger than the crop, and the mean over each photo pixel's area where it is
    smaller (so that fine detail averages out and does not alias). A photo pixel whose center is outside the crop's
    square does not change, and no level by more than the largest of the crop's.

    Attributes:
        strength: the factor on the mask's levels: the one asked for, times how this photo was followed.
    """

    def __init__(self, change: CropChange, to_crop: np.ndarray) -> None:
        self.strength = change.strength
        self._to_crop = to_crop
        self._levels, self._places = change.levels, change.places
        self._whole_square = change.whole_square
        self._shift: np.ndarray | None = None
        self.reach_px = 0.0
        if change.shift_px is not None:
            to_photo = np.linalg.inv(to_crop[:, :2]).astype(np.float32)
            self._shift = cv2.transform(change.shift_px, to_photo)
            self.reach_px = float(np.abs(self._shift).max())
        self._box = _photo_box(_support(change), to_crop)

    def bounds(self, *, width: int, height: int) -> tuple[int, int, int, int]:
        """See :class:`Placement`."""
        return _within(self._box, width=width, height=height)

    def change(
        self,
        *,
        left: int,
        top: int,
        width: int,
        height: int,
        step: tuple[int, int] = (1, 1),
        colors: np.ndarray | None = None,
    ) -> np.ndarray | None:
        """See :class:`Placement`."""
        if self._levels is None:
            return None
        to_crop = _part(self._to_crop, left=left, top=top, step=step)
        samples, fine = _finer(_at_places(to_crop, self._places))
        levels = _in_colors(self._levels, colors)
        border = cv2.BORDER_REPLICATE if self._whole_square else cv2.BORDER_CONSTANT

        def look(to_levels: np.ndarray, part: _Part) -> np.ndarray:
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            return cv2.warpAffine(levels, to_levels, (part.width, part.height), flags=flags, borderMode=border)

        part = _Part(left // step[0], top // step[1], width * samples, height * samples)
        looks = _LEVELS_LOOKS / self._places
        change = _sparse(look, fine, part, step=int(1 / (looks * _scale(fine))), interpolation=cv2.INTER_LINEAR)
        if samples > 1:
            change = cv2.resize(change, (width, height), interpolation=cv2.INTER_AREA)
        if self._whole_square:
            change = _within_square(change, to_crop)
        return change if change.ndim == 3 else change[:, :, None]

    def displacement(
        self, *, left: int, top: int, width: int, height: int, step: tuple[int, int] = (1, 1)
    ) -> np.ndarray | None:
        """See :class:`Placement`."""
        if self._shift is None:
            return None
        shift = self._shift
        if step != (1, 1):
            shift = shift / np.array(step, np.float32)
        to_crop = _part(self._to_crop, left=left, top=top, step=step)
        looks = int(1 / (_SHIFT_LOOKS * _scale(to_crop)))

        def look(to_shift: np.ndarray, part: _Part) -> np.ndarray:
            # Cubic where it is looked at now and then, since what lies between is then cubic, too.
            interpolation = cv2.INTER_CUBIC if looks > 1 else cv2.INTER_LINEAR
            flags = interpolation | cv2.WARP_INVERSE_MAP
            return cv2.warpAffine(shift, to_shift, (part.width, part.height), flags=flags)

        part = _Part(left // step[0], top // step[1], width, height)
        return _sparse(look, to_crop, part, step=looks, interpolation=cv2.INTER_CUBIC)


def square_side_px(face: Face) -> float:
    """Side of the aligned square in photo px: how large the mask lies on the photo."""
    return MASK_SIZE / _scale(aligning_transform(face.landmarks))


def square_bounds(face: Face, *, width: int, height: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) px, right and bottom exclusive, of the part of a photo within which the aligned square
    lies."""
    square = _photo_box((-0.5, -0.5, MASK_SIZE - 0.5, MASK_SIZE - 0.5), aligning_transform(face.landmarks))
    return _within(square, width=width, height=height)


def _support(change: CropChange) -> tuple[float, float, float, float] | None:
    """(left, top, right, bottom) px of the crop outside which nothing changes; None where nothing does."""
    if change.whole_square:
        return -0.5, -0.5, MASK_SIZE - 0.5, MASK_SIZE - 0.5
    boxes = []
    for values, places in ((change.levels, change.places), (change.shift_px, 1)):
        if values is None:
            continue
        lines = values.reshape(len(values), -1)
        rows = np.flatnonzero(lines.any(axis=1))
        # Along the first axis, the largest is found in a tenth of the time that any takes.
        columns = np.flatnonzero(np.abs(lines).max(axis=0)) // values.shape[2]
        if len(rows):
            # A place is seen as far as the next one.
            ends = (columns[0] - 1, rows[0] - 1, columns[-1] + 1, rows[-1] + 1)
            boxes.append([(end - (places - 1) / 2) / places for end in ends])
    if not boxes:
        return None
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return (
        max(min(lefts), -0.5),
        max(min(tops), -0.5),
        min(max(rights), MASK_SIZE - 0.5),
        min(max(bottoms), MASK_SIZE - 0.5),
    )


def _at_places(to_crop: np.ndarray, places: int) -> np.ndarray:
    """The transform to the places of levels, so many for each px of the crop."""
    to_places = to_crop * places
    to_places[:, 2] += (places - 1) / 2
    return to_places


def _finer(to_levels: np.ndarray) -> tuple[int, np.ndarray]:
    """Samples of a photo pixel in each direction, and the transform from px of these samples to px of the levels."""
    # One sample a mask pixel and more in each direction; the mean over a photo pixel is then free of aliases.
    samples = max(1, int(np.ceil(np.hypot(to_levels[0, :2], to_levels[1, :2]).max() - 1e-6)))
    fine = to_levels.copy()
    fine[:, :2] /= samples
    # The samples of a photo pixel lie around its center: fine pixel i is at photo (i + 1/2) / samples - 1/2.
    fine[:, 2] += to_levels[:, :2] @ np.full(2, 0.5 / samples - 0.5)
    return samples, fine


def _within_square(change: np.ndarray, to_crop: np.ndarray) -> np.ndarray:
    """A change, zero outside the crop's square."""
    inside = cv2.warpAffine(
        np.ones((MASK_SIZE, MASK_SIZE), np.uint8),
        to_crop,
        (change.shape[1], change.shape[0]),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    # Into zeros: a tenth of the time that NumPy's boolean index takes.
    return cv2.copyTo(change, inside)


class _Part(NamedTuple):
    """A part of a photo, in px of any size."""

    left: int
    top: int
    width: int
    height: int


def _sparse(
    look: Callable[[np.ndarray, _Part], np.ndarray],
    transform: np.ndarray,
    part: _Part,
    *,
    step: int,
    interpolation: int,
) -> np.ndarray:
    """What ``look(transform, part)`` sees, looked at every ``step`` px and interpolated between: at the same places
    however a photo is cut into parts."""
    step = min(step, _LARGEST_STEP_PX)
    if step < 2:
        return look(transform, part)
    # From two looks before the part to two behind it: at its own edge an enlarged picture is not interpolated but flat.
    before = 2 * step + part.left % step, 2 * step + part.top % step
    across, down = -(-(part.width + before[0]) // step) + 2, -(-(part.height + before[1]) // step) + 2
    sparse = transform.copy()
    sparse[:, 2] += transform[:, :2] @ [(step - 1) / 2 - px for px in before]
    sparse[:, :2] *= step
    seen = look(sparse, _Part(part.left // step - 2, part.top // step - 2, across, down))
    enlarged = cv2.resize(seen, (across * step, down * step), interpolation=interpolation)
    return enlarged[before[1] : before[1] + part.height, before[0] : before[0] + part.width]


def _photo_box(box: tuple[float, float, float, float] | None, to_crop: np.ndarray) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) px of a photo, of any size, within which a box of the crop lies."""
    if box is None:
        return 0, 0, 0, 0
    (a, b, x), (c, d, y) = to_crop.tolist()
    area = a * d - b * c
    corners = [(u - x, v - y) for u in (box[0], box[2]) for v in (box[1], box[3])]
    xs, ys = [(d * u - b * v) / area for u, v in corners], [(a * v - c * u) / area for u, v in corners]
    return floor(min(xs)), floor(min(ys)), ceil(max(xs)) + 1, ceil(max(ys)) + 1


def _within(box: tuple[int, int, int, int], *, width: int, height: int) -> tuple[int, int, int, int]:
    """The part of it on a photo; right and bottom exclusive."""
    left, top = max(box[0], 0), max(box[1], 0)
    return left, top, max(min(box[2], width), left), max(min(box[3], height), top)


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
