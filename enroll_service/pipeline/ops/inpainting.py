"""What a photo does not show, filled from what lies about it (Telea, "An image inpainting technique based on the fast
marching method", Journal of Graphics Tools 2004).

Of the wide crop, that is what lies beyond the photo's edge. Of the head, it is the surfaces that neither side of the
face shows: the jaw's flanks of a face seen from the front, the forehead of a raised head. In the photo they are a line,
or another surface lies over them; stretched over a turned head, that is a smear. So the head is unrolled once, like a
can's label, and filled there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from facecloak.faces import inverse_transform
from facecloak.faces.align import transform_points
from facecloak.faces.raster import Raster, rasterize
from facecloak.faces.shape import MESH_POINTS, face_shape

SIZE = 160
"""Px of the unrolled head."""
# Of the cylinder it is unrolled from, px of the aligned crop: its axis lies this far behind the nose's tip, where the
# widest part of the head is. Px of the unrolled head for one of the crop, across and down.
_RADIUS = 55.0
_SCALE = (0.62, 0.8)
# How much of a surface may be unseen before its pixels are painted anew, and how far from it they are looked for.
_UNSEEN = 0.1
_REACH_PX = 3.0
# Px of the mean face's aligned crop (left, top, right, bottom): nostrils and the line between the lips are thin, dark
# and look down, so that they would be wiped out. The texture stays there as it is.
_NOSE_AND_MOUTH = (30.0, 60.0, 82.0, 104.0)


@dataclass(frozen=True, eq=False, repr=False)
class FilledTexture:
    """A head unrolled and filled.

    Attributes:
        picture_u8: (160, 160, C).
        where: (528, 3) float32 for each vertex its place (x, y) in it, and how much of its surface is to come from
            there, 0..1.
    """

    picture_u8: np.ndarray
    where: np.ndarray

    def lay(self, crops: np.ndarray, raster: Raster) -> None:
        """Paint the unseen surfaces of N crops (N, H, W, C) float32, in place; all others stay as they are."""
        for crop, place in zip(crops, raster.interpolate(self.where), strict=True):
            share = place[..., 2:].clip(0, 1)
            paint = cv2.remap(
                self.picture_u8, place[..., 0], place[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            crop += share * (paint.astype(np.float32) - crop)


def filled_texture(
    sample: Callable[[Raster], np.ndarray], *, neutral: np.ndarray, unseen: np.ndarray
) -> FilledTexture | None:
    """The filled texture of a head; None where the photo shows all of it on either side.

    Args:
        sample: the picture (160, 160, C), 0..255, of the one pose in a raster.
        neutral: (504, 3) face and ring, px of the aligned crop, looking straight ahead.
        unseen: (528,) 0..1, how little the photo shows of each vertex's surface, on either side.
    """
    share = unseen * _fillable()
    if share.max() <= _UNSEEN:
        return None
    flat = unrolled(neutral)
    raster = rasterize(flat[None], face_shape().head_triangles, width=SIZE, height=SIZE)
    where = np.zeros((len(share), 3), np.float32)
    where[: len(flat), :2] = flat[:, :2]
    where[:, 2] = share
    picture = np.clip(sample(raster), 0, 255).round().astype(np.uint8)
    hole = raster.interpolate(where[:, 2:])[0, ..., 0] > _UNSEEN
    # Its rim is a mixture of what is seen and what is not.
    hole = cv2.dilate(hole.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return FilledTexture(picture_u8=_filled(picture, hole), where=where)


def unrolled(neutral: np.ndarray) -> np.ndarray:
    """(504, 3) of a head's vertices, px of the unrolled head with z away from who looks at it."""
    middle = neutral[:MESH_POINTS].mean(axis=0)
    depth = neutral[:, 2] - neutral[:MESH_POINTS, 2].min()
    across = _RADIUS * np.arctan2(neutral[:, 0] - middle[0], _RADIUS - depth)
    down = neutral[:, 1] - middle[1]
    return np.stack([SIZE / 2 + _SCALE[0] * across, SIZE / 2 + _SCALE[1] * down, depth], axis=1)


def fill_beyond_photo(crop_u8: np.ndarray, to_crop: np.ndarray, *, width: int, height: int) -> np.ndarray:
    """A crop (H, W, 3) uint8 with what lies beyond the edge of its photo filled; itself where all lies inside.

    Args:
        to_crop: (2, 3) similarity from px of the photo, which is ``width`` x ``height`` px, to px of the crop.
    """
    back = inverse_transform(to_crop)
    edge = np.array([width - 1, height - 1])
    rows, columns = crop_u8.shape[:2]
    corners = np.array([[0, 0], [columns - 1, 0], [0, rows - 1], [columns - 1, rows - 1]])
    at_corners = transform_points(back, corners)
    if ((at_corners >= 0) & (at_corners <= edge)).all():
        return crop_u8
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    places = transform_points(back, np.stack([x.ravel(), y.ravel()], axis=1))
    beyond = ((places < 0) | (places > edge)).any(axis=1)
    return _filled(crop_u8, beyond.reshape(rows, columns))


def _filled(picture_u8: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The picture (H, W, C) with its ``hole`` (H, W) bool painted over."""
    # OpenCV paints one or three channels.
    parts = [picture_u8[..., :3], *np.moveaxis(picture_u8[..., 3:], 2, 0)]
    mask = hole.astype(np.uint8)
    return np.dstack([cv2.inpaint(np.ascontiguousarray(part), mask, _REACH_PX, cv2.INPAINT_TELEA) for part in parts])


@functools.cache
def _fillable() -> np.ndarray:
    """(528,) 1 for the face's vertices outside nose and mouth, 0 for others."""
    fillable = np.zeros(face_shape().triangles.max() + 1, np.float32)
    x, y, _ = face_shape().mean.T
    left, top, right, bottom = _NOSE_AND_MOUTH
    fillable[:MESH_POINTS] = (x < left) | (x > right) | (y < top) | (y > bottom)
    return fillable
