"""How alike two faces are to a recognizer, on a scale that recognizers share: 0 as two people, 1 as one person.

Cosines themselves cannot be compared: two strangers are at 0.02 for one recognizer and at 0.85 for another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from facecloak.recognizers import RecognizerRuntime

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
