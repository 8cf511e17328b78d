"""A person's head as one photo shows it, and pictures of it on other vertices."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from enroll_service.pipeline.ops.inpainting import filled_texture
from enroll_service.pipeline.ops.warping import WIDE_MARGIN
from facecloak.faces import ALIGNED_SIZE
from facecloak.faces.pose import Pose, fit_pose
from facecloak.faces.raster import facing, rasterize
from facecloak.faces.shape import BORDER, FaceShape, face_shape, with_border

# Of a vertex's normal, how far it must turn to the camera for the photo to show its surface well, and not at all.
_WELL_SEEN, _UNSEEN = 0.45, 0.15
# By how much more its mirror image must turn to the camera to be taken in its place, in part and wholly: the farther a
# head is turned, the less exact is the mesh by its far outline, and what lies behind the head would be taken for cheek.
_BETTER, _FAR_BETTER = 0.45, 0.7


@dataclass(frozen=True, eq=False)
class Head:
    """A person's head as one photo shows it.

    Attributes:
        neutral: (504, 3) face and ring, px of the aligned crop, looking straight ahead.
        pose: brings ``neutral`` to where the photo shows it, px of the aligned crop.
        well_seen: (528,) 0..1, how well the photo shows each vertex's surface.
    """

    neutral: np.ndarray
    pose: Pose
    well_seen: np.ndarray

    @property
    def in_photo(self) -> np.ndarray:
        """(528, 3) all vertices where the photo shows them, px of the aligned crop."""
        return with_border(self.pose.apply(self.neutral))


def head_of(points: np.ndarray, shape: FaceShape) -> Head:
    """The head whose face has mesh ``points`` (468, 3), px of the aligned crop."""
    pose = fit_pose(shape.mean.astype(np.float64), points)
    neutral = shape.with_ring(pose.undo(points))
    towards = -facing(pose.apply(neutral), shape.head_triangles)[:, 2]
    seen = np.clip((towards - _UNSEEN) / (_WELL_SEEN - _UNSEEN), 0, 1)
    seen *= 1 - np.clip((towards[shape.head_mirror] - towards - _BETTER) / (_FAR_BETTER - _BETTER), 0, 1)
    well_seen = np.ones(len(neutral) + len(BORDER))
    well_seen[: len(neutral)] = seen
    return Head(neutral=neutral, pose=pose, well_seen=well_seen)


def render(wide_u8: np.ndarray, head: Head, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The photo's texture on new ``vertices`` (N, 528, 3).

    Surfaces that the photo hides are taken from the face's other side, and where that is hidden too they are filled
    (see :mod:`enroll_service.pipeline.ops.inpainting`).

    Args:
        wide_u8: (160, 160, C) the wide crop.

    Returns:
        Crops (N, 112, 112, C) float32, and the unit normals (N, 112, 112, 3) of the surfaces in them, zero far from the
        head.
    """
    shape = face_shape()
    raster = rasterize(vertices, shape.triangles, width=ALIGNED_SIZE, height=ALIGNED_SIZE)
    own = head.in_photo[:, :2] + WIDE_MARGIN
    other, mirror_seen = own.copy(), head.well_seen.copy()
    other[: len(head.neutral)] = own[shape.head_mirror]
    mirror_seen[: len(head.neutral)] = head.well_seen[shape.head_mirror]
    hidden = (1 - head.well_seen) * mirror_seen
    normals = facing(vertices, shape.triangles)
    normals[:, len(head.neutral) :] = 0
    sources = np.hstack([own, other, hidden[:, None]])
    texture = raster.interpolate(sources)
    # What lies about the head stays where it is: beside a mirrored temple comes background, not a second face.
    texture[(raster.corners >= len(head.neutral)).any(axis=-1), 4] = 0
    crops = np.stack([sampled(wide_u8, one) for one in texture])
    filled = filled_texture(
        lambda flat: sampled(wide_u8, flat.interpolate(sources)[0]),
        neutral=head.neutral,
        unseen=(1 - head.well_seen) * (1 - mirror_seen),
    )
    if filled is not None:
        filled.lay(crops, raster)
    return crops, raster.interpolate(normals)


def in_frame(wide_u8: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """(112, 112, C) float32: the photo's texture in the face's own frame.

    Args:
        wide_u8: (160, 160, C) the wide crop.
        mesh: (468, 3) its face's mesh, px of the aligned crop.
    """
    shape = face_shape()
    still = with_border(shape.with_ring(shape.mean.astype(np.float64)))
    (texture,), _ = render(wide_u8, head_of(mesh, shape), still[None])
    return np.asarray(texture)


def sampled(wide_u8: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """(H, W, C) float32 of one picture's texture coordinates: of the surface itself and of its mirror image, and the
    share of the latter."""

    def sample(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return cv2.remap(wide_u8, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101).astype(np.float32)

    share = texture[..., 4:].clip(0, 1)
    picture = sample(texture[..., 0], texture[..., 1])
    if share.max() > 0.01:
        picture += share * (sample(texture[..., 2], texture[..., 3]) - picture)
    return picture
