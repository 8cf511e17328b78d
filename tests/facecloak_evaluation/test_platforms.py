"""What platforms do to pixels, and where the pixels land."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from facecloak_evaluation.platforms import PLATFORMS, Platform, reencode_jpeg


def picture(width: int, height: int) -> np.ndarray:
    """A smooth picture with one bright 5x5 dot at (60 %, 40 %)."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([rows * 100 // height, columns * 100 // width, np.full_like(rows, 60)], axis=2).astype(np.uint8)
    x, y = int(width * 0.6), int(height * 0.4)
    pixels[y - 2 : y + 3, x - 2 : x + 3] = 255
    return pixels


def brightest(pixels: np.ndarray) -> np.ndarray:
    """(x, y) center of mass of what is bright."""
    light = np.clip(pixels.astype(float).sum(axis=2) - 400, 0, None)
    rows, columns = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]]
    return np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()


@pytest.mark.parametrize("platform", PLATFORMS.values(), ids=PLATFORMS)
@pytest.mark.parametrize("size", [(250, 250), (2160, 1440), (121, 97)])
def test_a_platform_keeps_type_and_says_where_points_land(platform: Platform, size: tuple[int, int]) -> None:
    width, height = size
    before = picture(width, height)
    after = platform.process(before)
    assert after.dtype == np.uint8
    assert after.ndim == 3
    assert after.shape[2] == 3
    expected = platform.move(brightest(before)[None], width=width, height=height)[0]
    assert brightest(after) == pytest.approx(expected, abs=0.6)


def test_names_and_the_default() -> None:
    assert "jpeg85" in PLATFORMS
    assert all(name == platform.name and platform.description for name, platform in PLATFORMS.items())


def test_delivered_changes_nothing() -> None:
    before = picture(64, 48)
    assert np.array_equal(PLATFORMS["delivered"].process(before), before)


def test_sizes() -> None:
    assert PLATFORMS["edge1080_jpeg75"].process(picture(2160, 1440)).shape == (720, 1080, 3)
    assert PLATFORMS["edge1080_jpeg75"].process(picture(250, 200)).shape == (200, 250, 3)
    assert PLATFORMS["crop90"].process(picture(200, 100)).shape == (90, 180, 3)
    assert PLATFORMS["half_and_back"].process(picture(251, 101)).shape == (101, 251, 3)
    assert PLATFORMS["jpeg75_half_lanczos"].process(picture(251, 101)).shape == (50, 125, 3)


def test_a_half_by_lanczos_is_of_the_jpeg_and_not_the_other_way_round() -> None:
    before = picture(96, 64)
    coded = Image.fromarray(reencode_jpeg(before, quality=75))
    expected = np.asarray(coded.resize((48, 32), Image.Resampling.LANCZOS))
    assert np.array_equal(PLATFORMS["jpeg75_half_lanczos"].process(before), expected)


def test_lower_quality_changes_more() -> None:
    before = picture(250, 250)
    before = np.clip(before.astype(int) + np.random.default_rng(1).integers(-20, 21, before.shape), 0, 255).astype(
        np.uint8
    )
    changes = [
        np.abs(PLATFORMS[name].process(before).astype(int) - before).mean()
        for name in ("jpeg95_444", "jpeg85", "jpeg75", "jpeg70")
    ]
    assert changes == sorted(changes)


def test_reencoding_subsamples_color() -> None:
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2] = (255, 0, 0)
    stripes[:, 1::2] = (0, 0, 255)
    kept = reencode_jpeg(stripes, quality=95, subsampling="4:4:4").astype(int)
    mixed = reencode_jpeg(stripes, quality=95).astype(int)
    assert np.abs(kept - stripes).mean() < 20 < np.abs(mixed - stripes).mean()
