"""Where a detector looks: views of a photo, each a transform from photo px to the px of the detector's canvas."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from facecloak.faces.align import inverse_transform

# Detectors see at most a few hundred px: shrinking large photos once costs less than sampling each view finely.
WORKING_SIDE_PX = 960
CLOSE_UP_SIDE_PX = 320
# A tile shows 0.6 of the photo's long side, so that two of them overlap by a third of a tile.
TILE_ZOOM = 1 / 0.6
# Both detectors find faces from about 8 px of their canvas (measured: 99 % at 7 px, 74 % at 5 px for BlazeFace). With a
# whole view at 1/3 or more, that is 24 px of the photo; below it tiles are needed.
_SMALLEST_SCALE_WITHOUT_TILES = 1 / 3
# Both detectors see faces from 1/53 of the long side. Beyond 4:1 a panorama is looked at in parts of 3:1, so that a
# face of a seventeenth of its height is large enough.
_LONGEST_ASPECT = 4
_PART_ASPECT = 3
# A part takes several looks.
_MOST_PARTS = 12


@dataclass(frozen=True)
class CanvasView:
    """One look at a photo.

    Attributes:
        transform: (2, 3) from photo px to canvas px; no rotation.
        cuts: whether the photo goes on beyond the left, top, right and bottom edge of the canvas.
    """

    transform: np.ndarray
    cuts: tuple[bool, bool, bool, bool] = (False, False, False, False)


@dataclass(frozen=True)
class WorkingCopy:
    """The photo or a part of it, shrunk where it is large, and the (2, 3) transform from its px to the photo's."""

    srgb_u8: np.ndarray
    to_photo: np.ndarray


def uncut(srgb_u8: np.ndarray) -> WorkingCopy:
    """The photo itself."""
    return WorkingCopy(srgb_u8, _scaling(1.0, 1.0))


def longest_looked_at(*, width: int, height: int) -> int:
    """The long side, px, of what is shrunk to one working copy of a photo: its own, or that of a panorama's parts."""
    long, short = max(width, height), min(width, height)
    if long <= _LONGEST_ASPECT * short:
        return long
    return max(_PART_ASPECT * short, math.ceil((long + (_MOST_PARTS - 1) * short) / _MOST_PARTS))


def parts_of(copy: WorkingCopy) -> list[WorkingCopy]:
    """A copy of a photo as it is or, where it is a panorama, overlapping parts of it along its long side: else a face
    would have to be a large share of the short side to be seen."""
    height, width = copy.srgb_u8.shape[:2]
    length = longest_looked_at(width=width, height=height)
    if length == max(width, height):
        return [copy]
    # Two parts share as much as a face takes that fills the short side.
    step = length - min(width, height)
    count = math.ceil((max(width, height) - length) / step) + 1
    parts = []
    for index in range(count):
        begin = round((max(width, height) - length) * index / (count - 1))
        across = width > height
        left, top = (begin, 0) if across else (0, begin)
        pixels = copy.srgb_u8[:, left : left + length] if across else copy.srgb_u8[top : top + length]
        move = np.array([[1.0, 0.0, left], [0.0, 1.0, top]])
        parts.append(WorkingCopy(pixels, chained(move, copy.to_photo)))
    return parts


def working_copy(srgb_u8: np.ndarray) -> WorkingCopy:
    """The photo with at most 960 px a side."""
    height, width = srgb_u8.shape[:2]
    scale = min(1.0, WORKING_SIDE_PX / max(height, width))
    if scale == 1.0:
        return uncut(srgb_u8)
    small_width, small_height = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(srgb_u8, (small_width, small_height), interpolation=cv2.INTER_AREA)
    return WorkingCopy(small, inverse_transform(_scaling(small_width / width, small_height / height)))


def working_copy_of(copy: WorkingCopy) -> WorkingCopy:
    """A copy of the photo with at most 960 px a side, made of a larger one."""
    smaller = working_copy(copy.srgb_u8)
    return WorkingCopy(smaller.srgb_u8, chained(smaller.to_photo, copy.to_photo))


def chained(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """The (2, 3) affine transform that does one and then another."""
    both = then[:, :2] @ first
    both[:, 2] += then[:, 2]
    return np.asarray(both)


def close_up(srgb_u8: np.ndarray, *, center: tuple[float, float], side: float) -> WorkingCopy:
    """The photo's part around a face of ``side`` px, shrunk so that the face has at most 320 px.

    Landmark networks look at 64 to 192 px, several times: sampling each look finely from a large photo costs more than
    shrinking its part once.
    """
    if side <= 1.5 * CLOSE_UP_SIDE_PX:
        return uncut(srgb_u8)
    height, width = srgb_u8.shape[:2]
    half = 1.5 * side
    left, top = (int(np.clip(place - half, 0, limit - 1)) for place, limit in zip(center, (width, height), strict=True))
    right, bottom = (
        int(np.clip(place + half, first + 1, limit))
        for place, first, limit in zip(center, (left, top), (width, height), strict=True)
    )
    part = srgb_u8[top:bottom, left:right]
    scale = CLOSE_UP_SIDE_PX / side
    small_width, small_height = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
    small = cv2.resize(part, (small_width, small_height), interpolation=cv2.INTER_AREA)
    to_photo = inverse_transform(_scaling(small_width / part.shape[1], small_height / part.shape[0]))
    to_photo[:, 2] += (left, top)
    return WorkingCopy(small, to_photo)


def canvas_of(
    srgb_u8: np.ndarray, transform: np.ndarray, *, width: int, height: int, fill: int
) -> tuple[np.ndarray, np.ndarray]:
    """What a look shows of a copy, and the transform from the copy's px to the canvas', which is ``transform`` but for
    whole pixels. Outside the copy the canvas has the level ``fill``.

    ``transform`` does not turn. Shrinking whole pixels takes a tenth of the time of sampling between them.
    """
    scale = float(transform[0, 0])
    # The part of the copy that lies on the canvas, as edges of pixels.
    edges = []
    for axis, length, limit in ((0, width, srgb_u8.shape[1]), (1, height, srgb_u8.shape[0])):
        offset = transform[axis, 2] + 0.5 - scale / 2
        first, last = max(-offset / scale, 0.0), min((length - offset) / scale, float(limit))
        begin = min(round(first), limit - 1)
        end = min(max(round(last), begin + 1), limit)
        at = min(max(round(begin * scale + offset), 0), length - 1)
        size = min(max(round((end - begin) * scale), 1), length - at)
        edges.append((begin, end, at, size))
    (left, right, x, across), (top, bottom, y, down) = edges
    part = srgb_u8[top:bottom, left:right]
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas = np.full((height, width, 3), fill, np.uint8)
    canvas[y : y + down, x : x + across] = cv2.resize(part, (across, down), interpolation=way)
    actual = _scaling(across / (right - left), down / (bottom - top))
    actual[:, 2] += (x - left * actual[0, 0], y - top * actual[1, 1])
    return canvas, actual


def whole_view(*, width: int, height: int, canvas: tuple[int, int], zoom: float = 1.0) -> CanvasView:
    """The whole photo in the middle of the canvas (width, height), filling it in one direction times ``zoom``."""
    scale = zoom * min(canvas[0] / width, canvas[1] / height)
    return CanvasView(_placing(scale, (canvas[0] - width * scale) / 2, (canvas[1] - height * scale) / 2))


def tile_views(
    *, width: int, height: int, photo_width: int, photo_height: int, canvas: tuple[int, int]
) -> list[CanvasView]:
    """Overlapping closer looks (at most 2 x 2), or none where the whole view shows small faces well enough.

    ``width`` and ``height`` are those of the working copy, whose px the transforms read.
    """
    if min(canvas[0] / photo_width, canvas[1] / photo_height) >= _SMALLEST_SCALE_WITHOUT_TILES:
        return []
    scale = TILE_ZOOM * min(canvas[0] / width, canvas[1] / height)
    views = []
    for top in _offsets(height, canvas[1] / scale):
        for left in _offsets(width, canvas[0] / scale):
            right, bottom = left + canvas[0] / scale, top + canvas[1] / scale
            cuts = (left > 0, top > 0, right < width - 1e-6, bottom < height - 1e-6)
            views.append(CanvasView(_placing(scale, -left * scale, -top * scale), cuts))
    return views


def _offsets(side: float, covered: float) -> list[float]:
    """Where tiles that show ``covered`` px begin along ``side`` px; the single tile of a short side is centered."""
    if covered >= side:
        return [(side - covered) / 2]
    steps = math.ceil((side - covered) / (covered * 2 / 3) - 1e-6)
    return [(side - covered) * step / steps for step in range(steps + 1)]


def _placing(scale: float, x: float, y: float) -> np.ndarray:
    """Scaling, then moving by ``x`` and ``y``, with pixel centers at whole numbers."""
    transform = _scaling(scale, scale)
    transform[:, 2] += (x, y)
    return transform


def _scaling(horizontal: float, vertical: float) -> np.ndarray:
    return np.array([[horizontal, 0.0, (horizontal - 1) / 2], [0.0, vertical, (vertical - 1) / 2]])
