"""Stage one by a face mesh: the photo as a texture on the head's shape, seen in new poses, with other expressions, from
another distance and in other light.

The whole crop is one mesh: the face itself, a ring about the head that turns with it (hair, ears, throat) and a
border that stays, so that the picture has no seams and no holes (after Zhu et al., "Face alignment across large
poses: a 3D solution", CVPR 2016, who turn photos so to train landmark networks). What the photo does not show because
the head is turned is taken from the head's other side, or filled where neither shows it
(:mod:`enroll_service.pipeline.synthesize.head`). How expression changes a face is drawn from how it was seen to
change between photos of one person (:mod:`facecloak.faces.shape`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from enroll_service.pipeline.intake.portrait import Portrait
from enroll_service.pipeline.ops.photometry import relight, vary_photometry
from enroll_service.pipeline.ops.variations import Variations, joined_variations, mirrored_grids
from enroll_service.pipeline.recipe import SynthesisRecipe
from enroll_service.pipeline.report import SynthesisReport
from enroll_service.pipeline.synthesize.elastic import Synthesizer
from enroll_service.pipeline.synthesize.head import Head, head_of, render
from facecloak.faces import ALIGNED_SIZE, aligning_transform
from facecloak.faces.align import transform_points
from facecloak.faces.facemesh import FaceMesh, five_of_mesh
from facecloak.faces.frame import field_at, frame_fields
from facecloak.faces.pose import rotation_of
from facecloak.faces.shape import face_shape, with_border

# One over the camera's distance in px of the crop, relative to the enrolled photo's camera: 0.004 brings a camera from
# far away to 40 cm (a face is 82 px and some 14 cm wide).
_CLOSENESS = (-0.001, 0.004)
# As two landmark networks differ (see facecloak.faces.placing): 1.2 px over five points and two coordinates.
_LANDMARK_PX = 0.8


def vary_head(
    head: Head,
    *,
    count: int,
    settings: SynthesisRecipe,
    rng: np.random.Generator,
    rotations: np.ndarray | None = None,
) -> np.ndarray:
    """(count, 528, 3) vertices of a head in new poses, px of the aligned crop that a recognizer's aligner would cut.

    Args:
        rotations: (count, 3, 3) against straight ahead; drawn where None.
    """
    shape = face_shape()
    if rotations is None:
        rotations = _rotations(count, settings=settings, rng=rng)
    coefficients = rng.normal(0, settings.expression, (count, len(shape.deformations)))
    neutral = np.repeat(head.neutral[None], count, axis=0)
    neutral[:, : len(shape.mean)] += np.tensordot(coefficients, shape.deformations, axes=1)
    middle = neutral.mean(axis=1, keepdims=True)
    turned = (neutral - middle) @ rotations.swapaxes(1, 2) * head.pose.scale
    # Seen from closer, what is nearer to the camera is larger: a nose in a selfie.
    closeness = rng.uniform(*_CLOSENESS, (count, 1, 1))
    turned[..., :2] /= 1 + closeness * turned[..., 2:]
    return _realigned(with_border(turned + head.pose.apply(middle)), rng=rng)


def _rotations(count: int, *, settings: SynthesisRecipe, rng: np.random.Generator) -> np.ndarray:
    """(count, 3, 3): normal about straight ahead, within the settings' limits, which are twice as far as the spread."""
    limits = np.radians([settings.yaw_degrees, settings.pitch_degrees, settings.roll_degrees])
    angles = np.clip(rng.normal(0, limits / 2, (count, 3)), -limits, limits)
    return rotation_of(yaw=angles[:, 0], pitch=angles[:, 1], roll=angles[:, 2])


def _realigned(vertices: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
    """The vertices moved as an aligner moves the photo, whose landmarks lie a little beside the mesh's."""
    moved = vertices.copy()
    for pose in moved:
        five = five_of_mesh(pose[:, :2]) - FaceMesh.bias
        five += rng.normal(0, _LANDMARK_PX, five.shape)
        to_crop = aligning_transform(five)
        pose[:, :2] = transform_points(to_crop, pose[:, :2])
        pose[:, 2] *= np.hypot(to_crop[0, 0], to_crop[1, 0])
    return moved


def frame_grids(vertices: np.ndarray) -> Tensor:
    """The grids of :class:`Variations` for heads (N, 528, 3), px of their aligned crops, and a mask in the face's own
    frame."""
    still = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    places = [field_at(field, still, width=ALIGNED_SIZE, height=ALIGNED_SIZE) for field in frame_fields(vertices)]
    return torch.from_numpy(np.stack(places)) * 2 / (ALIGNED_SIZE - 1) - 1


class MeshSynthesizer:
    """Turned, deformed and newly lit pictures of the head in the enrolled photo(s).

    A photo in which the mesh is not surely the face's is left to another synthesizer.

    Args:
        fallback: takes those photos.
        in_face_frame: whether the mask is to lie in the face's own frame: then each variation comes with the grid by
            which the frame follows its pose and expression.
    """

    identity = "mesh-2"

    def __init__(
        self,
        settings: SynthesisRecipe,
        *,
        fallback: Synthesizer,
        in_face_frame: bool = False,
    ) -> None:
        self._settings = settings
        self._in_face_frame = in_face_frame
        self._fallback = fallback

    def synthesize(
        self, portraits: Sequence[Portrait], *, count: int, seed: int, checkpoint: Callable[[float], None]
    ) -> Variations:
        """See :meth:`Synthesizer.synthesize`. ``record`` says how many pictures are whose."""
        # Each photo serves equally often.
        wanted = np.bincount(np.arange(count) % len(portraits), minlength=len(portraits))
        meshless = [portrait for portrait in portraits if portrait.mesh is None]
        parts: list[Variations] = []
        rest = 0
        for index, (portrait, share) in enumerate(zip(portraits, wanted.tolist(), strict=True)):
            checkpoint(index / len(portraits))
            if portrait.mesh is None:
                rest += share
            elif share:
                parts.append(self._vary(portrait, portrait.mesh, count=share, seed=seed + index))
        warnings: tuple[str, ...] = ()
        if rest:
            other = self._fallback.synthesize(meshless, count=rest, seed=seed, checkpoint=checkpoint)
            parts.append(other)
            warnings = (*other.warnings, "The face's shape was not found in every photo: its pictures were only bent.")
        record = SynthesisReport(pictures={self.identity: count - rest, self._fallback.identity: rest})
        joined = joined_variations(parts)
        return replace(joined, record=record, warnings=warnings)

    def _vary(self, portrait: Portrait, mesh: np.ndarray, *, count: int, seed: int) -> Variations:
        rng = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(seed)
        head = head_of(mesh, face_shape())
        vertices = vary_head(head, count=count, settings=self._settings, rng=rng)
        pictures, normals = render(portrait.wide_srgb_u8, head, vertices)
        crops = torch.from_numpy(pictures).permute(0, 3, 1, 2)
        crops = relight(crops, torch.from_numpy(normals), generator=generator)
        grids = frame_grids(vertices) if self._in_face_frame else None
        mirrored = torch.rand(count, 1, 1, 1, generator=generator) < self._settings.mirrored
        crops = torch.where(mirrored, crops.flip(3), crops)
        if grids is not None:
            grids = mirrored_grids(torch.where(mirrored, grids.flip(2), grids), mirrored)
        crops = vary_photometry(crops, generator=generator)
        return Variations(crops, grids)
