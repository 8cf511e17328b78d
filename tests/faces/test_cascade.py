"""The quick detector before the thorough one: what it settles, what it leaves, and faces at any turn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from facecloak.faces import Face, FaceFinder, WorkingCopy
from facecloak.faces.cascade import apart
from facecloak.faces.detector import Detection, moved
from facecloak.faces.views import canvas_of, uncut
from facecloak.faces.yunet import YuNet

Shift = Callable[[np.ndarray, np.ndarray], float]
TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


@pytest.fixture(scope="module")
def yunet(model_repository: Path) -> YuNet:
    return YuNet(model_repository)


def glanced(finder: FaceFinder, srgb_u8: np.ndarray) -> Face | None:
    whole = uncut(srgb_u8)
    return finder.find_main(whole, look=lambda _: whole)


def turned_landmarks(landmarks: np.ndarray, degrees: int, *, width: int, height: int) -> np.ndarray:
    x, y = landmarks.T
    places = {90: (height - 1 - y, x), 180: (width - 1 - x, height - 1 - y), 270: (y, width - 1 - x)}[degrees]
    return np.stack(places, axis=1)


def test_yunet_sees_the_face_and_its_five_points(yunet: YuNet, astronaut_srgb_u8: np.ndarray, the_face: Face) -> None:
    scale = 320 / 512
    seen = yunet.detect(cv2.resize(astronaut_srgb_u8, (320, 320), interpolation=cv2.INTER_AREA))
    best = int(np.argmax(seen.scores))
    assert 0.9 < seen.scores[best] <= 1
    assert seen.points is not None
    away = np.linalg.norm((seen.points[best] + 0.5) / scale - 0.5 - the_face.landmarks, axis=1)
    assert away.max() < 0.15 * the_face.eye_distance_px
    x1, y1, x2, y2 = seen.boxes[best] / scale
    assert x1 < the_face.landmarks[:, 0].min() < the_face.landmarks[:, 0].max() < x2
    assert y1 < the_face.landmarks[:, 1].min() < the_face.landmarks[:, 1].max() < y2
    assert seen.angles[best] == pytest.approx(0, abs=0.2)


def test_yunet_sees_nothing_on_gray(yunet: YuNet) -> None:
    assert len(yunet.detect(np.full((320, 320, 3), 127, np.uint8)).scores) == 0


def test_a_glance_places_the_face_where_a_search_does(
    service_finder: FaceFinder, astronaut_srgb_u8: np.ndarray, the_face: Face, frame_shift_px: Shift
) -> None:
    face = glanced(service_finder, astronaut_srgb_u8)
    assert face is not None
    assert frame_shift_px(the_face.landmarks, face.landmarks) < 0.2
    assert face.mesh is not None


@pytest.mark.parametrize("degrees", TURNS)
def test_a_turned_face_is_found_the_right_way_up(
    service_finder: FaceFinder, astronaut_srgb_u8: np.ndarray, the_face: Face, frame_shift_px: Shift, degrees: int
) -> None:
    photo = cv2.rotate(astronaut_srgb_u8, TURNS[degrees])
    expected = turned_landmarks(the_face.landmarks, degrees, width=512, height=512)
    (face,) = service_finder.find(photo)
    assert frame_shift_px(expected, face.landmarks) < 0.5
    quickly = glanced(service_finder, photo)
    assert quickly is None or frame_shift_px(expected, quickly.landmarks) < 0.5


def test_a_glance_leaves_it_open_where_two_may_be_meant(
    service_finder: FaceFinder, astronaut_srgb_u8: np.ndarray
) -> None:
    pair = np.hstack([astronaut_srgb_u8, astronaut_srgb_u8[:, ::-1]])
    assert glanced(service_finder, pair) is None
    beside = astronaut_srgb_u8.copy()
    beside[300:428, 340:468] = cv2.resize(astronaut_srgb_u8, (128, 128), interpolation=cv2.INTER_AREA)
    assert glanced(service_finder, beside) is None
    assert len(service_finder.find(beside)) == 2


def test_a_glance_says_nothing_where_there_is_no_face(service_finder: FaceFinder) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    assert glanced(service_finder, noise) is None
    assert service_finder.find(noise) == []


def test_a_small_face_is_left_to_the_search(service_finder: FaceFinder, astronaut_srgb_u8: np.ndarray) -> None:
    canvas = np.full((1500, 2000, 3), 110, np.uint8)
    canvas[800:1056, 300:556] = cv2.resize(astronaut_srgb_u8, (256, 256), interpolation=cv2.INTER_AREA)
    assert glanced(service_finder, canvas) is None
    assert len(service_finder.find(canvas)) == 1


def test_one_middle_is_one_face_however_large_its_boxes() -> None:
    surest, larger, beside = (
        Detection((100, 100), 40, 0, 0.9), Detection((110, 95), 90, 0, 0.8), Detection((170, 100), 40, 0, 0.7)
    )  # fmt: skip
    assert apart([surest, larger, beside]) == [surest, beside]


def test_what_a_turned_copy_shows_comes_back(yunet: YuNet, astronaut_srgb_u8: np.ndarray) -> None:
    seen = yunet.detect(cv2.resize(astronaut_srgb_u8, (320, 320)))
    assert seen.points is not None
    # A pixel of this copy, of 320 px a side, in what it was turned from by a quarter: (x, y) -> (319 - y, x).
    back = moved(seen, seen.scores > 0, np.array([[0.0, -1.0, 319.0], [1.0, 0.0, 0.0]]))
    x1, y1, x2, y2 = seen.boxes.T - 0.5
    np.testing.assert_allclose(back.boxes, np.stack([319 - y2, x1, 319 - y1, x2], axis=1), atol=1e-9)
    x, y = seen.points[..., 0], seen.points[..., 1]
    assert back.points is not None
    np.testing.assert_allclose(back.points, np.stack([319 - y, x], axis=-1), atol=1e-9)
    np.testing.assert_allclose(back.angles, seen.angles + np.pi / 2, atol=1e-9)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (97, 31), (320, 320), (1, 500)])
def test_a_canvas_shows_the_copy_where_its_transform_says(width: int, height: int) -> None:
    photo = np.zeros((height, width, 3), np.uint8)
    x, y = width // 2, height // 3
    photo[max(y - 8, 0) : y + 9, max(x - 8, 0) : x + 9] = 255
    scale = 320 / max(width, height)
    wanted = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]])
    canvas, actual = canvas_of(photo, wanted, width=320, height=320, fill=127)
    assert canvas.shape == (320, 320, 3)
    assert np.abs(actual - wanted).max() < 1
    rows, columns = np.nonzero(canvas[..., 0] > 200)
    in_photo = np.array([columns.mean(), rows.mean()]) - actual[:, 2]
    seen_x, seen_y = in_photo / np.diag(actual)
    lit = np.argwhere(photo[..., 0] == 255).mean(axis=0)
    assert (seen_x, seen_y) == pytest.approx((lit[1], lit[0]), abs=1 / scale + 0.5)


def test_a_finder_without_a_quick_detector_has_no_glance(
    reduced_finder: FaceFinder, astronaut_srgb_u8: np.ndarray
) -> None:
    assert reduced_finder.glance_side_px is None
    whole = WorkingCopy(astronaut_srgb_u8, np.eye(2, 3))
    assert reduced_finder.find_main(whole, look=lambda _: whole) is None
