"""The painted part held to what people see, at the size at which a face is seen.

Steps are taken in the octaves of a Laplacian pyramid, each place by what the eye forgives there: where light and
detail hide a change, it may be large. The budget is one of predicted JOD and SSIMULACRA2
(:mod:`facecloak.cloaking.visibility`) on the enrolled photos.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from enroll_service.pipeline.ops.face_region import face_window, irises
from enroll_service.pipeline.ops.ssim import smooth
from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.ops.visibility import CropEyes, built, octave_weights
from enroll_service.pipeline.perturb.directions import damp_chroma, shrinking
from enroll_service.pipeline.perturb.task import LearningTask
from facecloak.cloaking.visibility import VisibilityBudget
from facecloak.masks.mask import MASK_SIZE

# More rounds would bring the rest of the mask further up where parts of it are cut at the largest level.
_FILLING_ROUNDS = 2
# Less than that is no mask: it stays as it is.
_NOTHING = 1e-6


class VisiblePaint:
    """Learns what is painted; see :class:`~enroll_service.pipeline.perturb.parts.PartLearner`.

    Args:
        earlier: (1, 3, 112, 112) levels, learned on photos that are gone: where to begin, and what each step is pulled
            back to.
    """

    def __init__(self, task: LearningTask, *, earlier: Tensor | None = None) -> None:
        recipe = task.settings.recipe
        self._recipe = recipe.paint
        self._momentum, self._pull = recipe.perturb.momentum, recipe.refining_pull
        self._earlier = earlier
        self._shown, self._eyes = task.shown, CropEyes(task.shown.crops)
        self._budget = VisibilityBudget(task.settings.budget.jod, task.settings.budget.ssimulacra2)
        window = face_window(grown_px=recipe.paint.grown_px, soft_px=recipe.paint.soft_px)
        window = window * (1 - (1 - recipe.paint.iris_share) * irises())
        self._window = torch.from_numpy((window + window[:, ::-1]) / 2)[None, None]
        self._tolerances = _tolerances(task.variations, self._budget)
        self._levels = torch.zeros(1, 3, MASK_SIZE, MASK_SIZE) if earlier is None else earlier.clone()
        self._velocity = torch.zeros_like(self._levels)

    @property
    def value(self) -> Tensor:
        """(1, 3, 112, 112) levels."""
        return self._levels

    def step(self, gradient: Tensor, done: float) -> None:
        """Steepest descent in the metric of what is seen."""
        smoothed = smooth(gradient, self._recipe.smoothing_px)
        self._velocity = self._momentum * self._velocity + (1 - self._momentum) * smoothed
        move = self._steepest(damp_chroma(self._velocity * self._window, keep=self._recipe.chroma))
        move = damp_chroma(move, keep=self._recipe.chroma) * self._window
        # The two sides of a face are alike: what is learned of one holds for the other.
        move = (move + move.flip(3)) / 2
        levels = self._levels - move * (shrinking(self._recipe.step, done) / max(self._excess(move), 1e-12))
        if self._earlier is not None:
            levels = levels + self._pull * (self._earlier - levels)
        self._levels = self._clamped(levels / max(self._excess(levels), 1.0))

    def finish(self) -> Tensor:
        """Brought to the budget, as far as the largest level lets it."""
        levels = self._levels
        for _ in range(_FILLING_ROUNDS):
            levels = self._clamped(levels / max(self._excess(levels), _NOTHING))
        return levels

    def _clamped(self, levels: Tensor) -> Tensor:
        return levels.clamp(-self._recipe.max_level, self._recipe.max_level)

    def _steepest(self, gradient: Tensor) -> Tensor:
        """The direction (1, 3, 112, 112) in which most is gained for what is seen."""
        with torch.enable_grad():
            leaves = [torch.zeros(1, 3, *one.shape[2:], requires_grad=True) for one in self._tolerances]
            by_octave = torch.autograd.grad(built(leaves), leaves, grad_outputs=gradient)
        steps = []
        for pulled, tolerated in zip(by_octave, self._tolerances, strict=True):
            # A mean over an octave's places: each counts for as much of the picture as there are fewer of them.
            steps.append(pulled * tolerated.square() * pulled[0, 0].numel())
        return built(steps)

    def _excess(self, levels: Tensor) -> float:
        return self._eyes.excess(self._shown.warped(levels), self._budget)


def _tolerances(variations: Variations, budget: VisibilityBudget) -> list[Tensor]:
    """By octave (1, 1, h, w) in the mask's frame: the changes of levels that are seen alike, over all variations."""
    eyes = CropEyes(variations.crops)
    slope = eyes.slope.sum(1, keepdim=True)
    tolerances = []
    for octave, weight in zip(eyes.weights, octave_weights(budget), strict=True):
        size = (MASK_SIZE, MASK_SIZE)
        seen = weight * functional.interpolate(octave, size=size, mode="bilinear") * slope
        seen = variations.mean_in_mask_frame(seen.square()).sqrt()
        seen = (seen + seen.flip(3)) / 2
        tolerances.append(1 / functional.adaptive_avg_pool2d(seen, octave.shape[-1]).clamp_min(1e-9))
    return tolerances
