"""A displacement that is known is found again from pairs, and undone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facecloak_evaluation.displacement_attack import _moved, extract, inverse, undoing

SIZE = 112
FACE = (slice(20, 92), slice(20, 92))
RMS_PX = 0.8


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values.astype(float)).sum(axis=-1).mean()))


@pytest.fixture(scope="module")
def field() -> np.ndarray:
    """(112, 112, 2) px, smooth, zero at the edge, of RMS_PX on the face."""
    noise = np.random.default_rng(3).normal(size=(SIZE, SIZE, 2)).astype(np.float32)
    ramp = np.clip(np.minimum(np.arange(SIZE), SIZE - 1 - np.arange(SIZE)) / 14, 0, 1).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 5) * (ramp[:, None] * ramp)[:, :, None]
    return np.asarray(smooth * RMS_PX / rms(smooth[FACE]), np.float32)


@pytest.fixture(scope="module")
def paint() -> np.ndarray:
    """(112, 112, 3) gray levels of 3 root mean square."""
    noise = cv2.GaussianBlur(np.random.default_rng(4).normal(size=(SIZE, SIZE)).astype(np.float32), (0, 0), 1.5)
    return np.repeat((3 * noise / noise.std())[:, :, None], 3, axis=2)


def crops(count: int) -> list[np.ndarray]:
    """(112, 112, 3) uint8 with texture of several scales, as photos have."""
    random = np.random.default_rng(5)
    found = []
    for _ in range(count):
        noise = [
            cv2.GaussianBlur(random.normal(size=(SIZE, SIZE, 3)).astype(np.float32), (0, 0), s) for s in (1.5, 4, 9)
        ]
        levels = 128 + sum(12 * layer / layer.std() for layer in noise)
        found.append(np.clip(levels, 0, 255).round().astype(np.uint8))
    return found


def cloaked(crop: np.ndarray, field: np.ndarray, paint: np.ndarray | float) -> np.ndarray:
    return np.clip(np.round(_moved(crop.astype(np.float32), field) + paint), 0, 255).astype(np.uint8)


def test_an_inverse_undoes_a_field(field: np.ndarray) -> None:
    assert np.abs(_moved(field, inverse(field)) + inverse(field)).max() < 0.01
    assert not inverse(np.zeros_like(field)).any()


def test_a_field_is_found_and_undone(field: np.ndarray) -> None:
    *shown, probe = crops(6)
    extraction = extract([(cloaked(crop, field, 0), crop) for crop in shown])
    assert rms((extraction.shift_px - field)[FACE]) < 0.1 * RMS_PX
    before = np.abs(cloaked(probe, field, 0).astype(float) - probe)[FACE].mean()
    after = np.abs(undoing(extraction)(cloaked(probe, field, 0)).astype(float) - probe)[FACE].mean()
    assert after < 0.3 * before


def test_more_pairs_tell_paint_and_displacement_apart_better(field: np.ndarray, paint: np.ndarray) -> None:
    *shown, probe = crops(21)
    pairs = [(cloaked(crop, field, paint), crop) for crop in shown]
    errors, painted = [], []
    for count in (1, 5, 20):
        extraction = extract(pairs[:count])
        errors.append(rms((extraction.shift_px - field)[FACE]))
        painted.append(rms((extraction.painted - paint)[FACE]))
    assert errors == sorted(errors, reverse=True)
    assert painted == sorted(painted, reverse=True)
    assert errors[-1] < 0.1 * RMS_PX
    assert painted[-1] < 0.5 * rms(paint[FACE])
    worn = cloaked(probe, field, paint)
    bare, moved_back = undoing(extraction)(worn), undoing(extraction, also_painted=False)(worn)
    left = [np.abs(picture.astype(float) - probe)[FACE].mean() for picture in (worn, moved_back, bare)]
    assert left == sorted(left, reverse=True)
    assert left[2] < 0.4 * left[0]


def test_paint_alone_is_not_taken_for_a_displacement(paint: np.ndarray) -> None:
    shown = crops(20)
    extraction = extract([(cloaked(crop, np.zeros((SIZE, SIZE, 2), np.float32), paint), crop) for crop in shown])
    assert rms(extraction.shift_px[FACE]) < 0.1
    assert rms((extraction.painted - paint)[FACE]) < 0.3 * rms(paint[FACE])


def test_equal_pairs_change_nothing() -> None:
    (crop,) = crops(1)
    assert np.array_equal(undoing(extract([(crop, crop)]))(crop), crop)
