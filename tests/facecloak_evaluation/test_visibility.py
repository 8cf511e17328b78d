"""Visibility against literal values.

The literals of the noisy picture were made with scikit-image 0.26 and checked against a direct evaluation of the
definition (Wang et al. 2004) in `ssim_by_definition`.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from facecloak.faces import Box
from facecloak_evaluation.visibility import crop_to_box, visibility


def ramp() -> np.ndarray:
    """(32, 40, 3) uint8, 40..228, another slope in every channel."""
    rows, columns = np.mgrid[0:32, 0:40]
    return np.stack([40 + rows * 3 + columns, 60 + columns * 4, 200 - rows * 4], axis=2).astype(np.uint8)


def noisy(level: int = 8) -> np.ndarray:
    noise = np.random.default_rng(1).integers(-level, level + 1, (32, 40, 3))
    return np.clip(ramp().astype(int) + noise, 0, 255).astype(np.uint8)


def ssim_by_definition(first: np.ndarray, second: np.ndarray) -> float:
    """The mean over all whole 7x7 windows and channels, sample covariance."""
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    x, y = (sliding_window_view(picture.astype(float), (7, 7), axis=(0, 1)) for picture in (first, second))
    mean_x, mean_y = x.mean((-1, -2)), y.mean((-1, -2))
    variance_x, variance_y = x.var((-1, -2), ddof=1), y.var((-1, -2), ddof=1)
    covariance = ((x - mean_x[..., None, None]) * (y - mean_y[..., None, None])).sum((-1, -2)) / 48
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float((similarity / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))).mean())


def test_equal_pictures() -> None:
    seen = visibility(ramp(), ramp())
    assert (seen.ssim, seen.psnr_db, seen.largest_change_levels, seen.chroma_share) == (1.0, 100.0, 0, 0.0)


def test_ssim_is_that_of_the_definition() -> None:
    assert visibility(ramp(), noisy()).ssim == pytest.approx(ssim_by_definition(ramp(), noisy()), abs=1e-9)


def test_literal_values_of_noise() -> None:
    seen = visibility(ramp(), noisy())
    assert seen.ssim == pytest.approx(0.8746, abs=1e-4)
    assert seen.psnr_db == pytest.approx(34.294, abs=1e-3)
    assert seen.largest_change_levels == 8


def test_a_gray_shift_has_no_color_and_known_psnr() -> None:
    seen = visibility(ramp(), ramp() + np.uint8(4))
    assert seen.psnr_db == pytest.approx(10 * np.log10(255**2 / 16))
    assert seen.rms_change_levels == pytest.approx(4)
    assert seen.chroma_share == pytest.approx(0, abs=1e-9)


def test_a_shift_of_blue_is_mostly_color() -> None:
    shifted = ramp()
    shifted[..., 2] += 10
    seen = visibility(ramp(), shifted)
    # BT.601: Y 1.14, Cb 5, Cr -0.81312 levels.
    assert seen.chroma_rms_levels == pytest.approx((5**2 + 0.81312**2) ** 0.5, abs=1e-6)
    assert seen.chroma_share == pytest.approx(25.6612 / (25.6612 + 1.14**2), abs=1e-4)


def test_a_wrap_would_be_seen() -> None:
    # Levels near 255 must not wrap: 250 and 5 are far apart.
    assert visibility(np.full((8, 8, 3), 250, np.uint8), np.full((8, 8, 3), 5, np.uint8)).largest_change_levels == 245


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (ramp(), ramp()[:, :-1]),
        (ramp().astype(np.float32), ramp().astype(np.float32)),
        (ramp().astype(np.int8), ramp().astype(np.int8)),
        (ramp()[:6], ramp()[:6]),
        (ramp()[..., 0], ramp()[..., 0]),
    ],
    ids=["sizes", "float", "int8", "too small", "gray"],
)
def test_what_cannot_be_compared_is_refused(first: np.ndarray, second: np.ndarray) -> None:
    with pytest.raises(ValueError, match="pictures"):
        visibility(first, second)


@pytest.mark.parametrize(
    ("box", "shape"),
    [
        (Box(2, 3, 10, 12), (12, 10)),
        (Box(2.4, 3.6, 10, 12), (13, 11)),
        (Box(-5, -5, 10, 10), (5, 5)),
        (Box(35, 28, 20, 20), (4, 5)),
        (Box(100, 100, 5, 5), (1, 1)),
    ],
)
def test_a_box_is_cut_at_the_edges(box: Box, shape: tuple[int, int]) -> None:
    assert crop_to_box(ramp(), box).shape[:2] == shape
