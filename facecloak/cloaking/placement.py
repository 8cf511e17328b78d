"""A mask placed on a face: which part of the photo it covers, and what it changes there.

Whoever changes the photo, be it pixels or a JPEG's blocks, asks a :class:`Placement` and knows no geometry.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from math import ceil, floor, sqrt
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from facecloak.cloaking.crop_change import CropChange, crop_change
from facecloak.faces import Face, aligning_transform
from facecloak.faces.frame import mesh_in_crop
from facecloak.masks.mask import MASK_SIZE, Mask, MaskGeometry
from facecloak.photos.changed_region import Nodes

# Where a px of the crop is many of the photo, placing a mask pixel by pixel costs more than all the rest. Its levels
# are then looked at this often for each px of the crop, which at 12 megapixels (every other px) parts from each
# pixel's own look by 1.7 % of their root mean square. A displacement is smooth: linear between so many places, it parts
# from itself by 0.01 px of the crop.
_LEVELS_LOOKS = 3
_SHIFT_PLACES = 2
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

    @property
    def overreach_px(self) -> float | None:
        """How far outside :meth:`bounds` what is moved may come from, px of the photo; None where nothing moves."""
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

    def nodes(self, *, step: tuple[int, int], colors: np.ndarray) -> Nodes | None:
        """The same on a coarse grid; None where :meth:`change` and :meth:`displacement` alone tell."""
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
        self.overreach_px: float | None = None
        if change.shift_px is not None:
            to_photo = np.linalg.inv(to_crop[:, :2]).astype(np.float32)
            side = MASK_SIZE * _SHIFT_PLACES
            shift = cv2.resize(change.shift_px, (side, side), interpolation=cv2.INTER_CUBIC)
            self._shift = cv2.transform(shift, to_photo)
            # Linear between its places, it is nowhere larger.
            self.reach_px = cv2.norm(self._shift, cv2.NORM_INF)
            # A box of the crop has its corners further out where the head is turned.
            outside = _overreach(change.shift_px, change.box) if change.box is not None else 0.0
            self.overreach_px = outside * sqrt(2) / _scale(to_crop)
        self._box = _photo_box(change.box, to_crop)

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
        change = _sparse(look, fine, part, step=int(1 / (looks * _scale(fine))))
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
        to_places = _at_places(_part(self._to_crop, left=left, top=top, step=step), _SHIFT_PLACES)

        def look(to_shift: np.ndarray, part: _Part) -> np.ndarray:
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            return cv2.warpAffine(shift, to_shift, (part.width, part.height), flags=flags)

        part = _Part(left // step[0], top // step[1], width, height)
        return _sparse(look, to_places, part, step=int(1 / _scale(to_places)))

    def nodes(self, *, step: tuple[int, int], colors: np.ndarray) -> Nodes | None:
        """See :class:`facecloak.photos.changed_region.Addend`."""
        samples_apart = _SHIFT_PLACES * _scale(self._to_crop) * max(step)
        # Chroma that is subsampled may lie as far apart: what is finer than its samples is left out before.
        reduced = samples_apart > 1
        if self._whole_square or samples_apart > (2 if max(step) > 1 else 1):
            return None
        places = 1 if reduced else _SHIFT_PLACES
        size = (MASK_SIZE * places,) * 2

        def at_places(plane: np.ndarray) -> np.ndarray:
            if plane.shape == size:
                return plane
            return cv2.resize(plane, size, interpolation=cv2.INTER_AREA if reduced else cv2.INTER_LINEAR)

        levels = shift = None
        if self._levels is not None:
            levels = [at_places(cv2.transform(self._levels, color[None])) for color in colors]
        if self._shift is not None:
            across, down = cv2.split(self._shift)
            shift = at_places(across), at_places(down)
        return Nodes(shift, levels, _at_places(self._to_crop, places))


def square_side_px(face: Face) -> float:
    """Side of the aligned square in photo px: how large the mask lies on the photo."""
    return MASK_SIZE / _scale(aligning_transform(face.landmarks))


def square_bounds(face: Face, *, width: int, height: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) px, right and bottom exclusive, of the part of a photo within which the aligned square
    lies."""
    square = _photo_box((-0.5, -0.5, MASK_SIZE - 0.5, MASK_SIZE - 0.5), aligning_transform(face.landmarks))
    return _within(square, width=width, height=height)


def _overreach(shift_px: np.ndarray, box: tuple[float, float, float, float]) -> float:
    """How far outside a box of the crop what is moved comes from, px of the crop; 0 where all comes from within."""
    place = np.arange(MASK_SIZE, dtype=np.float32)
    # Those that stay are within the box or do not count.
    inside = place.clip(box[0], box[2]), place.clip(box[1], box[3])[:, None]
    beyond = 0.0
    for axis, (low, high) in enumerate(((box[0], box[2]), (box[1], box[3]))):
        least, largest, _, _ = cv2.minMaxLoc(shift_px[:, :, axis] + inside[axis])
        beyond = max(beyond, low - least, largest - high)
    return beyond


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
