"""Stage one: varied pictures of the person, from the enrolled photo(s).

A mask learned on one picture only fits that picture. The default synthesizer bends the face as expression and pose do
and changes light, color, sharpness and noise as cameras do, on the CPU, in about a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from enroll_service.pipeline.intake.portrait import Portrait
from enroll_service.pipeline.ops.photometry import vary_photometry
from enroll_service.pipeline.ops.variations import Variations, mirrored_grids
from enroll_service.pipeline.ops.warping import WIDE_MARGIN, WIDE_SIZE, draw_bends
from enroll_service.pipeline.recipe import SynthesisRecipe
from facecloak.faces import ALIGNED_SIZE
from facecloak.faces.frame import field_at, frame_field


class Synthesizer(Protocol):
    """Makes pictures of one person that differ as photos of that person do."""

    @property
    def identity(self) -> str:
        """Name and version, for the mask's record."""
        ...

    def synthesize(
        self, portraits: Sequence[Portrait], *, count: int, seed: int, checkpoint: Callable[[float], None]
    ) -> Variations:
        """``count`` variations.

        Args:
            portraits: one or more photos of the person, reduced to the face.
            seed: same seed, same variations.
            checkpoint: called with the share done, 0..1, at least every few seconds; raises to stop.
        """
        ...


class ElasticSynthesizer:
    """Elastic, pose, light, color, blur and noise variations, drawn anew for each picture.

    Args:
        in_face_frame: whether the mask is to lie in the face's own frame, where a photo's mesh is known: the mask is
            then bent with the face, else the face under the mask.
    """

    identity = "elastic-1"

    def __init__(self, settings: SynthesisRecipe, *, in_face_frame: bool = False) -> None:
        self._settings = settings
        self._in_face_frame = in_face_frame

    def synthesize(
        self, portraits: Sequence[Portrait], *, count: int, seed: int, checkpoint: Callable[[float], None]
    ) -> Variations:
        """See :meth:`Synthesizer.synthesize`."""
        generator = torch.Generator().manual_seed(seed)
        sources = (
            torch.from_numpy(np.stack([portrait.wide_srgb_u8 for portrait in portraits])).permute(0, 3, 1, 2).float()
        )
        if sources.shape[1:] != (3, WIDE_SIZE, WIDE_SIZE):
            raise ValueError(f"wide crops have the shape {tuple(sources.shape[1:])}")
        # Each photo serves equally often.
        source_of = torch.arange(count) % len(sources)
        bends = draw_bends(count, settings=self._settings, generator=generator)
        crops = bends.apply(sources[source_of])
        crops = vary_photometry(crops, generator=generator)
        if not self._in_face_frame:
            return Variations(crops)
        places = torch.stack([_frame_places(portrait) for portrait in portraits])
        grids = bends.apply(places[source_of]).movedim(1, 3)
        return Variations(crops, mirrored_grids(grids, bends.mirrored[..., None]))


def as_shown(portraits: Sequence[Portrait], *, in_face_frame: bool) -> Variations:
    """The enrolled photos themselves, one variation each."""
    crops = torch.from_numpy(np.concatenate([portrait.crop for portrait in portraits]))
    if not in_face_frame:
        return Variations(crops)
    inner = slice(WIDE_MARGIN, WIDE_MARGIN + ALIGNED_SIZE)
    places = torch.stack([_frame_places(portrait) for portrait in portraits])
    return Variations(crops, places[:, :, inner, inner].movedim(1, 3))


def _frame_places(portrait: Portrait) -> Tensor:
    """(2, 160, 160) of each pixel of the wide crop its place in the face's frame, as a grid of variations tells it;
    without a mesh, its place in the crop."""
    to_crop = np.array([[1.0, 0.0, -WIDE_MARGIN], [0.0, 1.0, -WIDE_MARGIN]])
    if portrait.mesh is None:
        x, y = np.meshgrid(*[np.arange(WIDE_SIZE, dtype=np.float32) - WIDE_MARGIN] * 2)
        places = np.stack([x, y], axis=-1)
    else:
        places = field_at(frame_field(portrait.mesh), to_crop, width=WIDE_SIZE, height=WIDE_SIZE)
    return (torch.from_numpy(places) * 2 / (ALIGNED_SIZE - 1) - 1).movedim(2, 0)
