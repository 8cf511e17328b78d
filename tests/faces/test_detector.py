"""The search covers every place at a usable scale, merges what it sees, and stays bounded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facecloak.faces.detector import MAX_FACES, CanvasDetections, Detection, best_boxes, search
from facecloak.faces.views import close_up, tile_views, whole_view, working_copy

BRIGHT = 255


class SquareDetector:
    """Sees the bright square of a dark photo where it is at least 7 px on the canvas."""

    canvas = (256, 256)
    identity = "square"

    def __init__(self) -> None:
        self.looks = 0

    def detect(self, canvas_srgb_u8: np.ndarray) -> CanvasDetections:
        self.looks += 1
        rows, columns = np.nonzero(canvas_srgb_u8[..., 0] > 200)
        if rows.size < 40:
            return CanvasDetections(np.empty((0, 4)), np.empty(0), np.empty(0))
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        return CanvasDetections(np.array([box], np.float64), np.array([0.9]), np.array([0.25]))


class FixedDetector(SquareDetector):
    """Sees the same boxes whatever it looks at."""

    def __init__(self, boxes: np.ndarray) -> None:
        super().__init__()
        self.boxes = boxes

    def detect(self, canvas_srgb_u8: np.ndarray) -> CanvasDetections:
        self.looks += 1
        count = len(self.boxes)
        return CanvasDetections(self.boxes, np.linspace(0.9, 0.6, count), np.zeros(count))


def photo_with_square(*, width: int, height: int, x: int, y: int, side: int) -> np.ndarray:
    photo = np.zeros((height, width, 3), np.uint8)
    photo[y : y + side, x : x + side] = BRIGHT
    return photo


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from([(1280, 960), (960, 1280), (1280, 400), (700, 700)]))
def test_a_small_face_is_found_anywhere(right: float, down: float, size: tuple[int, int]) -> None:
    width, height = size
    side = 28
    x, y = 8 + int(right * (width - side - 16)), 8 + int(down * (height - side - 16))
    (found,) = search(photo_with_square(width=width, height=height, x=x, y=y, side=side), SquareDetector())
    assert found.center == pytest.approx((x + side / 2 - 0.5, y + side / 2 - 0.5), abs=5)
    assert found.side == pytest.approx(side, abs=8)
    assert (found.angle, found.score) == (0.25, 0.9)


@pytest.mark.parametrize(("width", "height"), [(250, 250), (3000, 2000), (2000, 3000)])
def test_places_come_back_in_photo_px(width: int, height: int) -> None:
    side = width // 3
    photo = photo_with_square(width=width, height=height, x=width // 5, y=height // 4, side=side)
    found = search(photo, SquareDetector())[0]
    center = (width // 5 + side / 2 - 0.5, height // 4 + side / 2 - 0.5)
    assert found.center == pytest.approx(center, abs=width / 100)
    assert found.side == pytest.approx(side, rel=0.03)


def test_a_small_photo_costs_one_look_and_a_large_one_five() -> None:
    for size, looks in ((250, 1), (1280, 5)):
        detector = SquareDetector()
        search(photo_with_square(width=size, height=size, x=size // 3, y=size // 3, side=size // 3), detector)
        assert detector.looks == looks


def test_an_empty_photo_is_looked_at_once_more_with_a_margin() -> None:
    detector = SquareDetector()
    assert search(np.zeros((200, 300, 3), np.uint8), detector) == []
    assert detector.looks == 2


def test_a_crowd_is_bounded() -> None:
    x, y = np.meshgrid(np.arange(0, 250, 10.0), np.arange(0, 250, 10.0))
    corners = np.stack([x.ravel(), y.ravel()], axis=1)
    detector = FixedDetector(np.concatenate([corners, corners + 8], axis=1))
    assert len(search(np.zeros((256, 256, 3), np.uint8), detector)) == MAX_FACES


def test_boxes_that_are_none_are_dropped() -> None:
    nan = np.nan
    detector = FixedDetector(np.array([[nan, 0, 9, 9], [5, 5, 5, 9], [9, 9, 5, 5], [0, np.inf, 9, 9]]))
    assert search(np.zeros((256, 256, 3), np.uint8), detector) == []


def test_suppression_keeps_the_best_of_each_place() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [0, 0, 10, 10]], np.float64)
    assert best_boxes(boxes, np.array([0.5, 0.9, 0.7, 0.9]), max_iou=0.3, limit=9) == [1, 2]
    assert best_boxes(boxes, np.array([0.5, 0.9, 0.7, 0.9]), max_iou=0.3, limit=1) == [1]
    assert best_boxes(np.empty((0, 4)), np.empty(0), max_iou=0.3, limit=9) == []


@given(st.integers(1, 6000), st.integers(1, 6000), st.sampled_from([(256, 256), (320, 240)]))
def test_tiles_cover_the_photo_and_are_few(width: int, height: int, canvas: tuple[int, int]) -> None:
    views = tile_views(width=width, height=height, photo_width=width, photo_height=height, canvas=canvas)
    assert len(views) <= 4
    if not views:
        assert max(width / canvas[0], height / canvas[1]) <= 3
        return
    inverse = [(-view.transform[:, 2] - 0.5) / view.transform[0, 0] for view in views]
    covered = np.array(canvas) / views[0].transform[0, 0]
    starts, ends = np.array(inverse), np.array(inverse) + covered
    assert (starts.min(axis=0) <= 1).all()
    assert (ends.max(axis=0) >= np.array([width, height]) - 2).all()


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_the_whole_view_shows_the_whole_photo(width: int, height: int) -> None:
    transform = whole_view(width=width, height=height, canvas=(256, 256)).transform
    corners = np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]]) @ transform[:, :2].T + transform[:, 2]
    assert corners.min() >= -0.5 - 1e-6
    assert corners.max() <= 255.5 + 1e-6


@pytest.mark.parametrize("shape", [(1, 1), (2, 9000), (9000, 2), (960, 960), (2500, 1000)])
def test_the_working_copy_is_small_and_knows_its_way_back(shape: tuple[int, int]) -> None:
    copy = working_copy(np.zeros((*shape, 3), np.uint8))
    height, width = copy.srgb_u8.shape[:2]
    assert max(height, width) <= 960
    corners = np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]]) @ copy.to_photo[:, :2].T + copy.to_photo[:, 2]
    np.testing.assert_allclose(corners, [[-0.5, -0.5], [shape[1] - 0.5, shape[0] - 0.5]], atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1999), st.integers(0, 1499), st.floats(1, 4000))
def test_a_close_up_knows_its_way_back(x: int, y: int, side: float) -> None:
    photo = np.zeros((1500, 2000, 3), np.uint8)
    copy = close_up(photo, center=(x, y), side=side)
    seen = Detection((x, y), side, 0.1, 0.9).seen_in(copy)
    assert min(copy.srgb_u8.shape[:2]) >= 1
    assert seen.side <= 1.5 * 320 + 1 or copy.srgb_u8.shape == photo.shape
    back = copy.to_photo @ [*seen.center, 1.0]
    np.testing.assert_allclose(back, (x, y), atol=1e-6)
    if side > 480:
        np.testing.assert_allclose(seen.side, 320, rtol=0.02)
        assert max(copy.srgb_u8.shape[:2]) <= 3.1 * 320
