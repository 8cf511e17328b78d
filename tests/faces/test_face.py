"""Boxes and faces hold only what makes sense."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facecloak.faces import ARCFACE_TEMPLATE, Box, Face, InvalidBox, InvalidLandmarks

sides = st.floats(0.1, 1000)
places = st.floats(-1000, 1000)
boxes = st.builds(Box, places, places, sides, sides)


@pytest.mark.parametrize(
    "numbers",
    [(math.nan, 0, 1, 1), (0, math.inf, 1, 1), (0, 0, 0, 1), (0, 0, 1, -1), (0, 0, math.nan, 1), (1e9, 0, 1, 1)],
)
def test_an_impossible_box_is_refused(numbers: tuple[float, float, float, float]) -> None:
    with pytest.raises(InvalidBox) as caught:
        Box(*numbers)
    assert caught.value.reason == "INVALID_BOX"


@given(boxes, boxes)
def test_overlap_is_symmetric_and_bounded(one: Box, other: Box) -> None:
    assert one.iou(other) == pytest.approx(other.iou(one))
    assert 0 <= one.iou(other) <= 1 + 1e-9
    assert one.iou(one) == pytest.approx(1)


def test_known_overlap() -> None:
    assert Box(0, 0, 2, 2).intersection_area(Box(1, 1, 2, 2)) == 1
    assert Box(0, 0, 2, 2).iou(Box(1, 1, 2, 2)) == pytest.approx(1 / 7)
    assert Box(0, 0, 2, 2).iou(Box(5, 5, 2, 2)) == 0
    assert Box(1, 2, 4, 6).center == (3, 5)


def test_landmarks_are_copied_and_frozen() -> None:
    points = ARCFACE_TEMPLATE.astype(np.float64)
    face = Face(Box(0, 0, 112, 112), points, 0.9)
    points[:] = 0
    assert face.landmarks.dtype == np.float32
    np.testing.assert_array_equal(face.landmarks, ARCFACE_TEMPLATE)
    with pytest.raises(ValueError, match="read-only"):
        face.landmarks[0, 0] = 1


def test_eye_distance() -> None:
    assert Face(Box(0, 0, 112, 112), ARCFACE_TEMPLATE, 1.0).eye_distance_px == pytest.approx(35.24, abs=0.01)


def test_a_face_without_spread_is_refused() -> None:
    with pytest.raises(InvalidLandmarks):
        Face(Box(0, 0, 1, 1), np.ones((5, 2)), 1.0)
