"""Stage two, once a mask: the masks of a bank one after the other, each kept out of where the earlier ones lead.

What can be shared is: the variations, the person's identity, and the measure of visibility. What a further mask costs
is its own steps (:class:`~enroll_service.pipeline.recipe.BankRecipe`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from statistics import fmean

import numpy as np
import torch

from enroll_service.pipeline.ops.mask_parts import MaskParts
from enroll_service.pipeline.ops.similarity_scale import as_crops
from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.perturb.ensemble import SurrogateEnsemble
from enroll_service.pipeline.perturb.pgd import perturb
from enroll_service.pipeline.perturb.repulsion import Repulsion
from enroll_service.pipeline.perturb.task import LearningTask
from enroll_service.pipeline.recipe import PerturbRecipe
from facecloak.recognizers import RecognizerRuntime

# Variations by which it is told where a mask leads: its mean over these is steady to some hundredths of a cosine.
_SAMPLE = 16

# Seeds of a bank's masks, apart from each other and from the held-out variations'.
_SEED_STEP = 7_000_003

_SEED_LIMIT = 2**63


@dataclass(frozen=True, eq=False, repr=False)
class Learned:
    """A mask's parts, and the wall seconds that they took."""

    parts: MaskParts
    seconds: float


def learn_bank(task: LearningTask, *, checkpoint: Callable[[float, str], None]) -> list[Learned]:
    """The masks of one person.

    A mask depends on those before it and on nothing after: the first masks of a bank are a smaller bank.

    Args:
        checkpoint: called before each step with the share of all masks done, 0..1, and what goes on; raises to stop.
    """
    bank = task.settings.recipe.bank
    onward = task.settings.recipe.perturb.onward
    repulsion = Repulsion(task.targets, weight=bank.repulsion, margin=bank.margin, onward=onward)
    plans = _plans(task)
    costs = [plan.iterations * plan.batch for plan in plans]
    sample = task.variations.chosen(torch.arange(min(_SAMPLE, len(task.variations))))
    learned: list[Learned] = []
    for index, plan in enumerate(plans):

        def tell(done: float, *, index: int = index, plan: PerturbRecipe = plan) -> None:
            step = min(round(done * plan.iterations) + 1, plan.iterations)
            share = (sum(costs[:index]) + done * costs[index]) / sum(costs)
            checkpoint(share, f"{_which(index, len(plans))}step {step} of {plan.iterations}")

        began = time.perf_counter()
        seed = (task.seed + index * _SEED_STEP) % _SEED_LIMIT
        earlier = task.earlier[index] if index < len(task.earlier) else None
        with _ensemble(task, repulsion) as ensemble:
            mask = perturb(task, ensemble, plan=plan, seed=seed, checkpoint=tell, earlier=earlier)
        if index + 1 < len(plans):
            _note_where_it_leads(mask, sample, repulsion=repulsion, task=task)
        learned.append(Learned(mask, round(time.perf_counter() - began, 2)))
    return learned


def similarity_between_masks(
    masks: Sequence[MaskParts], *, held_out: Variations, runtime: RecognizerRuntime, names: Sequence[str]
) -> dict[str, float]:
    """By surrogate, how alike two photos of the person are when they carry different masks of the bank.

    Args:
        masks: two or more.
        held_out: variations that the masks were not learned on.
    """
    sample = held_out.chosen(torch.arange(min(_SAMPLE // 2, len(held_out))))
    between = {}
    for name in names:
        seen = [runtime.embed(name, as_crops(sample.masked(mask.paint, mask.displacement))) for mask in masks]
        # The same variation with two masks would share more than two photos do: only pairs of different ones count.
        apart = ~np.eye(len(sample), dtype=bool)
        pairs = [float((one @ other.T)[apart].mean()) for one, other in permutations(seen, 2)]
        between[name] = round(fmean(pairs), 4)
    return between


def _plans(task: LearningTask) -> list[PerturbRecipe]:
    """By mask, how it is learned: those after the first take the bank's steps."""
    recipe = task.settings.recipe
    further = recipe.perturb.model_copy(update={"iterations": recipe.bank.iterations, "batch": recipe.bank.batch})
    return [recipe.perturb] + [further] * (task.settings.masks - 1)


def _ensemble(task: LearningTask, repulsion: Repulsion) -> SurrogateEnsemble:
    weights = task.settings.recipe.perturb.surrogate_weights
    return SurrogateEnsemble(task.runtime, repulsion.begin(), follow=repulsion.follow, weights=weights)


def _which(index: int, count: int) -> str:
    return f"mask {index + 1} of {count}, " if count > 1 else ""


def _note_where_it_leads(mask: MaskParts, sample: Variations, *, repulsion: Repulsion, task: LearningTask) -> None:
    clean, masked = as_crops(sample.crops), as_crops(sample.masked(mask.paint, mask.displacement))
    for name in task.targets:
        repulsion.take(name, clean=task.runtime.embed(name, clean), masked=task.runtime.embed(name, masked))
