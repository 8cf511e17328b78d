"""Averaging residuals takes a single mask off, and does not take off one of several."""

from __future__ import annotations

import numpy as np
import pytest

from facecloak_evaluation.extraction_attack import (
    Attacker,
    detail_of,
    estimated_residual,
    groups_of,
    known_residual,
    remover,
)

LEVELS = 10
COUNT = 12


def masks(count: int) -> np.ndarray:
    """Smooth random masks, (count, 112, 112, 3) float32 of LEVELS root mean square."""
    noise = np.random.default_rng(1).normal(size=(count, 28, 28, 1)).repeat(4, axis=1).repeat(4, axis=2)
    return (LEVELS * noise.repeat(3, axis=3)).astype(np.float32)


def faces(count: int) -> np.ndarray:
    """Crops of slowly changing levels, (count, 112, 112, 3) uint8, none near 0 or 255."""
    random = np.random.default_rng(2)
    ramp = np.linspace(-40, 40, 112)
    slopes = random.uniform(-1, 1, (count, 2, 3))
    crops = (
        128
        + slopes[:, None, None, 0] * ramp[None, :, None, None]
        + slopes[:, None, None, 1] * ramp[None, None, :, None]
    )
    return (crops + random.normal(scale=2, size=crops.shape)).round().clip(0, 255).astype(np.uint8)


def worn(crops: np.ndarray, levels: np.ndarray) -> np.ndarray:
    return np.asarray((crops + levels).round().clip(0, 255).astype(np.uint8))


def error_left(attacker: Attacker, kinds: int) -> float:
    """Root mean square of what is left of the mask after the attack, as a share of it; the worst of all masks."""
    clean, wardrobe = faces(COUNT), masks(kinds)
    cloaked = np.stack([worn(crop, wardrobe[index % kinds]) for index, crop in enumerate(clean)])
    known = [known_residual(after, before) for after, before in zip(cloaked, clean, strict=True)]
    common = np.mean([detail_of(crop) for crop in faces(40)[COUNT + 1 :]], axis=0)
    estimated = [estimated_residual(after, common) for after in cloaked]
    remove = remover(attacker, estimated if attacker is Attacker.BLIND else known, common_detail=common)
    probe = faces(COUNT + 1)[-1]
    left = [np.sqrt(np.mean((remove(worn(probe, mask)).astype(float) - probe) ** 2)) for mask in wardrobe]
    return float(max(left)) / LEVELS


def test_pairs_take_a_single_mask_off() -> None:
    assert error_left(Attacker.PAIRS, kinds=1) < 0.1


def test_the_mean_of_four_masks_takes_off_a_part_of_each() -> None:
    # Of uncorrelated masks the mean removes a quarter and adds three quarters of the others, a quarter of each.
    assert error_left(Attacker.PAIRS, kinds=4) == pytest.approx(np.sqrt(0.75**2 + 3 * 0.25**2), abs=0.1)


def test_who_sorts_pairs_takes_each_of_four_masks_off() -> None:
    assert error_left(Attacker.SORTED_PAIRS, kinds=4) < 0.15


def test_a_blind_attacker_takes_part_of_a_single_mask_off() -> None:
    assert 0.1 < error_left(Attacker.BLIND, kinds=1) < 0.95


def test_residuals_are_sorted_by_mask() -> None:
    wardrobe = masks(3)
    residuals = [wardrobe[index] for index in (0, 1, 0, 2, 0, 1)]
    groups = groups_of(residuals)
    assert [int(np.argmin([np.abs(group - mask).max() for mask in wardrobe])) for group in groups] == [0, 1, 2]
    assert all(np.abs(group - wardrobe[index]).max() < 1e-3 for index, group in enumerate(groups))


def test_nothing_to_take_off_leaves_the_crop_as_it_is() -> None:
    crop = faces(1)[0]
    for attacker in Attacker:
        nothing = np.zeros((112, 112, 3), np.float32)
        assert np.array_equal(remover(attacker, [nothing], common_detail=nothing)(crop), crop)
