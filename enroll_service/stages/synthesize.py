"""Stage one: varied pictures of the person, from the enrolled photo(s).

A mask learned on one picture only fits that picture. The default synthesizer bends the face as expression and pose do
and changes light, color, sharpness and noise as cameras do, on the CPU, in about a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch

from enroll_service.stages.intake import Portrait
from enroll_service.stages.photometry import vary_photometry
from enroll_service.stages.settings import SynthesisSettings
from enroll_service.stages.variations import Variations
from enroll_service.stages.warping import WIDE_SIZE, vary_geometry


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
    """Elastic, pose, light, color, blur and noise variations, drawn anew for each picture."""

    identity = "elastic-1"

    def __init__(self, settings: SynthesisSettings) -> None:
        self._settings = settings

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
        chosen = sources[torch.arange(count) % len(sources)]
        bent = vary_geometry(chosen, settings=self._settings, generator=generator)
        # The face is bent under the mask, which lies in the aligned crop's frame: no grid.
        return Variations(vary_photometry(bent, generator=generator))
