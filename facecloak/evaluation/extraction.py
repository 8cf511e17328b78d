"""The mask-extraction attack: who collects cloaked photos of one person averages what they have in common.

Three attackers, from weak to strong. All know how faces are aligned (it is public), none has the mask or the key:

- ``blind`` has N cloaked photos and nothing else. The residual is estimated: the photo less its own non-local means
  [1]. Texture of the face stays in it and averages out only slowly.
- ``pairs`` has N photos both cloaked and as they were before (a platform that saw the uploads, friends who have the
  originals). The residual is the mask itself plus coding noise.
- ``sorted pairs`` also knows that a user has several masks: residuals are sorted into groups that correlate, and from
  each photo under attack the group's mean is taken that fits the photo's own estimated residual best.

The residuals' mean is subtracted from the aligned crop of each probe, after the platform.

[1] Buades, Coll, Morel, "A non-local algorithm for image denoising", CVPR 2005.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

import cv2
import numpy as np

_DENOISING_LEVELS = 12.0
"""Filter strength of the non-local means, levels: about a mask's root mean square."""

_SAME_MASK_CORRELATION = 0.4
"""Residuals of one mask correlate above this. JPEG and resampling noise leave 0.6-0.9 between residuals of one mask."""


class Attacker(StrEnum):
    """What the attacker has; see the module."""

    BLIND = "blind"
    PAIRS = "pairs"
    SORTED_PAIRS = "sorted pairs"


def known_residual(cloaked_crop_u8: np.ndarray, clean_crop_u8: np.ndarray) -> np.ndarray:
    """What the cloak added, (112, 112, 3) float32 levels, from both crops of one photo at the same landmarks."""
    return cloaked_crop_u8.astype(np.float32) - clean_crop_u8.astype(np.float32)


def estimated_residual(cloaked_crop_u8: np.ndarray) -> np.ndarray:
    """What somebody without the clean photo takes for the cloak, (112, 112, 3) float32 levels."""
    denoised = cv2.fastNlMeansDenoisingColored(
        np.ascontiguousarray(cloaked_crop_u8), None, _DENOISING_LEVELS, _DENOISING_LEVELS, 5, 15
    )
    return cloaked_crop_u8.astype(np.float32) - denoised.astype(np.float32)


def groups_of(residuals: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Means of groups of residuals that correlate with each other, the largest group first.

    Each residual joins the group whose mean it correlates with most, if by _SAME_MASK_CORRELATION at least, and founds
    a new one otherwise; after one pass all residuals choose again among the groups that were found.
    """
    members: list[list[np.ndarray]] = []
    for residual in residuals:
        fits = [_correlation(residual, np.mean(group, axis=0)) for group in members]
        if fits and max(fits) >= _SAME_MASK_CORRELATION:
            members[int(np.argmax(fits))].append(residual)
        else:
            members.append([residual])
    means = [np.mean(group, axis=0) for group in members]
    chosen = [int(np.argmax([_correlation(residual, mean) for mean in means])) for residual in residuals]
    counts = np.bincount(chosen, minlength=len(means))
    return [
        np.mean([residual for residual, group in zip(residuals, chosen, strict=True) if group == index], axis=0)
        for index in np.argsort(-counts, kind="stable")
        if counts[index]
    ]


def remover(attacker: Attacker, residuals: Sequence[np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """What the attacker does to an aligned crop (112, 112, 3) uint8: the same crop, the cloak subtracted.

    Args:
        residuals: N of (112, 112, 3) float32: estimated ones for ``blind``, known ones for the others.
    """
    if attacker is Attacker.SORTED_PAIRS:
        groups = groups_of(residuals)
        return lambda crop_u8: _without(crop_u8, max(groups, key=_fit_to(estimated_residual(crop_u8))))
    mean = np.mean(residuals, axis=0)
    return lambda crop_u8: _without(crop_u8, mean)


def _fit_to(residual: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda group: _correlation(residual, group)


def _without(crop_u8: np.ndarray, change: np.ndarray) -> np.ndarray:
    return np.clip(np.round(crop_u8.astype(np.float32) - change), 0, 255).astype(np.uint8)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one.ravel() - one.mean(), other.ravel() - other.mean()
    return float(one @ other / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-12))
