"""Stage two, once a mask: the masks of a bank one after the other, each kept out of where the earlier ones lead.

What can be shared is: the variations, the person's identity, and the measure of visibility. What a further mask costs
is its own steps (see :class:`BankSettings`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from enroll_service.pipeline.ops.similarity_scale import as_crops
from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.perturb.ensemble import SurrogateEnsemble, Target
from enroll_service.pipeline.perturb.pgd import perturb
from enroll_service.pipeline.perturb.repulsion import Repulsion
from enroll_service.pipeline.settings import PerturbSettings, StageSettings
from enroll_service.pipeline.synthesize.face_morphing import Morphing
from facecloak.recognizers import RecognizerRuntime

# Variations by which it is told where a mask leads: its mean over these is steady to some hundredths of a cosine.
_SAMPLE = 16

# Seeds of a bank's masks, apart from each other and from the held-out variations'.
_SEED_STEP = 7_000_003

_SEED_LIMIT = 2**63


def learn_bank(
    variations: Variations,
    *,
    shown: Variations,
    runtime: RecognizerRuntime,
    targets: Mapping[str, Target],
    settings: StageSettings,
    seed: int,
    checkpoint: Callable[[float, str], None],
    earlier: Sequence[Tensor] = (),
    morphing: Morphing | None = None,
) -> tuple[list[Tensor], list[float]]:
    """The masks of one person, (1, 3, 112, 112) in levels, and the wall seconds that each took.

    A mask depends on those before it and on nothing after: the first masks of a bank are a smaller bank.

    Args:
        shown: the enrolled photos as they are: visibility is measured on these.
        targets: by surrogate, what every mask leaves.
        checkpoint: called before each step with the share of all masks done, 0..1, and what goes on; raises to stop.
        earlier: the person's masks so far, from photos that are gone; the first of them are refined.
        morphing: morphs each batch with other faces.
    """
    bank, onward = settings.bank, settings.perturb.onward
    elsewhere = Repulsion(targets, repulsion=bank.repulsion, margin=bank.margin, onward=onward)
    plans = [settings.perturb] + [_shortened(settings)] * (settings.bank.masks - 1)
    costs = [plan.iterations * plan.batch for plan in plans]
    sample = variations.chosen(torch.arange(min(_SAMPLE, len(variations))))
    learned: list[Tensor] = []
    seconds: list[float] = []
    for index, plan in enumerate(plans):

        def tell(done: float, *, index: int = index, plan: PerturbSettings = plan) -> None:
            step = min(round(done * plan.iterations) + 1, plan.iterations)
            share = (sum(costs[:index]) + done * costs[index]) / sum(costs)
            checkpoint(share, f"{_which(index, plans)}step {step} of {plan.iterations}")

        began = time.perf_counter()
        with SurrogateEnsemble(runtime, elsewhere.begin(), follow=elsewhere.follow) as ensemble:
            mask_seed = (seed + index * _SEED_STEP) % _SEED_LIMIT
            learned.append(
                perturb(
                    variations,
                    ensemble,
                    shown=shown,
                    settings=plan,
                    seed=mask_seed,
                    checkpoint=tell,
                    earlier=earlier[index] if index < len(earlier) else None,
                    pull=settings.refining_pull,
                    morphing=morphing,
                )
            )
        if index + 1 < len(plans):
            _note_where_it_leads(learned[-1], sample, elsewhere=elsewhere, runtime=runtime, names=list(targets))
        seconds.append(round(time.perf_counter() - began, 2))
    return learned, seconds


def _which(index: int, plans: Sequence[PerturbSettings]) -> str:
    return f"mask {index + 1} of {len(plans)}, " if len(plans) > 1 else ""


def measure_bank(
    masks: Sequence[np.ndarray], *, held_out: Variations, runtime: RecognizerRuntime, names: Sequence[str]
) -> dict[str, Any]:
    """How alike two photos of the person are to each surrogate when they wear different masks of the bank; JSON values.

    Args:
        masks: (112, 112, 3) int8 each, two or more.
        held_out: variations that the masks were not learned on.
    """
    levels = [torch.from_numpy(mask.astype(np.float32)).permute(2, 0, 1)[None] for mask in masks]
    sample = held_out.chosen(torch.arange(min(_SAMPLE // 2, len(held_out))))
    between = {}
    for name in names:
        worn = [runtime.embed(name, as_crops(sample.masked(level))) for level in levels]
        # The same variation with two masks would share more than two photos do: only pairs of different ones count.
        apart = ~np.eye(len(sample), dtype=bool)
        pairs = [float((one @ other.T)[apart].mean()) for one, other in permutations(worn, 2)]
        between[name] = round(fmean(pairs), 4)
    return {"masks": len(masks), "similarity_between_masks": between}


def _shortened(settings: StageSettings) -> PerturbSettings:
    return settings.perturb.model_copy(update={"iterations": settings.bank.iterations, "batch": settings.bank.batch})


def _note_where_it_leads(
    mask: Tensor, sample: Variations, *, elsewhere: Repulsion, runtime: RecognizerRuntime, names: Sequence[str]
) -> None:
    clean, masked = as_crops(sample.crops), as_crops(sample.masked(mask))
    for name in names:
        elsewhere.take(name, clean=runtime.embed(name, clean), masked=runtime.embed(name, masked))
