"""What an enrolled photo may lack: told where it does, quiet where it does not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from enroll_service.pipeline.intake.quality import Tones, doubts_about, shared_doubts, usual_tones


@pytest.fixture(scope="module")
def crop(astronaut_srgb_u8: np.ndarray) -> np.ndarray:
    """(112, 112, 3) uint8: the face, about as the aligned crop has it."""
    return cv2.resize(astronaut_srgb_u8[44:194, 148:298], (112, 112), interpolation=cv2.INTER_AREA)


def test_a_usual_photo_is_left_as_it_is_and_nothing_is_said(crop: np.ndarray) -> None:
    tones = usual_tones(crop)
    assert tones == Tones()
    assert tones.apply(crop) is crop
    assert doubts_about(crop, tones=tones) == ()


@pytest.mark.parametrize(("factor", "offset"), [(0.25, 0), (0.3, 170), (0.3, 80)])
def test_dark_bright_and_hazy_faces_are_brought_to_the_usual_tones(
    crop: np.ndarray, factor: float, offset: int
) -> None:
    faint = (crop * factor + offset).astype(np.uint8)
    tones = usual_tones(faint)
    stretched = tones.apply(faint)
    luma = cv2.cvtColor(stretched, cv2.COLOR_RGB2GRAY)
    assert np.ptp(np.percentile(luma, (2, 98))) == pytest.approx(165, abs=6)
    assert np.corrcoef(stretched.ravel(), crop.ravel())[0, 1] > 0.97
    assert "little contrast" in doubts_about(stretched, tones=tones)[0]


def test_what_is_nearly_black_is_not_stretched_without_end() -> None:
    noise = np.random.default_rng(0).integers(0, 4, (112, 112, 3)).astype(np.uint8)
    assert usual_tones(noise).gain == 6
    assert usual_tones(np.zeros((112, 112, 3), np.uint8)).gain == 6


def test_a_blurred_face_and_covered_eyes_and_mouths_are_told(crop: np.ndarray) -> None:
    def said(changed: np.ndarray) -> list[str]:
        return [" ".join(doubt.split()[:4]) for doubt in doubts_about(changed, tones=Tones())]

    assert said(cv2.GaussianBlur(crop, (0, 0), 2.5)) == ["The enrolled face is"]
    glasses = crop.copy()
    for column in (39, 73):
        cv2.ellipse(glasses, (column, 52), (15, 11), 0, 0, 360, (20, 20, 24), -1)
    assert said(glasses) == ["The eyes seem to"]
    cloth = crop.copy()
    cv2.ellipse(cloth, (56, 96), (34, 26), 0, 0, 360, (150, 190, 215), -1)
    assert said(cloth) == ["The mouth seems to"]


def test_of_several_photos_only_what_all_lack_is_told() -> None:
    assert shared_doubts([("a", "b"), ("b",), ("b", "c")]) == ["b"]
    assert shared_doubts([("a",), ()]) == []
    assert shared_doubts([("a", "b")]) == ["a", "b"]
