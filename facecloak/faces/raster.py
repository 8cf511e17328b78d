"""Which triangle of a mesh is seen at each pixel, and what lies there: painted far to near, backs left out."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

# Corners are rounded to 1/16 px.
_SHIFT = 4
# A pixel at a triangle's rim may lie a little outside it; in a sliver that would be far outside in its coordinates.
_OVERHANG = 0.25


@dataclass(frozen=True, eq=False)
class Raster:
    """Pictures of N poses of one mesh.

    Attributes:
        corners: (N, H, W, 3) the vertices of the triangle seen at each pixel.
        weights: (N, H, W, 3) float32 barycentric coordinates of the pixel in it; they add up to 1.
        covered: (N, H, W) whether any triangle is seen; elsewhere the weights are zero.
    """

    corners: np.ndarray
    weights: np.ndarray
    covered: np.ndarray

    def interpolate(self, values: np.ndarray) -> np.ndarray:
        """The vertices' ``values`` at each pixel, (N, H, W, C) float32.

        Args:
            values: (V, C), the same for all pictures, or (N, V, C).
        """
        values = np.asarray(values, np.float32)
        if values.ndim == 2:
            values = np.broadcast_to(values, (len(self.corners), *values.shape))
        picked = [
            np.stack([one[corner[..., index]] for one, corner in zip(values, self.corners, strict=True)])
            * self.weights[..., index, None]
            for index in range(3)
        ]
        return np.asarray(picked[0] + picked[1] + picked[2])


def rasterize(vertices: np.ndarray, triangles: np.ndarray, *, width: int, height: int) -> Raster:
    """Paint N poses (N, V, 3) of a mesh, px with z away from the camera, into (height, width) pictures.

    ``triangles`` (T, 3) are clockwise as seen from the front; those that turn their backs are not seen.
    """
    seen = np.stack([_painted(pose, triangles, width=width, height=height) for pose in vertices])
    covered = seen >= 0
    corners = triangles[np.maximum(seen, 0)]
    flat = np.asarray(vertices[..., :2], np.float32)
    one, two, three = (
        np.stack([pose[corner[..., index]] for pose, corner in zip(flat, corners, strict=True)]) for index in range(3)
    )
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    place = np.stack([x, y], axis=-1)
    area = _cross(two - one, three - one)
    area = np.where(np.abs(area) < 1e-3, np.float32(1e-3), area)
    second, third = _cross(place - one, three - one) / area, _cross(two - one, place - one) / area
    weights = np.clip(np.stack([1 - second - third, second, third], axis=-1), -_OVERHANG, 1 + _OVERHANG)
    weights /= weights.sum(axis=-1, keepdims=True)
    weights[~covered] = 0
    return Raster(corners=corners, weights=weights, covered=covered)


def facing(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals (..., V, 3) of vertices (..., V, 3): the mean over the triangles about each, weighted by area. Those
    toward the camera have a negative z."""
    one, two, three = (vertices[..., triangles[:, index], :] for index in range(3))
    normals = np.cross(three - one, two - one)
    total = np.zeros(vertices.shape)
    for index in range(3):
        # As a matrix product would, without the matrix: the same vertex may come several times.
        np.add.at(np.moveaxis(total, -2, 0), triangles[:, index], np.moveaxis(normals, -2, 0))
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=-1, keepdims=True), 1e-9))


def _painted(pose: np.ndarray, triangles: np.ndarray, *, width: int, height: int) -> np.ndarray:
    """(height, width) int32 index of the triangle seen at each pixel, -1 for none."""
    points = pose[triangles]
    flat = points[..., :2]
    front = _cross(flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]) > 0
    order = np.argsort(-points[..., 2].mean(axis=1), kind="stable")
    order = order[front[order]]
    fixed = np.round(flat * (1 << _SHIFT)).astype(np.int32)
    picture = np.full((height, width), -1, np.int32)
    # Unpacked in one go, which takes a third less than looking up each triangle.
    for corners, index in zip(fixed[order], order.tolist(), strict=True):
        cv2.fillConvexPoly(picture, corners, index, lineType=cv2.LINE_8, shift=_SHIFT)
    return picture


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.asarray(first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0])
