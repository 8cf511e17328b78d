"""How a mask is learned: everything that decides what it looks like, apart from the photos and what an operator turns.

A recipe is a Python object, and a TOML file with the same names: what a file leaves out is as here. Figures marked
"measured" come from people 1-20 of the tuning set (docs/results).
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from enroll_service.pipeline.errors import RecipeUnusable
from enroll_service.pipeline.frozen_model import FrozenModel, Share
from enroll_service.pipeline.strengths import StrengthsRecipe
from facecloak.masks.mask import MaskGeometry

MAX_RECIPE_BYTES = 64 * 1024
"""Largest recipe file."""


class SynthesizerName(StrEnum):
    """Who makes the variations (`enroll_service.pipeline.synthesize.factory` builds them)."""

    ELASTIC = "elastic"
    MESH = "mesh"
    ARC2FACE = "arc2face"


class SynthesisRecipe(FrozenModel):
    """Stage one: how varied the pictures are that the mask is learned on."""

    variations: int = Field(default=80, ge=1, le=512)
    """Variations made of the enrolled photo(s): as many as are looked at in 20 steps, each once."""

    elastic_px: float = Field(default=2.5, ge=0, le=16)
    """Standard deviation of the elastic warp's 4 x 4 control points, in px of the 112 crop (stands in for
    expression)."""

    rotation_radians: float = Field(default=0.05, ge=0, le=0.5)
    """Largest in-plane rotation left by the alignment."""

    yaw_degrees: float = Field(default=35.0, ge=0, le=60)
    """How far the mesh is turned to either side, at most; the spread is half of it."""

    pitch_degrees: float = Field(default=20.0, ge=0, le=40)
    """As ``yaw_degrees``, up and down."""

    roll_degrees: float = Field(default=15.0, ge=0, le=45)
    """As ``yaw_degrees``, in the image's plane; the alignment takes most of it back."""

    expression: float = Field(default=0.7, ge=0, le=3)
    """How much the mesh is deformed: 1 as one person's photos differ (see :mod:`facecloak.faces.shape`), in which the
    network's own scatter is counted too. Of 0.5, 0.7, 1 and 2, 2 is the worst and the others differ by less than chance
    (measured on people 1-20)."""

    mirrored: Share = 0.5
    """Share of the variations that are mirrored."""

    morphed: Share = 0.7
    """Share of the variations that are morphed with another face each time that a step looks at them. With 0 and 0.25
    masks hold on fewer photos; 0.5, 0.7 and 0.9 differ by little (measured: docs/experiments.md)."""

    morph: Share = 1.0
    """Largest share of the other face in a morph; shares are uniform from 0 to this. 0 morphs nothing. Of
    0.4, 0.7 and 1, 1 left least of the similarity (measured)."""


class Arc2FaceRecipe(FrozenModel):
    """How the synthesizer `arc2face` draws, where the settings name it (docs/arc2face.md)."""

    steps: int = Field(default=25, ge=1, le=1000)
    """Steps of the solver a picture (Arc2Face's own default)."""

    guidance: float = Field(default=3.0, ge=1, le=30)
    """Scale of classifier-free guidance (Arc2Face's own default); 1 is without."""

    repeats: int = Field(default=5, ge=1, le=64)
    """Variations an enrolled photo or a picture serves for, about: 80 variations take 16 pictures."""

    variety: Literal[SynthesizerName.ELASTIC, SynthesizerName.MESH] = SynthesizerName.ELASTIC
    """Who varies the photos and the pictures drawn: elastic or mesh, as in `synthesizer`. Where a
    picture's mesh is not found, it is bent."""

    redraws: int = Field(default=16, ge=0, le=1024)
    """Pictures drawn again at most, in place of those that do not show the person."""

    similarity_floor: Annotated[float, Field(ge=-10.0, le=10.0)] = 0.4
    """A picture shows the person when its similarity to the photos reaches this, on a scale from another person (0) to
    the same (1), by the surrogates: as much as is asked of a second photo (`intake.same_person_score`)."""


class PerturbRecipe(FrozenModel):
    """Stage two: the steps that all parts of a mask share."""

    iterations: int = Field(default=20, ge=1, le=5000)
    """Steps of the optimization; cancellation is checked before each. 40 took twice as long and protected no better
    (measured)."""

    batch: int = Field(default=4, ge=1, le=64)
    """Variations a step; one call a recognizer and step. 8 took twice as long and protected no better (measured)."""

    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Share of the last step's direction that is kept (MI-FGSM, Dong et al. 2018)."""

    onward: float = Field(default=2.0, ge=0, le=4)
    """Weight of the direction in which the mask already leads the embeddings, across the person's identity, against
    leaving that identity. Masks hold on fewer photos with 1, and on fewer still with 0 (measured)."""

    misalignment: float = Field(default=1.0, ge=0, le=4)
    """How far a later detector's crop lies from ours, as a factor: 1 is up to 2 px, 4 % and 0.04 radians."""

    tones: float = Field(default=1.0, ge=0, le=2)
    """How far each step varies the masked pictures' tones, as a factor: 1 is a gamma of 0.74 to 1.35, a contrast of 0.7
    to 1.2 and a brightness of 0.85 to 1.15. At the same similarity unseen recognizers lose more photos (measured)."""

    surrogate_weights: Mapping[str, Annotated[float, Field(ge=0, le=100)]] = {"sface": 4.0}
    """Weight of a surrogate's gradient against the others'; 1 for those that are not named. sface resists most: with
    weight 4 it is left, too, and recognizers that were not asked lose nothing (measured)."""


class SsimPaintRecipe(FrozenModel):
    """The painted part of a mask that only paints, held to a structural similarity."""

    ssim_target: Annotated[float, Field(gt=0.3, lt=1.0)] | None = None
    """Structural similarity of the enrolled crop to bring the mask to, in place of the strength's."""

    max_level: float = Field(default=32.0, gt=0, le=127)
    """Largest change of a pixel, in levels of 0..255. Only brows, lashes, lips and hair take so much. At the same
    similarity 24 protects less and 48 more (measured), but 48 shows as dark strokes on a large portrait."""

    chroma: Share = 0.05
    """How much of a step's color part is kept: 0 makes a gray mask. People see tints that structural similarity does
    not: with 0.15, red and green edges show about the eyes of a large portrait."""

    leakage: float = Field(default=0.8, ge=0, le=2)
    """How far budget is moved to where the surrogates' gradients have been large, and identity leaks: the exponent of
    their size. 0 leaves the budget to the photo's texture alone, and more of the similarity (measured)."""

    step_levels: float = Field(default=1.5, gt=0)
    """Mean change of a pixel in the first step, in levels; it falls linearly to a fifth of that."""

    smoothing_px: float = Field(default=1.0, ge=0, le=8)
    """Sigma of the Gaussian that smooths each gradient (TI-FGSM, Dong et al. 2019): finer changes die in JPEG."""

    texture_px: float = Field(default=2.0, gt=0, le=16)
    """Sigma of the Gaussian window in which local contrast is measured for the shape of the budget."""


class PaintRecipe(FrozenModel):
    """The painted part of a mask that moves, too, held to what people see."""

    step: float = Field(default=0.3, gt=0, le=10)
    """Size of the first step, as a share of the budget; it falls linearly to a fifth of that."""

    chroma: Share = 0.05
    """How much of a step's color part is kept: 0 makes a gray mask."""

    smoothing_px: float = Field(default=0.5, ge=0, le=8)
    """Sigma of the Gaussian that smooths each gradient (TI-FGSM, Dong et al. 2019): finer changes die in JPEG. With 1
    the same is seen of masks that protect less (measured)."""

    grown_px: int = Field(default=0, ge=-20, le=20)
    """By how much the mean face's outline is grown; beyond it nothing is painted."""

    soft_px: float = Field(default=2.5, gt=0, le=16)
    """Sigma of that outline's edge."""

    max_level: float = Field(default=16.0, gt=0, le=127)
    """Largest change of a pixel, levels. What is seen is a mean over places, and lets 60 levels through on a pupil or a
    brow: pale pupils and black spots at a JOD of 9.1 (measured on one portrait)."""

    iris_share: Share = 0.2
    """How much of a step's paint is kept on the irises, which people look at first."""


class DisplacementRecipe(FrozenModel):
    """The part that moves."""

    step_px: float = Field(default=0.6, gt=0, le=8)
    """Mean length of the first step, px of the 112 frame; it falls linearly to a fifth of that."""

    sigma_px: float = Field(default=2.0, gt=0, le=16)
    """Sigma of the Gaussian that smooths each step: what bends less than a face does looks like the face. At the same
    size 3 protects less, and 1.5 no more, with waves in brows (measured)."""

    grown_px: int = Field(default=-8, ge=-20, le=20)
    """As for what is painted; negative: within the outline, which people notice first. -4 and 4 protect no more
    (measured)."""

    soft_px: float = Field(default=4.0, gt=0, le=16)
    """Sigma of that outline's edge."""


class BankRecipe(FrozenModel):
    """What the masks of a bank after the first may cost, and how far they keep apart."""

    iterations: int = Field(default=30, ge=1, le=5000)
    """Steps of each mask after the first."""

    batch: int = Field(default=8, ge=1, le=64)
    """Variations a step of each mask after the first. Twice the steps with half of the batch take as long and did worse
    (measured)."""

    repulsion: float = Field(default=3.0, ge=0, le=100)
    """Weight of the directions that earlier masks lead to, against the person's identity (measured: 3 keeps more
    photos apart than 1, at the same protection). 0 makes masks that differ by chance only."""

    margin: Share = 0.0
    """How far a mask may lead where an earlier one leads before it is repelled, as a share of how far the first one
    does. With 0.35, photos are harder to match with uncloaked ones and easier to match with each other (measured)."""


class Recipe(FrozenModel):
    """How a mask is learned."""

    version: Literal[1] = 1
    """Of the recipe's names and what they mean."""

    geometry: MaskGeometry = MaskGeometry.FACE
    """The frame that the mask lies in. similarity-112: the aligned crop's. uv-112: the face's own, which follows pose
    and expression where a photo's face mesh is found."""

    refining_pull: Share = 0.05
    """When a mask is refined with new photos, the share of the way back to the stored one that each step ends with:
    0 forgets the old photos as learning goes on, 1 learns nothing new."""

    synthesis: SynthesisRecipe = SynthesisRecipe()
    arc2face: Arc2FaceRecipe = Arc2FaceRecipe()
    perturb: PerturbRecipe = PerturbRecipe()
    paint: PaintRecipe = PaintRecipe()
    displacement: DisplacementRecipe = DisplacementRecipe()
    ssim_paint: SsimPaintRecipe = SsimPaintRecipe()
    strengths: StrengthsRecipe = StrengthsRecipe()
    bank: BankRecipe = BankRecipe()

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a TOML file.

        Raises:
            RecipeUnusable: no such file, no TOML, or a name or value that this release does not know.
        """
        try:
            if path.stat().st_size > MAX_RECIPE_BYTES:
                raise RecipeUnusable("The recipe's file is too large.", max_bytes=MAX_RECIPE_BYTES)
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise RecipeUnusable(f"The recipe cannot be read: {error.strerror}.") from error
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(map(str, first["loc"]))
            raise RecipeUnusable(f"The recipe's {field or 'content'}: {first['msg']}.", field=field) from error
        except ValueError as error:  # no UTF-8, no TOML
            raise RecipeUnusable("The recipe is no TOML file.") from error

    @property
    def identity(self) -> str:
        """Version and digest, for a mask's record."""
        return f"{self.version}:{hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]}"
