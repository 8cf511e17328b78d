"""Stage two's view of the recognizers: what to move away from and towards, and the gradient as part of torch's
graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from facecloak.recognizers import RecognizerRuntime

Answer = TypeVar("Answer")

# Mean similarity of photos of two people, and of two photos of one person, by recognizer: measured on the tuning people
# (20 people, 9 photos each, all pairs). Recognizers differ too much for one threshold.
TYPICAL_SIMILARITY = {
    "dlib_resnet": (0.845, 0.950),
    "faceres": (0.391, 0.708),
    "fr_feature": (0.018, 0.675),
    "mobileface": (0.037, 0.411),
    "mobilefacenet": (0.042, 0.752),
    "sface": (0.115, 0.693),
}


_ARCFACE_TYPICAL = TYPICAL_SIMILARITY["fr_feature"]

# Similarity of a photo to the most similar of 400 strangers' photos, the mean over the tuning people's photos.
NEAREST_STRANGER = {
    "dlib_resnet": 0.924,
    "faceres": 0.591,
    "fr_feature": 0.333,
    "mobileface": 0.343,
    "mobilefacenet": 0.436,
    "sface": 0.360,
}


@dataclass(frozen=True)
class Target:
    """Where one recognizer's embedding is to go; both (1, D) float32 of unit length.

    Attributes:
        near: the user's own identity, which is left.
        far: the anchor that is approached.
    """

    near: np.ndarray
    far: np.ndarray


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to unit length; a zero row stays zero."""
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)).astype(np.float32)


def as_crops(crops: Tensor) -> np.ndarray:
    """Contiguous float32 (N, 3, 112, 112) as runtimes take it."""
    return np.ascontiguousarray(crops.detach().numpy(), dtype=np.float32)


def sameness(crops: np.ndarray, *, runtime: RecognizerRuntime, names: Sequence[str]) -> np.ndarray:
    """How much each pair of crops (N, 3, 112, 112) shows one person: (N, N) float64, symmetric.

    On a scale from another person (0) to the same person (1), both meaning the typical pair; the mean over the
    recognizers ``names``. One whose typical similarities are not known is read as an ArcFace-type one.
    """
    scores = np.zeros((len(crops), len(crops)))
    for name in names:
        stranger, same = TYPICAL_SIMILARITY.get(name, _ARCFACE_TYPICAL)
        embeddings = runtime.embed(name, crops).astype(np.float64)
        scores += (embeddings @ embeddings.T - stranger) / (same - stranger) / len(names)
    return scores


def share_left(name: str, *, before: float, after: float) -> float:
    """How much one recognizer has left of what lifts the person above strangers, 1 for all of it: from the mean cosine
    to the person ``before`` and ``after`` masking. One whose typical similarities are not known is read as an
    ArcFace-type one."""
    stranger, _ = TYPICAL_SIMILARITY.get(name, _ARCFACE_TYPICAL)
    return (after - stranger) / max(before - stranger, 1e-6)


class SurrogateEnsemble:
    """Asks all surrogates at once for the direction in which a batch of crops becomes less like the user."""

    def __init__(
        self,
        runtime: RecognizerRuntime,
        targets: Mapping[str, Target],
        *,
        follow: Callable[[str, np.ndarray], Target] | None = None,
    ) -> None:
        """``follow`` gives a surrogate's target for the next call, from its name and the embeddings (N, D) of this
        one; without it the targets stay."""
        self._runtime = runtime
        self._targets = dict(targets)
        self._follow = follow
        self._pool = ThreadPoolExecutor(max_workers=len(self._targets), thread_name_prefix="surrogate")

    def __enter__(self) -> SurrogateEnsemble:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def gradient(self, crops: Tensor) -> tuple[dict[str, float], Tensor]:
        """Mean loss by surrogate, and the mean over surrogates of the loss's gradient, (N, 3, 112, 112).

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
        return losses, torch.from_numpy(np.mean([gradient for _, gradient in answers.values()], axis=0))

    def _ask_all(self, ask: Callable[[str], Answer]) -> dict[str, Answer]:
        """All surrogates' answers, asked at once."""
        # Each in a copy of the context, so that the call's trace goes on in the pool's threads.
        asked = {name: self._pool.submit(copy_context().run, ask, name) for name in self._targets}
        return {name: one.result() for name, one in asked.items()}


def own_identity(runtime: RecognizerRuntime, name: str, crops: np.ndarray) -> np.ndarray:
    """The person's centroid in one recognizer's space, (1, D), from crops (N, 3, 112, 112) float32."""
    return unit(runtime.embed(name, crops).mean(axis=0, keepdims=True))
