"""The mean face mesh, its triangles, and how a face deforms from photo to photo of one person.

The figures are this project's own, measured over 399 people (the mean) and over 180 photos of 20 people
(deformations) by :mod:`tools.measure_face_shape`; the order of the vertices is that of the face mesh network.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy

SHAPE_FILE = Path(__file__).with_name("face_shape.safetensors")
MESH_POINTS = 468

# The face's outline in the network's order of vertices, clockwise from the top of the forehead.
OUTLINE = np.array([
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
])  # fmt: skip
RING_REACH = 1.5
"""How far the ring about the head lies from its middle, in distances of the face's outline: hair, ears and throat,
which turn with the head."""
_RING_DEPTH = 16.0
_BORDER_DEPTH = 80.0
_BORDER_PX = (-44.0, 155.0)
_BORDER_STEPS = 6


def _border() -> np.ndarray:
    low, high = _BORDER_PX
    steps = np.linspace(low, high, _BORDER_STEPS, endpoint=False)
    falling, first, last = low + high - steps, np.full_like(steps, low), np.full_like(steps, high)
    sides = [(steps, first), (last, steps), (falling, last), (first, falling)]
    return np.concatenate([np.stack([x, y], axis=1) for x, y in sides])


BORDER = _border()
"""(24, 2) px of the aligned crop: a square well outside it, which stays where it is when the head moves."""


@dataclass(frozen=True, eq=False)
class FaceShape:
    """Geometry of faces in general; all read-only.

    Attributes:
        mean: (468, 3) float32, px of the aligned 112 crop, of a face that looks straight ahead; z away from the camera.
        mirror: (468,) the vertex on the other side of the face.
        triangles: (T, 3) corners, clockwise as seen, of the face (0..467), the ring about it (468..503) and the border
            (504..527).
        coarse_triangles: as ``triangles``, with face vertices no nearer to each other than 5 px.
        deformations: (K, 468, 3) float32 px: principal components, each one standard deviation long.
    """

    mean: np.ndarray
    mirror: np.ndarray
    triangles: np.ndarray
    coarse_triangles: np.ndarray
    deformations: np.ndarray

    @functools.cached_property
    def on_face(self) -> np.ndarray:
        """(T,) which triangles lie on the face itself."""
        return np.asarray((self.triangles < MESH_POINTS).all(axis=1))

    @functools.cached_property
    def head_triangles(self) -> np.ndarray:
        """(T, 3) those of the face and the ring, without the border."""
        return self.triangles[(self.triangles < MESH_POINTS + len(OUTLINE)).all(axis=1)]

    @functools.cached_property
    def head_mirror(self) -> np.ndarray:
        """(504,) the vertex on the other side of the head, of face and ring."""
        return np.concatenate([self.mirror, MESH_POINTS - np.arange(len(OUTLINE)) % -len(OUTLINE)])

    def with_ring(self, face: np.ndarray) -> np.ndarray:
        """Face vertices (..., 468, 3) with the ring of the head appended: (..., 504, 3), in the same frame.

        Only for a face that looks straight ahead: turn afterward.
        """
        outline = face[..., OUTLINE, :]
        center = outline.mean(axis=-2, keepdims=True)
        ring = center + RING_REACH * (outline - center)
        ring[..., 2] = outline[..., 2] + _RING_DEPTH
        return np.concatenate([face, ring], axis=-2)


def with_border(head: np.ndarray) -> np.ndarray:
    """Head vertices (..., 504, 3), px of the aligned crop, with the unmoved border appended: (..., 528, 3)."""
    border = np.hstack([BORDER, np.full((len(BORDER), 1), _BORDER_DEPTH)])
    return np.concatenate([head, np.broadcast_to(border, (*head.shape[:-2], *border.shape))], axis=-2)


@functools.cache
def face_shape() -> FaceShape:
    """The shape that comes with this package."""
    tensors = safetensors.numpy.load(SHAPE_FILE.read_bytes())
    shape = FaceShape(
        mean=tensors["mean"],
        mirror=tensors["mirror"].astype(np.intp),
        triangles=tensors["triangles"].astype(np.intp),
        coarse_triangles=tensors["coarse_triangles"].astype(np.intp),
        deformations=tensors["deformations"].astype(np.float32),
    )
    for array in (shape.mean, shape.mirror, shape.triangles, shape.coarse_triangles, shape.deformations):
        array.setflags(write=False)
    return shape
