"""The painted part held to a structural similarity: the mask of the paper, which only paints.

What is ours is the geometry: steps and projection use the ellipsoid of equal structural similarity
(:mod:`enroll_service.pipeline.perturb.tolerance`) in place of a box of equal levels. At the same measured similarity
that moves budget from flat skin to eyes, nose and mouth, where recognizers look too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from enroll_service.pipeline.ops.ssim import smooth, structural_similarity
from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.perturb.directions import Leakage, damp_chroma, shrinking
from enroll_service.pipeline.perturb.task import LearningTask
from enroll_service.pipeline.perturb.tolerance import tolerance

# A bound, not a need: usual masks take one or two.
_PROJECTION_ROUNDS = 60

# To within what rounding to whole levels changes. Two or three rounds do, more where many levels are clipped.
_FITTED = 0.0005
_FITTING_ROUNDS = 24
_UNCHANGED = 1 - 1e-5


class SsimPaint:
    """Learns what is painted; see :class:`~enroll_service.pipeline.perturb.parts.PartLearner`.

    Args:
        earlier: (1, 3, 112, 112) levels, learned on photos that are gone: where to begin, and what each step is pulled
            back to.
    """

    def __init__(self, task: LearningTask, *, earlier: Tensor | None = None) -> None:
        self._recipe = task.settings.recipe.ssim_paint
        self._momentum, self._pull = task.settings.recipe.perturb.momentum, task.settings.recipe.refining_pull
        self._earlier = earlier
        self._budget = SsimBudget(task.shown, task.settings.similarity_kept, self._recipe.max_level)
        self._tolerance = tolerance(task.variations, texture_px=self._recipe.texture_px)
        self._leakage = Leakage(exponent=self._recipe.leakage)
        self._levels = torch.zeros(1, *task.variations.crops.shape[1:]) if earlier is None else earlier.clone()
        self._velocity = torch.zeros_like(self._levels)

    @property
    def value(self) -> Tensor:
        """(1, 3, 112, 112) levels."""
        return self._levels

    def step(self, gradient: Tensor, done: float) -> None:
        """Momentum on smoothed gradients (MI-FGSM, TI-FGSM), then the projection."""
        recipe = self._recipe
        smoothed = smooth(gradient, recipe.smoothing_px)
        self._velocity = self._momentum * self._velocity + (1 - self._momentum) * smoothed
        direction = damp_chroma(self._velocity * self._tolerance * self._leakage.share(gradient), keep=recipe.chroma)
        step = shrinking(recipe.step_levels, done)
        levels = self._levels - step * direction / direction.abs().mean().clamp_min(1e-12)
        if self._earlier is not None:
            levels = levels + self._pull * (self._earlier - levels)
        self._levels = self._budget.project(levels)

    def finish(self) -> Tensor:
        """Just at the similarity."""
        return self._budget.fill(self._levels)


@dataclass(frozen=True, eq=False, repr=False)
class SsimBudget:
    """How much a perturbation (1, 3, 112, 112), in levels, may change.

    Attributes:
        shown: the enrolled photos as they are.
        similarity: structural similarity that they keep in the mean, 0..1.
        max_level: largest change of a pixel, levels.
    """

    shown: Variations
    similarity: float
    max_level: float

    def project(self, perturbation: Tensor) -> Tensor:
        """The perturbation within the budget: levels clipped, then shrunk until ``shown`` keep their similarity.

        Lost similarity grows with the square of the amplitude while it is small, hence the square root; where it grows
        slower (strong masks, clipped levels) one round is not enough. Each round takes off 0.1 % at least, and usual
        masks need one.
        """
        perturbation = perturbation.clamp(-self.max_level, self.max_level)
        for _ in range(_PROJECTION_ROUNDS):
            similarity = self._similarity(perturbation)
            if similarity >= self.similarity:
                return perturbation
            perturbation = perturbation * (((1 - self.similarity) / (1 - similarity)) ** 0.5 * 0.999)
        return perturbation

    def fill(self, perturbation: Tensor) -> Tensor:
        """The perturbation scaled until ``shown`` keep just their similarity, as the last steps may leave it inside.
        Where ``max_level`` stops it, or where there is nothing to scale, it stays more similar."""
        for _ in range(_FITTING_ROUNDS):
            similarity = self._similarity(perturbation)
            if abs(similarity - self.similarity) < _FITTED or similarity >= _UNCHANGED:
                break
            factor = ((1 - self.similarity) / (1 - similarity)) ** 0.5
            perturbation = (perturbation * factor).clamp(-self.max_level, self.max_level)
        return self.project(perturbation)

    def _similarity(self, perturbation: Tensor) -> float:
        return structural_similarity(self.shown.crops, self.shown.masked(perturbation)).mean().item()
