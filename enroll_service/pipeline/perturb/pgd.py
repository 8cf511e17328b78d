"""Stage two: the mask that takes every variation's embedding away from the person, within what people may see.

A universal perturbation by projected gradient descent with momentum (MI-FGSM, Dong et al. 2018), smoothed gradients
(TI-FGSM, 2019) and random misalignment, against an ensemble. All parts of the mask are learned at once, each in its own
budget (:mod:`enroll_service.pipeline.perturb.parts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from enroll_service.pipeline.ops.mask_parts import MaskParts
from enroll_service.pipeline.ops.photometry import vary_tones
from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.ops.warping import misalign
from enroll_service.pipeline.perturb.displacement import DisplacementLearner
from enroll_service.pipeline.perturb.ensemble import SurrogateEnsemble
from enroll_service.pipeline.perturb.parts import PartLearner
from enroll_service.pipeline.perturb.ssim_paint import SsimPaint
from enroll_service.pipeline.perturb.task import LearningTask
from enroll_service.pipeline.perturb.visible_paint import VisiblePaint
from enroll_service.pipeline.recipe import PerturbRecipe
from enroll_service.pipeline.strengths import MaskKind


def perturb(
    task: LearningTask,
    ensemble: SurrogateEnsemble,
    *,
    plan: PerturbRecipe,
    seed: int,
    checkpoint: Callable[[float], None],
    earlier: MaskParts | None = None,
) -> MaskParts:
    """Learn one mask for all of the task's variations, in the mask's own frame.

    Args:
        plan: in place of the task's own, for a bank's further masks.
        seed: of this mask.
        checkpoint: called before each step with the share done, 0..1; raises to stop.
        earlier: a mask of the same person and frame, learned on photos that are gone: where to begin, and what each
            step is pulled back to.
    """
    generator = torch.Generator().manual_seed(seed)
    learners = part_learners(task, earlier=earlier)
    batches = _batches(len(task.variations), plan.batch, generator)
    for iteration in range(plan.iterations):
        done = iteration / plan.iterations
        checkpoint(done)
        batch = task.variations.chosen(next(batches))
        if task.morphing is not None:
            batch = task.morphing.apply(batch, generator=generator)
        parts = [learner.value for learner in learners]
        gradients = _gradients(parts, batch, ensemble, plan=plan, generator=generator)
        for learner, gradient in zip(learners, gradients, strict=True):
            learner.step(gradient, done)
    return MaskParts(*(learner.finish() for learner in learners))


def part_learners(task: LearningTask, *, earlier: MaskParts | None) -> list[PartLearner]:
    """The parts that the settings want: what is painted and, where anything moves, what is displaced."""
    paint = None if earlier is None else earlier.paint
    if task.settings.kind is MaskKind.PAINT:
        return [SsimPaint(task, earlier=paint)]
    learners: list[PartLearner] = [VisiblePaint(task, earlier=paint)]
    if task.settings.budget.displacement_rms_px:
        learners.append(DisplacementLearner(task.settings, earlier=None if earlier is None else earlier.displacement))
    return learners


def _batches(available: int, wanted: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices of batch after batch without end: each variation again only when all have been seen."""
    waiting = torch.zeros(0, dtype=torch.long)
    while True:
        while len(waiting) < wanted:
            waiting = torch.cat([waiting, torch.randperm(available, generator=generator)])
        yield waiting[:wanted]
        waiting = waiting[wanted:]


def _gradients(
    parts: Sequence[Tensor],
    batch: Variations,
    ensemble: SurrogateEnsemble,
    *,
    plan: PerturbRecipe,
    generator: torch.Generator,
) -> tuple[Tensor, ...]:
    """d loss / d part of the ensemble, for each part, through clipping, misalignment and tones."""
    leaves = [part.clone().requires_grad_(True) for part in parts]
    seen = misalign(batch.masked(*leaves), amount=plan.misalignment, generator=generator)
    seen = vary_tones(seen, amount=plan.tones, generator=generator)
    _, gradient = ensemble.gradient(seen)
    return torch.autograd.grad(seen, leaves, grad_outputs=gradient)
