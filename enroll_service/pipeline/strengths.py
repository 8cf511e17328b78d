"""What a mask does to a face, and how visible it may be."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from enroll_service.pipeline.frozen_model import FrozenModel


class MaskKind(StrEnum):
    """What a mask does to a face."""

    FULL = "full"
    """It paints and displaces."""
    PAINT = "paint"
    """It only paints, as the published algorithm's masks do."""


class Strength(StrEnum):
    """How visible a mask may be; :class:`StrengthsRecipe` says what each means."""

    UNNOTICED = "unnoticed"
    NATURAL = "natural"
    STRONG = "strong"


class StrengthBudget(FrozenModel):
    """How visible a mask may be."""

    jod: Annotated[float, Field(gt=0, lt=10)]
    """What the painted part keeps of ColorVideoVDP's JOD, predicted, on the enrolled photos and on every other."""

    ssimulacra2: Annotated[float, Field(gt=0, lt=100)]
    """The same for SSIMULACRA2."""

    displacement_rms_px: Annotated[float, Field(ge=0, le=3)]
    """Root mean square of the displacement over the face, px of the 112 frame, where the eyes are 35.2 px apart. 0
    moves nothing."""

    displacement_largest_px: Annotated[float, Field(gt=0, le=3.9)]
    """Its largest length, px of the 112 frame."""

    ssim: Annotated[float, Field(gt=0.3, lt=1.0)]
    """Structural similarity that a mask that only paints is brought to: of the enrolled photo's aligned 112-pixel crop
    with and without it (Wang et al. 2004)."""


class StrengthsRecipe(FrozenModel):
    """What the strengths mean. What is asked of the predictions allows for how they part from what was measured on
    masks that were learned against them: asked for 8.9 and 63, photos of five tuning people kept 8.97 and 74."""

    unnoticed: StrengthBudget = StrengthBudget(
        jod=9.3, ssimulacra2=72, displacement_rms_px=0.42, displacement_largest_px=1.05, ssim=0.90
    )
    """Side by side with the original hardly seen: 1.2 and 3 % of the distance between the eyes."""

    natural: StrengthBudget = StrengthBudget(
        jod=8.9, ssimulacra2=63, displacement_rms_px=0.81, displacement_largest_px=2.1, ssim=0.855
    )
    """Nobody would notice without the original: 2.3 and 6 %."""

    strong: StrengthBudget = StrengthBudget(
        jod=8.45, ssimulacra2=54, displacement_rms_px=1.2, displacement_largest_px=2.1, ssim=0.80
    )
    """Most protection: at most 3.4 and 6 %; the second bound leaves about 3 % of the first."""

    def of(self, strength: Strength) -> StrengthBudget:
        """The budget of a strength."""
        budget: StrengthBudget = getattr(self, strength.value)
        return budget
