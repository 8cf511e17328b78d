"""Borrowed variety: how light, exposure, make-up and cameras change a face, learned once from other people's photos.

What changes between two photos of one person is much alike from person to person. The ratio of two photos in one place
of the face says how it was lit and rendered in the one and in the other, and little of whose face it is (the quotient
image of Shashua and Riklin-Raviv, PAMI 2001): so the slow part of it, in the face's own frame, is laid on the enrolled
photo's face. A pool keeps, of each photo, how the logarithm of its slow part differs from the mean of that person's
photos: nobody's picture, and nobody's embedding.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import safetensors
import safetensors.numpy
import torch
from torch import Tensor
from torch.nn import functional

from enroll_service.pipeline.intake.portrait import Portrait
from enroll_service.pipeline.ops.face_region import face_region
from enroll_service.pipeline.synthesize.head import in_frame
from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.faces import ALIGNED_SIZE

MIN_PEOPLE = 10
"""Fewer people than this show the light of a few rooms only."""
MAX_POOL_BYTES = 64 * 1024 * 1024

# Sigma in px of the face's frame: what is finer is the face's own, or an expression.
_SLOW_PX = 6.0
_CELLS = 14
# Levels added before the logarithm, so that black is no infinity; and the largest change, as a logarithm: 3.3 times.
_DARK, _LARGEST = 10.0, 1.2
# What lies about the face counts this much beside it: enough to go on smoothly, too little to color the cheeks.
_BESIDE = 2e-3


class LightPoolUnusable(FaceCloakError):
    """The pool is damaged or too small."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "LIGHT_POOL_UNUSABLE"


@dataclass(frozen=True, eq=False, repr=False)
class LightPool:
    """What the photos of several people say about light.

    Attributes:
        photos: (N, 3, 14, 14) float32, RGB, cells of the face's frame: the logarithm of each photo's slow part, less
            the mean over the person's photos.
        person_of: (N,) int64, whose photo: 0 .. people - 1, in order.
    """

    photos: np.ndarray
    person_of: np.ndarray

    @classmethod
    def build(cls, people: Iterable[Sequence[Portrait]]) -> LightPool:
        """From the photos of each person. Photos without a mesh, and people with one photo left, are left out.

        Raises:
            LightPoolUnusable: fewer than MIN_PEOPLE people are left.
        """
        photos, person_of, count = [], [], 0
        for portraits in people:
            slow = np.array([slow_part(portrait) for portrait in portraits if portrait.mesh is not None])
            if len(slow) > 1:
                photos.append(slow - slow.mean(axis=0))
                person_of += [count] * len(slow)
                count += 1
        if count < MIN_PEOPLE:
            raise LightPoolUnusable(
                "A pool needs more people with several photos each.", min_people=MIN_PEOPLE, people=count
            )
        return cls(np.concatenate(photos).astype(np.float32), np.array(person_of, np.int64))

    @property
    def people(self) -> int:
        """How many people's photos it was made from."""
        return int(self.person_of[-1]) + 1

    @functools.cached_property
    def identity(self) -> str:
        """Names the pool's content, for a mask's record."""
        return "light-1:" + hashlib.sha256(self.to_bytes()).hexdigest()[:16]

    def draw(self, count: int, *, generator: torch.Generator) -> Tensor:
        """(count, 3, 14, 14) changes of light, as logarithms: from one photo to another of one person of the pool, half
        of them mirrored."""
        people = torch.randint(self.people, (count,), generator=generator).tolist()
        mirrored = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
        changes = []
        for person in people:
            own = np.flatnonzero(self.person_of == person)
            first, second = torch.randperm(len(own), generator=generator)[:2].tolist()
            changes.append(self.photos[own[second]] - self.photos[own[first]])
        drawn = torch.from_numpy(np.stack(changes)).clamp(-_LARGEST, _LARGEST)
        return torch.where(mirrored, drawn.flip(3), drawn)

    def to_bytes(self) -> bytes:
        """Serialize (safetensors)."""
        return safetensors.numpy.save({"photos": self.photos.astype(np.float16), "person_of": self.person_of})

    @classmethod
    def load(cls, path: Path) -> LightPool:
        """Read a pool; LightPoolUnusable where the file is no pool."""
        try:
            if path.stat().st_size > MAX_POOL_BYTES:
                raise LightPoolUnusable("The pool's file is too large.", max_bytes=MAX_POOL_BYTES)
            tensors = safetensors.numpy.load(path.read_bytes())
            photos, person_of = tensors["photos"].astype(np.float32), tensors["person_of"].astype(np.int64)
        except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
            raise LightPoolUnusable("The pool cannot be read.") from error
        if photos.shape[1:] != (3, _CELLS, _CELLS) or person_of.shape != photos.shape[:1] or not len(photos):
            raise LightPoolUnusable("The pool is damaged.")
        counts = np.bincount(person_of) if person_of.min() >= 0 and person_of.max() < len(photos) else np.zeros(1)
        if counts.min() < 2 or np.any(np.diff(person_of) < 0) or not np.isfinite(photos).all():
            raise LightPoolUnusable("The pool is damaged.")
        return cls(photos, person_of)


def relight_as(crops: Tensor, changes: Tensor, grids: Tensor) -> Tensor:
    """Crops (N, 3, 112, 112), RGB 0..255, each in the light that its change (N, 3, 14, 14) brings.

    Args:
        grids: (N, 112, 112, 2) where in the face's frame each pixel is, as in
            :class:`~enroll_service.pipeline.ops.variations.Variations`.
    """
    # Grids measure between the centers of the outermost pixels; cells are sampled by their outer edges.
    at_cells = grids * ((ALIGNED_SIZE - 1) / ALIGNED_SIZE)
    light = functional.grid_sample(changes, at_cells, mode="bilinear", padding_mode="border", align_corners=False)
    return (crops * torch.exp(light)).clamp(0, 255)


def slow_part(portrait: Portrait) -> np.ndarray:
    """(3, 14, 14) float64: the logarithm of a photo's slow part in the face's frame. The photo must have a mesh."""
    assert portrait.mesh is not None
    texture = in_frame(portrait.wide_srgb_u8, portrait.mesh)
    weight = np.maximum(face_region(), np.float32(_BESIDE))[..., None]
    blurred = [
        cv2.GaussianBlur(channel, (0, 0), _SLOW_PX)
        for channel in (*(texture * weight).transpose(2, 0, 1), weight[..., 0])
    ]
    slow = np.stack(blurred[:3], axis=2) / blurred[3][..., None]
    cells = cv2.resize(np.log(slow + _DARK), (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    return np.asarray(cells.transpose(2, 0, 1))
