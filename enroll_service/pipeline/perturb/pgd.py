"""Stage two: the perturbation that takes every variation's embedding away from the person, at a given visibility.

A universal perturbation by projected gradient descent with momentum (MI-FGSM, Dong et al. 2018), smoothed gradients
(TI-FGSM, 2019) and random misalignment, against an ensemble. What is ours is the geometry: steps and projection use
the ellipsoid of equal structural similarity (:mod:`enroll_service.pipeline.perturb.tolerance`) in place of a box of
equal levels. At the same measured similarity that moves budget from flat skin to eyes, nose and mouth, where
recognizers look too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from enroll_service.pipeline.ops.photometry import vary_tones
from enroll_service.pipeline.ops.ssim import smooth, structural_similarity
from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.ops.warping import misalign
from enroll_service.pipeline.perturb.ensemble import SurrogateEnsemble
from enroll_service.pipeline.perturb.task import LearningTask
from enroll_service.pipeline.perturb.tolerance import tolerance
from enroll_service.pipeline.recipe import PerturbRecipe

# A bound, not a need: usual masks take one or two.
_PROJECTION_ROUNDS = 60

# To within what rounding to whole levels changes. Two or three rounds do, more where many levels are clipped.
_FITTED = 0.0005
_FITTING_ROUNDS = 24
_UNCHANGED = 1 - 1e-5

# Where identity leaks is told in parts of the face (px) and over some ten steps.
_LEAKAGE_PX = 4.0
_LEAKAGE_KEPT = 0.9


def perturb(
    task: LearningTask,
    ensemble: SurrogateEnsemble,
    *,
    plan: PerturbRecipe,
    seed: int,
    checkpoint: Callable[[float], None],
    earlier: Tensor | None = None,
) -> Tensor:
    """Learn one perturbation (1, 3, 112, 112), in levels, for all of the task's variations, in the mask's own frame.

    Args:
        plan: in place of the task's own, for a bank's further masks.
        seed: of this mask.
        checkpoint: called before each step with the share done, 0..1; raises to stop.
        earlier: a perturbation of the same person and frame, learned on photos that are gone: where to begin, and what
            each step is pulled back to.
    """
    variations, budget = task.variations, Budget.of(task, plan=plan)
    generator = torch.Generator().manual_seed(seed)
    tolerated = tolerance(variations, texture_px=plan.texture_px)
    perturbation = torch.zeros(1, *variations.crops.shape[1:]) if earlier is None else earlier.clone()
    velocity = torch.zeros_like(perturbation)
    leakage = Leakage(exponent=plan.leakage)
    batches = _batches(len(variations), plan.batch, generator)
    for iteration in range(plan.iterations):
        done = iteration / plan.iterations
        checkpoint(done)
        batch = variations.chosen(next(batches))
        if task.morphing is not None:
            batch = task.morphing.apply(batch, generator=generator)
        gradient = _gradient(perturbation, batch, ensemble, plan=plan, generator=generator)
        velocity = plan.momentum * velocity + (1 - plan.momentum) * smooth(gradient, plan.smoothing_px)
        direction = damp_chroma(velocity * tolerated * leakage.share(gradient), keep=plan.chroma)
        step = plan.step_levels * (1 - 0.8 * done)
        perturbation = perturbation - step * direction / direction.abs().mean().clamp_min(1e-12)
        if earlier is not None:
            perturbation = perturbation + task.settings.recipe.refining_pull * (earlier - perturbation)
        perturbation = budget.project(perturbation)
    return budget.fill(perturbation)


@dataclass(frozen=True, eq=False, repr=False)
class Budget:
    """How much a perturbation (1, 3, 112, 112), in levels, may change.

    Attributes:
        shown: the enrolled photos as they are.
        similarity: structural similarity that they keep in the mean, 0..1.
        max_level: largest change of a pixel, levels.
    """

    shown: Variations
    similarity: float
    max_level: float

    @classmethod
    def of(cls, task: LearningTask, *, plan: PerturbRecipe) -> Budget:
        """The task's."""
        return cls(task.shown, task.settings.similarity_kept, plan.max_level)

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


def damp_chroma(change: Tensor, *, keep: float) -> Tensor:
    """A change (1, 3, H, W) with its deviation from gray scaled by ``keep``."""
    gray = change.mean(dim=1, keepdim=True)
    return gray + keep * (change - gray)


class Leakage:
    """Where identity leaks: where the surrogates' gradients have been large, smoothed over places and steps. Budget is
    moved there, beyond what the tolerance gives (the paper's "more protection where identity leaks").

    Args:
        exponent: of the share of budget in the gradients' size; 0 moves nothing.
    """

    def __init__(self, *, exponent: float) -> None:
        self._exponent = exponent
        self._size: Tensor | None = None

    def share(self, gradient: Tensor) -> Tensor:
        """(1, 1, H, W) factors of the budget with a mean near 1, from all gradients (1, 3, H, W) so far."""
        size = smooth(gradient.abs().mean(dim=1, keepdim=True), _LEAKAGE_PX)
        self._size = size if self._size is None else _LEAKAGE_KEPT * self._size + (1 - _LEAKAGE_KEPT) * size
        return (self._size / self._size.mean().clamp_min(1e-12)) ** self._exponent


def _batches(available: int, wanted: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices of batch after batch without end: each variation again only when all have been seen."""
    waiting = torch.zeros(0, dtype=torch.long)
    while True:
        while len(waiting) < wanted:
            waiting = torch.cat([waiting, torch.randperm(available, generator=generator)])
        yield waiting[:wanted]
        waiting = waiting[wanted:]


def _gradient(
    perturbation: Tensor,
    batch: Variations,
    ensemble: SurrogateEnsemble,
    *,
    plan: PerturbRecipe,
    generator: torch.Generator,
) -> Tensor:
    """d loss / d perturbation of the ensemble through clipping, misalignment and tones, (1, 3, 112, 112)."""
    leaf = perturbation.clone().requires_grad_(True)
    seen = misalign(batch.masked(leaf), amount=plan.misalignment, generator=generator)
    seen = vary_tones(seen, amount=plan.tones, generator=generator)
    _, gradient = ensemble.gradient(seen)
    (pulled,) = torch.autograd.grad(seen, leaf, grad_outputs=gradient)
    return pulled
