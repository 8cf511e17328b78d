"""Borrowed variety: the enrolled face morphed with other faces while the mask is learned.

A mask that is learned on one photo clings to that photo's own detail. On morphs with many other faces it must take away
what is the person's whatever else is in the picture, as it must on photos that nobody has seen (after Wang et al.,
"Admix: Enhancing the Transferability of Adversarial Attacks", ICCV 2021, who mix in pictures of other classes). Masks
learned so hold on more photos than from any other variation of one photo that was tried (docs/experiments.md).

Morphs of two faces are made in the face's own frame, so that eyes lie on eyes in every pose. Hair and background stay
the person's. The faces that come with this package are blends of two people each, nobody's own; they were made
by `facecloak pool faces` from pictures that other packages ship under the MIT license (see NOTICE).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from enroll_service.pipeline.intake.portrait import Portrait
from enroll_service.pipeline.ops.face_region import face_region
from enroll_service.pipeline.ops.photometry import vary_photometry
from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.synthesize.head import in_frame
from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.faces import ALIGNED_SIZE
from facecloak.photos import decode_photo
from facecloak.photos.errors import PhotoRefused

FACES_FILE = Path(__file__).with_name("faces.jpg")
MIN_FACES = 12
"""Portraits that a pool needs, and pairs of them of different people: fewer make blends that are all alike."""
MAX_FACES = 1024
MAX_POOL_BYTES = 16 * 1024 * 1024

_COLUMNS = 8
_QUALITY = 92

# Px about the face's outline: a morph ends softly near the first, a sheet shows gray beyond the second.
_MORPHED_PX, _SHOWN_PX = 3, 9
_GRAY = 128.0

# Of a blend's two faces, each has this share at least.
_LEAST_SHARE = 0.3
# On the scale of `recognition.sameness`: of pairs of one person 1 in 700 lies below (IntakeSettings.same_person_score).
_OTHER_PERSON = 0.4


class FacePoolUnusable(FaceCloakError):
    """The pool is no picture of faces, or too small."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "FACE_POOL_UNUSABLE"


@dataclass(frozen=True, eq=False, repr=False)
class FacePool:
    """Faces to morph with.

    Attributes:
        faces: (N, 112, 112, 3) uint8 RGB, each in the face's own frame.
    """

    faces: np.ndarray

    @classmethod
    def build(cls, portraits: Sequence[Portrait], *, sameness: np.ndarray, count: int, seed: int) -> FacePool:
        """``count`` blends, each of two people's portraits.

        Args:
            portraits: each with a mesh; ValueError for one without.
            sameness: (N, N) how much each pair shows one person, 0 for other people and 1 for the same.

        Raises:
            FacePoolUnusable: fewer than MIN_FACES portraits, or too few that surely show different people.
        """
        meshes = [portrait.mesh for portrait in portraits if portrait.mesh is not None]
        first, second = np.nonzero(np.triu(sameness < _OTHER_PERSON, k=1))
        if len(portraits) < MIN_FACES or len(first) < MIN_FACES:
            raise FacePoolUnusable(
                "A pool needs more faces of different people.", min_faces=MIN_FACES, faces=len(portraits)
            )
        textures = [in_frame(portrait.wide_srgb_u8, mesh) for portrait, mesh in zip(portraits, meshes, strict=True)]
        rng = np.random.default_rng(seed)
        blends = []
        for pair in rng.choice(len(first), count, replace=count > len(first)).tolist():
            share = np.float32(rng.uniform(_LEAST_SHARE, 1 - _LEAST_SHARE))
            blends.append(share * textures[first[pair]] + (1 - share) * textures[second[pair]])
        shown = face_region(grown_px=_SHOWN_PX)[..., None]
        return cls(np.clip(np.round(_GRAY + shown * (np.array(blends) - _GRAY)), 0, 255).astype(np.uint8))

    @functools.cached_property
    def identity(self) -> str:
        """Names the pool's content, for a mask's record."""
        return "faces-1:" + hashlib.sha256(self.faces.tobytes()).hexdigest()[:16]

    @functools.cached_property
    def _crops(self) -> Tensor:
        return torch.from_numpy(self.faces).permute(0, 3, 1, 2)

    def draw(self, count: int, *, generator: torch.Generator) -> Tensor:
        """(count, 3, 112, 112) float32 faces, RGB 0..255, each in its own light and color, half of them mirrored."""
        chosen = self._crops[torch.randint(len(self.faces), (count,), generator=generator)].float()
        mirrored = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
        return vary_photometry(torch.where(mirrored, chosen.flip(3), chosen), generator=generator)

    def to_jpeg(self) -> bytes:
        """A sheet of the faces, eight a row; empty places are black."""
        rows = -(-len(self.faces) // _COLUMNS)
        sheet = np.zeros((rows * _COLUMNS, *self.faces.shape[1:]), np.uint8)
        sheet[: len(self.faces)] = self.faces
        picture = sheet.reshape(rows, _COLUMNS, ALIGNED_SIZE, ALIGNED_SIZE, 3).swapaxes(1, 2)
        picture = picture.reshape(rows * ALIGNED_SIZE, _COLUMNS * ALIGNED_SIZE, 3)
        return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()

    @classmethod
    def load(cls, path: Path | None = None) -> FacePool:
        """Read a sheet as :meth:`to_jpeg` writes it; without ``path`` the one that comes with this package.

        Raises:
            FacePoolUnusable: no such file, or no sheet of faces.
        """
        path = path or FACES_FILE
        try:
            if path.stat().st_size > MAX_POOL_BYTES:
                raise FacePoolUnusable("The pool's file is too large.", max_bytes=MAX_POOL_BYTES)
            data = path.read_bytes()
        except OSError as error:
            raise FacePoolUnusable("The pool cannot be read.") from error
        return cls(_faces_of(data))


def _faces_of(data: bytes) -> np.ndarray:
    try:
        picture = decode_photo(data).srgb_u8
    except PhotoRefused as error:
        raise FacePoolUnusable("The pool cannot be read.") from error
    height, width, _ = picture.shape
    if width != _COLUMNS * ALIGNED_SIZE or height % ALIGNED_SIZE or height > MAX_FACES // _COLUMNS * ALIGNED_SIZE:
        raise FacePoolUnusable("The pool is no sheet of faces.", width=width, height=height)
    rows = height // ALIGNED_SIZE
    faces = picture.reshape(rows, ALIGNED_SIZE, _COLUMNS, ALIGNED_SIZE, 3).swapaxes(1, 2)
    faces = faces.reshape(-1, ALIGNED_SIZE, ALIGNED_SIZE, 3)
    # Empty places are black but for what the codec leaves.
    faces = faces[faces.reshape(len(faces), -1).mean(axis=1) > 8]
    if not len(faces):
        raise FacePoolUnusable("The pool holds no face.")
    return np.ascontiguousarray(faces)


@dataclass(frozen=True)
class Morphing:
    """How variations are morphed while a mask is learned on them.

    Attributes:
        pool: the other faces.
        share: of the variations that are morphed, 0..1.
        most: the largest share of the other face in a morph, 0..1; shares are uniform from 0 to this.
    """

    pool: FacePool
    share: float
    most: float

    def apply(self, variations: Variations, *, generator: torch.Generator) -> Variations:
        """The variations, most of them morphed with one face of the pool each; others every time."""
        count = len(variations)
        other = self.pool.draw(count, generator=generator)
        weight = self.most * torch.rand(count, 1, 1, 1, generator=generator)
        weight = weight * (torch.rand(count, 1, 1, 1, generator=generator) < self.share)
        region = torch.from_numpy(face_region(grown_px=_MORPHED_PX, soft=True).copy()).expand(count, 1, -1, -1)
        if variations.grids is not None:
            region = functional.grid_sample(region, variations.grids, align_corners=True)
            other = functional.grid_sample(other, variations.grids, padding_mode="border", align_corners=True)
        return replace(variations, crops=variations.crops + weight * region * (other - variations.crops))
