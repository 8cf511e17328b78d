"""The published FaceCloak algorithm at its published settings, restated: the row that ours is compared with.

"Personalized Face Privacy Protection From a Single Image" (arXiv 2605.19032) and its code (zacharyyahn/FaceCloak), as
far as they can be restated for other recognizers: one surrogate, 9 images (the photo and 8 variations), 10 passes image
by image, sign steps of 2/255 and a perturbation of at most 8/255 on a -1..1 scale, a learned per-pixel map that
multiplies it (standardized gradient, rate 0.01), a cosine triplet toward a far identity and away from the nearest one,
and patches around eyes, nose and mouth of up to 32 levels. What its code does and its paper may not mean is kept,
because that is what was published:

- Patches gather the perturbation of their region after each image but are no part of what the recognizer sees.
- The perturbation is learned as 8/255 of a range of 2 (4 levels are 8/255 of -1..1) and applied as 8 levels of 255.

Its variations come from a diffusion model; the evaluation gives it the service's own in their place. It is delivered
by ApplyCloak, at the photo's own size: the published way returns a face of 112 px.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from facecloak.masks.mask import MASK_SIZE

if TYPE_CHECKING:
    from facecloak.recognizers.runtime import GradientResult

PASSES = 10
VARIATIONS = 8
STEP_LEVELS = 2 / 255 * 127.5
"""2/255 on the -1..1 scale, in levels of 0..255."""
LEARNED_LEVELS = 8 / 255 * 127.5
APPLIED_LEVELS = 8
PATCH_LEVELS = 32
MAP_RATE = 0.01

# Eyes, nose and mouth: centers at the ArcFace template's points and shares of the crop's side, (width, height).
_REGIONS = (
    ((38, 52), (1 / 5, 1 / 11)),
    ((74, 52), (1 / 5, 1 / 11)),
    ((56, 72), (1 / 5, 1 / 4)),
    ((56, 92), (1 / 3, 1 / 4)),
)


class Gradients(Protocol):
    """What is needed of a recognizer runtime."""

    def gradient(self, name: str, crops: np.ndarray, *, far: np.ndarray, near: np.ndarray) -> GradientResult: ...


def far_and_near(own: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least similar identity and the most similar one, (1, D) each, of ``others`` (N, D) to ``own`` (1, D)."""
    similarity = others @ own[0]
    return others[int(similarity.argmin())][None], others[int(similarity.argmax())][None]


def reference_pixels(
    crops: np.ndarray, *, runtime: Gradients, surrogate: str, far: np.ndarray, near: np.ndarray, seed: int
) -> np.ndarray:
    """The published algorithm's mask, (112, 112, 3) int8 levels.

    Args:
        crops: (N, 3, 112, 112) float32 RGB 0..255, the photo and its variations.
        far, near: (1, D) embeddings: the identity that is approached, and the one that is left.
    """
    random = np.random.default_rng(seed)
    shape = (1, 3, MASK_SIZE, MASK_SIZE)
    change = random.uniform(-STEP_LEVELS, STEP_LEVELS, shape).astype(np.float32)
    attention = np.ones(shape, np.float32)
    patches = np.zeros(shape, np.float32)
    inside = region_mask()
    for _ in range(PASSES):
        for crop in crops:
            seen = np.clip(crop[None] + _within(attention * change, LEARNED_LEVELS), 0, 255).astype(np.float32)
            gradient = runtime.gradient(surrogate, seen, far=far, near=near).gradient
            through_map = gradient * change
            attention = (attention - MAP_RATE * _standardized(through_map)).astype(np.float32)
            change = (change - STEP_LEVELS * np.sign(gradient * attention)).astype(np.float32)
            patches = _within(patches + _within(attention * change, LEARNED_LEVELS) * inside, PATCH_LEVELS)
    learned = _within(attention * change, LEARNED_LEVELS) * (APPLIED_LEVELS / LEARNED_LEVELS)
    levels = np.where(inside, _within(learned + patches, PATCH_LEVELS), learned)
    return np.round(levels[0].transpose(1, 2, 0)).astype(np.int8)


def region_mask() -> np.ndarray:
    """(1, 1, 112, 112) bool: the patches around eyes, nose and mouth."""
    inside = np.zeros((1, 1, MASK_SIZE, MASK_SIZE), bool)
    for (x, y), (width, height) in _REGIONS:
        half_width, half_height = round(width * MASK_SIZE / 2), round(height * MASK_SIZE / 2)
        inside[..., y - half_height : y + half_height, x - half_width : x + half_width] = True
    return inside


def _within(change: np.ndarray, levels: float) -> np.ndarray:
    return np.clip(change, -levels, levels).astype(np.float32)


def _standardized(gradient: np.ndarray) -> np.ndarray:
    spread = float(gradient.std())
    return (gradient - gradient.mean()) / spread if spread > 0 else np.zeros_like(gradient)
