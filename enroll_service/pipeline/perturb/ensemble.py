"""Stage two's view of the recognizers: what to move away from and towards, and the gradient as part of torch's
graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from enroll_service.pipeline.ops.similarity_scale import as_crops
from facecloak.recognizers import RecognizerRuntime

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Target:
    """Where one recognizer's embedding is to go; both (1, D) float32 of unit length.

    Attributes:
        near: the user's own identity, which is left.
        far: the anchor that is approached.
    """

    near: np.ndarray
    far: np.ndarray


class SurrogateEnsemble:
    """Asks all surrogates at once for the direction in which a batch of crops becomes less like the user."""

    def __init__(
        self,
        runtime: RecognizerRuntime,
        targets: Mapping[str, Target],
        *,
        follow: Callable[[str, np.ndarray], Target] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        """``follow`` gives a surrogate's target for the next call, from its name and the embeddings (N, D) of this
        one; without it the targets stay. ``weights`` are those of surrogates' gradients; 1 for others."""
        of_each = {name: (weights or {}).get(name, 1.0) for name in targets}
        mean = fmean(of_each.values())
        self._weights = {name: weight / max(mean, 1e-12) for name, weight in of_each.items()}
        self._runtime = runtime
        self._targets = dict(targets)
        self._follow = follow
        self._pool = ThreadPoolExecutor(max_workers=len(self._targets), thread_name_prefix="surrogate")

    def __enter__(self) -> SurrogateEnsemble:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def gradient(self, crops: Tensor) -> tuple[dict[str, float], Tensor]:
        """Mean loss by surrogate, and the weighted mean over surrogates of the loss's gradient, (N, 3, 112, 112).

        Each surrogate's gradient is scaled to a mean magnitude of 1: they differ by orders of magnitude, and unscaled
        the steepest recognizer would decide alone.
        """
        levels = as_crops(crops)

        def ask(name: str) -> tuple[float, np.ndarray]:
            target = self._targets[name]
            result = self._runtime.gradient(name, levels, far=target.far, near=target.near)
            if self._follow is not None:
                # Each name in one thread only: the others' targets are not touched.
                self._targets[name] = self._follow(name, result.embedding)
            return float(result.loss.mean()), result.gradient / max(float(np.abs(result.gradient).mean()), 1e-20)

        answers = self._ask_all(ask)
        losses = {name: loss for name, (loss, _) in answers.items()}
        weighted = [np.float32(self._weights[name]) * gradient for name, (_, gradient) in answers.items()]
        return losses, torch.from_numpy(np.mean(weighted, axis=0))

    def _ask_all(self, ask: Callable[[str], Answer]) -> dict[str, Answer]:
        """All surrogates' answers, asked at once."""
        # Each in a copy of the context, so that the call's trace goes on in the pool's threads.
        asked = {name: self._pool.submit(copy_context().run, ask, name) for name in self._targets}
        return {name: one.result() for name, one in asked.items()}
