"""How visible a change is, against the published metrics."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from facecloak.cloaking.head_window import head_window
from facecloak.cloaking.visibility import Eye, VisibilityBudget, predicted
from facecloak.faces import FaceFinder, aligned_crop


@pytest.fixture(scope="module")
def crop(astronaut_srgb_u8: np.ndarray, model_repository: Path) -> np.ndarray:
    face = FaceFinder.load(model_repository).find(astronaut_srgb_u8)[0]
    return aligned_crop(astronaut_srgb_u8, face.landmarks)


def gray_noise(sigma_px: float, rms: float) -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.default_rng(7).normal(0, 1, (112, 112)), (0, 0), sigma_px)
    return np.repeat((noise / noise.std() * rms)[:, :, None], 3, axis=2).astype(np.float32)


# Measured by ColorVideoVDP 0.5.7 of the crops enlarged to 448 px by bicubic interpolation, and by SSIMULACRA2 0.3.0 of
# the crops enlarged to 144 px, `np.clip(np.round(crop + head_window() * noise), 0, 255)` against `crop`.
@pytest.mark.parametrize(
    ("sigma_px", "rms", "jod", "ssimulacra2"),
    [(0.8, 4, 9.09, 86.6), (1.5, 4, 9.40, 83.7), (3, 6, 9.39, 69.0), (1.5, 8, 8.42, 65.0)],
)
def test_it_tells_what_the_published_metrics_measure(
    crop: np.ndarray, sigma_px: float, rms: float, jod: float, ssimulacra2: float
) -> None:
    change = gray_noise(sigma_px, rms) * head_window()[:, :, None]
    found = predicted(Eye.on(crop).visibilities(change))
    assert found[0] == pytest.approx(jod, abs=0.2)
    # On the safe side here.
    assert ssimulacra2 - 10 < found[1] < ssimulacra2


def test_nothing_is_not_seen(crop: np.ndarray) -> None:
    assert predicted(Eye.on(crop).visibilities(np.zeros((112, 112, 3), np.float32))) == (10.0, 100.0)


@pytest.mark.parametrize("budget", [VisibilityBudget(9.0, 75.0), VisibilityBudget(jod=9.0), VisibilityBudget(None, 75)])
def test_the_strength_brings_a_change_just_within_a_budget(crop: np.ndarray, budget: VisibilityBudget) -> None:
    eye, change = Eye.on(crop), gray_noise(1.5, 5)
    jod, ssimulacra2 = predicted(eye.visibilities(change * np.float32(eye.strength(change, budget))))
    left = [
        jod - budget.jod if budget.jod else np.inf,
        ssimulacra2 - budget.ssimulacra2 if budget.ssimulacra2 else np.inf,
    ]
    assert min(left) == pytest.approx(0, abs=1e-3)


def test_twice_the_change_is_twice_as_visible(crop: np.ndarray) -> None:
    eye, change = Eye.on(crop), gray_noise(2, 3)
    assert eye.visibilities(2 * change) == pytest.approx(2 * eye.visibilities(change), rel=1e-4)


def test_a_smooth_face_forgives_less_than_a_rough_one(crop: np.ndarray) -> None:
    smooth = cv2.GaussianBlur(crop, (0, 0), 4)
    rough = np.clip(crop + gray_noise(1, 25), 0, 255).astype(np.uint8)
    seen = [Eye.on(picture).visibilities(gray_noise(1.5, 4))[0] for picture in (smooth, crop, rough)]
    assert seen[0] > 1.1 * seen[1] > 1.1 * 1.1 * seen[2]


@pytest.mark.parametrize("level", [0, 1, 255])
def test_a_flat_crop_is_no_trouble(level: int) -> None:
    eye = Eye.on(np.full((112, 112, 3), level, np.uint8))
    assert np.isfinite(eye.visibilities(gray_noise(1.5, 4))).all()
    assert np.isfinite(eye.strength(np.zeros((112, 112, 3), np.float32), VisibilityBudget(9, 75)))
