"""Purifiers take off fine noise, keep edges or not, and move nothing."""

from __future__ import annotations

import numpy as np
import pytest

from facecloak_evaluation.platforms import PLATFORMS, Platform
from facecloak_evaluation.purification import PURIFIERS, after


def step(width: int = 120, height: int = 90) -> np.ndarray:
    """Dark on the left, bright on the right."""
    pixels = np.full((height, width, 3), 80, np.uint8)
    pixels[:, width // 2 :] = 180
    return pixels


@pytest.mark.parametrize("purifier", PURIFIERS.values(), ids=PURIFIERS)
def test_fine_noise_goes_and_the_picture_stays(purifier: Platform) -> None:
    noise = np.random.default_rng(1).normal(scale=8, size=step().shape)
    noisy = np.clip(step() + noise, 0, 255).round().astype(np.uint8)
    clean = purifier.process(noisy)
    assert (clean.shape, clean.dtype) == (noisy.shape, np.uint8)
    flat = (slice(None), slice(10, 45))
    assert clean[flat].astype(float).std() < 0.6 * noisy[flat].astype(float).std()
    assert clean[:, :50].mean() == pytest.approx(80, abs=2)
    assert clean[:, 70:].mean() == pytest.approx(180, abs=2)
    assert purifier.geometry(7, 9) == (1, 1, 0, 0)


def test_edges_blur_by_a_blur_and_not_by_a_denoiser() -> None:
    slopes = {
        name: np.abs(np.diff(PURIFIERS[name].process(step()).astype(int)[45, :, 0])).max()
        for name in ("blur2", "non_local_means", "bilateral")
    }
    assert slopes["blur2"] < 30 < 90 < min(slopes["non_local_means"], slopes["bilateral"])


def test_a_purifier_comes_after_the_platform_and_keeps_its_geometry() -> None:
    half, blur = PLATFORMS["jpeg75_half_lanczos"], PURIFIERS["blur2"]
    both = after(half, blur)
    assert both.name == "jpeg75_half_lanczos+blur2"
    assert np.array_equal(both.process(step()), blur.process(half.process(step())))
    assert both.geometry(120, 90) == half.geometry(120, 90)
