"""The one interface through which the rest of FaceCloak runs recognizers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from facecloak.models.spec import RecognizerSpec


@dataclass(frozen=True)
class GradientResult:
    """What one gradient call returns.

    Attributes:
        loss: (N,) float32, ``cos(e, near) - cos(e, far)``.
        embedding: (N, D) float32, unit length.
        gradient: (N, 3, 112, 112) float32, d loss / d crops, per level of 0..255.
    """

    loss: np.ndarray
    embedding: np.ndarray
    gradient: np.ndarray


class RecognizerRuntime(Protocol):
    """Runs recognizers by name. Implementations are thread safe and deterministic.

    Crops are float32 (N, 3, 112, 112), RGB, 0..255, aligned to the ArcFace template.
    """

    def names(self) -> tuple[str, ...]:
        """Recognizers that this runtime serves, sorted."""
        ...

    def spec(self, name: str) -> RecognizerSpec:
        """Raises RecognizerUnknown."""
        ...

    def embed(self, name: str, crops: np.ndarray) -> np.ndarray:
        """Embeddings (N, D) float32 of unit length.

        Raises:
            RecognizerUnknown: no such recognizer.
            BatchInvalid: the crops' shape, type or values are wrong.
            RecognizerFailed: the engine refused; names the model.
        """
        ...

    def gradient(self, name: str, crops: np.ndarray, *, far: np.ndarray, near: np.ndarray) -> GradientResult:
        """Loss, embedding and gradient of N crops.

        Minimizing the loss moves the embedding away from ``near``, toward ``far``.

        Args:
            far, near: (D,), (1, D) or (N, D); normalized inside; a zero row contributes nothing.

        Raises:
            GradientUnavailable: the recognizer was imported for evaluation only; and those of :meth:`embed`.
        """
        ...

    def probe(self, name: str, *, gradient: bool) -> None:
        """Run the recognizer once, for a health check: a server may call a model ready that does not run.

        Also loads what the first enrollment would otherwise wait for. Nothing is tried again.

        Args:
            gradient: its gradient graph too.

        Raises:
            GradientUnavailable, RecognizerFailed, ...: as the calls themselves do, at once.
        """
        ...

    def close(self) -> None:
        """Free the sessions. The runtime cannot be used afterward."""
        ...
