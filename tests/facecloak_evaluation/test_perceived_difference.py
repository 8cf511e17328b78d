"""What people see of a change: values that the measures' own definitions give, and what is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from facecloak_evaluation.perceived_difference import flip_99, ssimulacra2

SIZE = 160


def texture() -> np.ndarray:
    """(160, 160, 3) uint8, slow waves of another direction in every channel."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    waves = [np.sin(rows / 9), np.sin(columns / 7), np.sin((rows + columns) / 11)]
    return (128 + 70 * np.stack(waves, axis=2)).round().astype(np.uint8)


def noisy(levels: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(scale=levels, size=(SIZE, SIZE, 3))
    return np.clip(texture() + noise, 0, 255).round().astype(np.uint8)


def test_no_change_is_not_seen() -> None:
    assert ssimulacra2(texture(), texture()) == 100
    assert flip_99(texture(), texture()) == 0


def test_more_noise_is_seen_more() -> None:
    steps = [noisy(levels) for levels in (1, 3, 9, 27)]
    scores, errors = [ssimulacra2(texture(), step) for step in steps], [flip_99(texture(), step) for step in steps]
    assert scores == sorted(scores, reverse=True)
    assert errors == sorted(errors)
    assert scores[0] > 85 > 40 > scores[-1]
    assert 0 < errors[0] < 0.1 < 0.3 < errors[-1] <= 1


def test_a_file_and_pixels_have_one_score() -> None:
    from ssimulacra2 import compute_ssimulacra2

    files = [io.BytesIO(), io.BytesIO()]
    for file, pixels in zip(files, (texture(), noisy(5)), strict=True):
        Image.fromarray(pixels).save(file, "BMP")
        file.seek(0)
    assert ssimulacra2(texture(), noisy(5)) == compute_ssimulacra2(*files)


def test_flip_looks_at_the_worst_places() -> None:
    # One pixel in a hundred is far off: the mean hides it, the 99th percentile is at its edge.
    changed = texture()
    changed[40:60, 40:60] = 255 - changed[40:60, 40:60]
    import flip_evaluator

    pair = [np.ascontiguousarray(picture, np.float32) / 255 for picture in (texture(), changed)]
    mean = flip_evaluator.evaluate(*pair, "LDR", applyMagma=False)[1]
    assert flip_99(texture(), changed) > 5 * mean


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (texture(), texture()[:, :-1]),
        (texture().astype(np.float32), texture().astype(np.float32)),
        (texture()[..., 0], texture()[..., 0]),
        (texture()[..., :1], texture()[..., :1]),
        (texture()[:7], texture()[:7]),
    ],
    ids=["sizes", "float", "gray", "one channel", "too small"],
)
def test_what_cannot_be_compared_is_refused(first: np.ndarray, second: np.ndarray) -> None:
    for measure in (ssimulacra2, flip_99):
        with pytest.raises(ValueError, match="pictures"):
            measure(first, second)
