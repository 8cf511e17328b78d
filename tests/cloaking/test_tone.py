"""Colors of a face: what a mask paints stays within them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from facecloak.cloaking.tone import tone_of
from facecloak.faces import Face, FaceFinder, aligned_crop

SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])
LUMA = np.array([0.299, 0.587, 0.114])


@pytest.fixture(scope="module")
def crop(astronaut_srgb_u8: np.ndarray, model_repository: object) -> np.ndarray:
    face: Face = FaceFinder.load(model_repository).find(astronaut_srgb_u8)[0]  # type: ignore[arg-type]
    return aligned_crop(astronaut_srgb_u8, face.landmarks)


def gray_of(crop: np.ndarray) -> np.ndarray:
    return np.repeat(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)


def faded(crop: np.ndarray, kept: float) -> np.ndarray:
    gray = gray_of(crop).astype(float)
    return np.clip(gray + kept * (crop - gray), 0, 255).round().astype(np.uint8)


def as_jpeg(crop: np.ndarray, quality: int) -> np.ndarray:
    large = cv2.resize(crop, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    coded = cv2.imencode(".jpg", large[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.resize(cv2.imdecode(coded, cv2.IMREAD_COLOR)[:, :, ::-1], (112, 112), interpolation=cv2.INTER_AREA)


def test_a_colored_face_is_painted_as_it_is(crop: np.ndarray) -> None:
    assert np.array_equal(tone_of(crop), np.eye(3))
    assert np.array_equal(tone_of(as_jpeg(crop, 60)), np.eye(3))


def test_a_gray_face_is_painted_in_gray(crop: np.ndarray) -> None:
    tone = tone_of(gray_of(crop))
    assert np.array_equal(tone[0], tone[1])
    assert np.array_equal(tone[0], tone[2])
    assert tone[0] == pytest.approx(LUMA, abs=1e-6)


def test_the_luma_stays_whatever_the_colors(crop: np.ndarray) -> None:
    for picture in (gray_of(crop), faded(crop, 0.3), np.clip(crop @ SEPIA.T, 0, 255).astype(np.uint8)):
        assert LUMA @ tone_of(picture) == pytest.approx(LUMA, abs=1e-5)


def _colors_left(tone: np.ndarray) -> float:
    """Of a change of red against green of the same luma, what share is left."""
    change = np.array([1.0, -0.299 / 0.587, 0.0])
    return float(np.linalg.norm(tone @ change) / np.linalg.norm(change))


def test_sepia_is_painted_in_sepia(crop: np.ndarray) -> None:
    sepia = np.clip(crop @ SEPIA.T * 0.8, 0, 255).astype(np.uint8)
    for picture in (sepia, as_jpeg(sepia, 85)):
        tone = tone_of(picture)
        assert _colors_left(tone) < 0.25
        # What is added to gray gets the tint that a brighter spot of the same photo has.
        brighter = tone @ np.ones(3)
        wanted = SEPIA.sum(axis=1) / (LUMA @ SEPIA.sum(axis=1))
        assert brighter == pytest.approx(wanted, abs=0.06)


def test_a_duotone_is_painted_in_its_tints(crop: np.ndarray) -> None:
    gray = Image.fromarray(gray_of(crop)[:, :, 0])
    duotone = np.array(ImageOps.colorize(gray, black="#201030", mid="#8a6a50", white="#fff6e0"))
    assert _colors_left(tone_of(duotone)) < 0.25


def test_from_gray_to_colored_there_is_no_step(crop: np.ndarray) -> None:
    left = [_colors_left(tone_of(faded(crop, kept))) for kept in np.linspace(0, 1, 41)]
    assert left[0] < 1e-6
    assert left[4] < 0.1  # a tenth of its colors: nearly gray
    assert left[-1] == 1
    assert np.diff(left).min() > -0.02
    assert np.diff(left).max() < 0.25


def test_colors_beside_the_face_do_not_count(crop: np.ndarray) -> None:
    """A gray face in a colored picture is painted in gray."""
    splash = gray_of(crop)
    splash[:12], splash[:, :8], splash[:, -8:] = (200, 30, 30), (20, 160, 40), (30, 30, 200)
    assert _colors_left(tone_of(splash)) < 1e-6


@pytest.mark.parametrize("level", [0, 3, 128, 255])
def test_a_flat_crop_is_gray_or_unknown(level: int) -> None:
    tone = tone_of(np.full((112, 112, 3), level, np.uint8))
    assert np.isfinite(tone).all()
    # All black is what lies beyond the photo.
    assert _colors_left(tone) == pytest.approx(1.0 if level == 0 else 0.0, abs=1e-6)


def test_what_lies_beyond_the_photo_does_not_count(crop: np.ndarray) -> None:
    cut = crop.copy()
    cut[:, 60:] = 0
    assert _colors_left(tone_of(cut)) > 0.9
    cut = gray_of(crop)
    cut[:, 60:] = 0
    assert _colors_left(tone_of(cut)) < 1e-6
