"""The extraction attack on masks that displace: who has photos both cloaked and as they were estimates the field, and
undoes it.

All pairs share one displacement and one painted part, in the frame of the aligned crop. Both are found by turns: the
displacement by least squares of the light's gradient over a smooth window and over all pairs (Lucas and Kanade, IJCAI
1981, pooled), the painted part as the mean of what the displacement leaves. Then the painted part is subtracted from a
probe's crop and the field is inverted. An attacker who also follows each face's mesh can do better by as much as pose
and expression bend the mask's frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np

_ROUNDS = 12
_WINDOW_PX = 3.0
"""Sigma of the window that shares one displacement: masks displace smoothly."""
_LARGEST_PX = 4.0
"""A mask's displacement is at most 127 / 32 px, in x and in y."""
_DAMPING = 25.0
"""Added to the squared gradients, levels per px squared: where a crop is flat nothing says how it moved."""
_INVERSE_ROUNDS = 6
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class Undoing(StrEnum):
    """How far an attacker with pairs goes; the rest of :class:`~facecloak_evaluation.extraction_attack.Attacker`."""

    DISPLACEMENT = "pairs, displacement undone"
    BOTH = "pairs, displacement and paint undone"


Pair = tuple[np.ndarray, np.ndarray]
"""(cloaked, clean): aligned crops (112, 112, 3) uint8 of one photo at the same landmarks."""


@dataclass(frozen=True)
class Extraction:
    """What an attacker takes a mask for.

    Attributes:
        shift_px: (112, 112, 2) float32, x then y: a cloaked crop shows at a pixel what the clean one shows that far
            from it.
        painted: (112, 112, 3) float32 levels that are added afterwards.
    """

    shift_px: np.ndarray
    painted: np.ndarray


def extract(pairs: Sequence[Pair]) -> Extraction:
    """The displacement and the painted part that explain N >= 1 pairs best."""
    cloaked = [pair[0].astype(np.float32) for pair in pairs]
    clean = [pair[1].astype(np.float32) for pair in pairs]
    shift = np.zeros((*pairs[0][0].shape[:2], 2), np.float32)
    painted = np.zeros(pairs[0][0].shape, np.float32)
    for _ in range(_ROUNDS):
        moved = [_moved(crop, shift) for crop in clean]
        shift = _nearer(shift, moved, [seen - painted for seen in cloaked])
        moved = [_moved(crop, shift) for crop in clean]
        # With one pair all that is left would be called paint: then nothing more could be found to have moved.
        if len(pairs) > 1:
            painted = np.mean([seen - crop for seen, crop in zip(cloaked, moved, strict=True)], axis=0)
    left = [seen - _moved(crop, shift) for seen, crop in zip(cloaked, clean, strict=True)]
    return Extraction(shift, np.asarray(np.mean(left, axis=0), np.float32))


def undoing(extraction: Extraction, *, also_painted: bool = True) -> Callable[[np.ndarray], np.ndarray]:
    """What the attacker does to a probe's crop (112, 112, 3) uint8: the painted part off, if at all, then all back to
    where it was."""
    painted = extraction.painted if also_painted else np.float32(0)
    back = inverse(extraction.shift_px)

    def undo(crop_u8: np.ndarray) -> np.ndarray:
        bare = _moved(crop_u8.astype(np.float32) - painted, back)
        return np.clip(np.round(bare), 0, 255).astype(np.uint8)

    return undo


def inverse(shift_px: np.ndarray) -> np.ndarray:
    """The field (H, W, 2) that undoes a smooth field of less than 1 px a px: ``e(q) = -d(q + e(q))``."""
    back = np.zeros_like(shift_px)
    for _ in range(_INVERSE_ROUNDS):
        back = -_moved(shift_px, back)
    return back


def _nearer(shift: np.ndarray, moved: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> np.ndarray:
    """One step: the field that brings what was moved nearer to what is seen, over all pairs."""
    products = np.zeros((*shift.shape[:2], 5), np.float32)
    for crop, seen in zip(moved, wanted, strict=True):
        light, missing = crop @ _LUMA, (seen - crop) @ _LUMA
        across, down = (cv2.Scharr(light, cv2.CV_32F, *order) / 32 for order in ((1, 0), (0, 1)))
        products += np.dstack([across * across, across * down, down * down, across * missing, down * missing])
    xx, xy, yy, x, y = cv2.split(cv2.GaussianBlur(products / len(moved), (0, 0), _WINDOW_PX))
    xx, yy = xx + _DAMPING, yy + _DAMPING
    determinant = xx * yy - xy * xy
    step = np.dstack([(yy * x - xy * y) / determinant, (xx * y - xy * x) / determinant])
    return np.asarray(np.clip(shift + np.clip(step, -1, 1), -_LARGEST_PX, _LARGEST_PX), np.float32)


def _moved(picture: np.ndarray, shift_px: np.ndarray) -> np.ndarray:
    """At every pixel what the picture (H, W, n) float32 shows that far from it."""
    height, width = shift_px.shape[:2]
    places = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32) + shift_px
    across, down = cv2.split(places)
    return np.asarray(cv2.remap(picture, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.float32)
