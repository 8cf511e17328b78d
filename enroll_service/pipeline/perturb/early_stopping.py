"""When stage two may end before its last step: once the perturbation gets no better on variations it never learns on.

The loss of the steps themselves cannot tell: it is of ever other variations, and it goes on falling on these after it
has stopped falling on others (Prechelt, "Early stopping - but when?", 1998).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import fmean

import numpy as np
from torch import Tensor

from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.perturb.ensemble import SurrogateEnsemble, Target, as_crops, share_left
from enroll_service.pipeline.settings import EarlyStopSettings
from facecloak.recognizers import RecognizerRuntime


class HeldOut:
    """Variations of the person that nothing is learned on, and what a perturbation leaves of the person on them.

    Args:
        variations: looked at again and again.
        targets: by surrogate, the identity that is left.
    """

    def __init__(self, variations: Variations, *, runtime: RecognizerRuntime, targets: Mapping[str, Target]) -> None:
        crops = as_crops(variations.crops)
        self._variations = variations
        self._targets = dict(targets)
        # What does not change is asked once.
        self._before = {name: _mean_cosine(runtime.embed(name, crops), one) for name, one in targets.items()}

    def left(
        self, perturbation: Tensor, ensemble: SurrogateEnsemble, *, penalty: Callable[[str, np.ndarray], float]
    ) -> float:
        """Mean over the surrogates of the similarity to the person that is left: 1 all of it, 0 a stranger's.

        Args:
            perturbation: (1, 3, 112, 112), levels.
            penalty: what is added to a surrogate's similarity, from its name and the embeddings (N, D).
        """
        embeddings = ensemble.embed(self._variations.masked(perturbation))
        left = []
        for name, target in self._targets.items():
            after = _mean_cosine(embeddings[name], target) + penalty(name, embeddings[name])
            left.append(share_left(name, before=self._before[name], after=after))
        return fmean(left)


class Plateau:
    """Looks at one mask's perturbation every few steps, keeps the best, and knows when it has stopped getting better.

    Args:
        measure: how much of the person a perturbation leaves; the less the better.
    """

    def __init__(self, measure: Callable[[Tensor], float], *, settings: EarlyStopSettings) -> None:
        self._measure = measure
        self._settings = settings
        self._best: Tensor | None = None
        self._least = float("inf")
        # The best is whatever was least; patience asks for more, lest chance keep a run going.
        self._level = float("inf")
        self._checks_without = 0

    @property
    def best(self) -> Tensor:
        """The perturbation that left least of the person. Raises RuntimeError before the first look."""
        if self._best is None:
            raise RuntimeError("nothing was looked at")
        return self._best

    def is_due(self, step: int) -> bool:
        """Whether to look after ``step``, counted from 1."""
        return step % self._settings.every == 0

    def reached(self, perturbation: Tensor) -> bool:
        """Look at the perturbation; whether it is to be the last one."""
        left = self._measure(perturbation)
        if left < self._least:
            self._best, self._least = perturbation, left
        if left < self._level - self._settings.improvement:
            self._level, self._checks_without = left, 0
            return False
        self._checks_without += 1
        return self._checks_without >= self._settings.patience


def _mean_cosine(embeddings: np.ndarray, target: Target) -> float:
    return float((embeddings @ target.near[0]).mean())
