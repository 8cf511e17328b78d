"""The mask-extraction attack: who collects cloaked photos of one person averages what they have in common.

Three attackers, from weak to strong. All know how faces are aligned (it is public), none has the mask or the key:

- ``blind`` has N cloaked photos, and public photos of other people. The residual is estimated: the cloaked crop's
  detail (less its own Gaussian blur) above the detail that faces have in common. The rest averages out slowly.
- ``pairs`` has N photos both cloaked and as they were before (a platform that saw the uploads, friends who have the
  originals). The residual is the mask itself plus coding noise.
- ``sorted pairs`` also knows that a user has several masks: residuals are sorted into groups that correlate, and from
  each photo under attack the group's mean is taken that fits the photo's own estimated residual best.

The residuals' mean is subtracted from the aligned crop of each probe, after the platform.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

import cv2
import numpy as np

_DETAIL_PX = 4.0
"""Sigma of the Gaussian that detail is what lies above, crop px: masks are learned smooth at 1 px and gray at large."""

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


def detail_of(crop_u8: np.ndarray) -> np.ndarray:
    """(112, 112, 3) float32 levels: the crop less its own Gaussian blur."""
    levels = crop_u8.astype(np.float32)
    return np.asarray(levels - cv2.GaussianBlur(levels, (0, 0), _DETAIL_PX), np.float32)


def estimated_residual(cloaked_crop_u8: np.ndarray, common_detail: np.ndarray) -> np.ndarray:
    """What somebody without the clean photo takes for the cloak, (112, 112, 3) float32 levels.

    Args:
        common_detail: mean of :func:`detail_of` over public photos of other people.
    """
    return detail_of(cloaked_crop_u8) - common_detail


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


def remover(
    attacker: Attacker, residuals: Sequence[np.ndarray], *, common_detail: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """What the attacker does to an aligned crop (112, 112, 3) uint8: the same crop, the cloak subtracted.

    Args:
        residuals: N of (112, 112, 3) float32: estimated ones for ``blind``, known ones for the others.
        common_detail: see :func:`estimated_residual`.
    """
    if attacker is Attacker.SORTED_PAIRS:
        groups = groups_of(residuals)
        details = [group - cv2.GaussianBlur(group, (0, 0), _DETAIL_PX) for group in groups]

        def without_the_one_it_wears(crop_u8: np.ndarray) -> np.ndarray:
            own = estimated_residual(crop_u8, common_detail)
            return _without(crop_u8, groups[int(np.argmax([_correlation(own, detail) for detail in details]))])

        return without_the_one_it_wears
    mean = np.mean(residuals, axis=0)
    return lambda crop_u8: _without(crop_u8, mean)


def _without(crop_u8: np.ndarray, change: np.ndarray) -> np.ndarray:
    return np.clip(np.round(crop_u8.astype(np.float32) - change), 0, 255).astype(np.uint8)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one.ravel() - one.mean(), other.ravel() - other.mean()
    return float(one @ other / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-12))
