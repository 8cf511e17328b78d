"""Hints on real photos: the right face or none, and what the usual mistakes are told."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facecloak.cloaking.cloaker import Cloaker, InvalidFaceHint, Outcome, Subject, SubjectResult
from facecloak.cloaking.hint_advice import advice_on
from facecloak.faces import ARCFACE_TEMPLATE, Box, Face, FaceFinder
from facecloak.masks.mask import Mask
from facecloak.photos.orientation import inverse_of, to_stored, turned_points
from facecloak.users import User

WIDTH, HEIGHT = 500, 380
SWAPPED = [1, 0, 2, 4, 3]


class OneMask:
    """The same mask for everybody."""

    mask = Mask.new(np.random.default_rng(0).integers(-12, 13, (112, 112, 3)).astype(np.int8), seed=0)

    def get(self, user: User) -> Mask:
        return self.mask


@pytest.fixture(scope="module")
def finder(model_repository: Path) -> FaceFinder:
    return FaceFinder.load(model_repository)


@pytest.fixture(scope="module")
def upright(astronaut_srgb_u8: np.ndarray) -> np.ndarray:
    """Not square, and the face far from its middle."""
    return np.ascontiguousarray(astronaut_srgb_u8[:HEIGHT, :WIDTH])


@pytest.fixture(scope="module")
def face(finder: FaceFinder, upright: np.ndarray) -> Face:
    (face,) = finder.find(upright)
    return face


def photo_of(upright: np.ndarray, orientation: int, kind: str) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray(to_stored(upright, orientation)).save(out, kind, exif=tags, quality=92)
    return out.getvalue()


@pytest.fixture(scope="module")
def cloak(finder: FaceFinder) -> Callable[..., SubjectResult]:
    """Cloaks one subject; a photo that is not cloaked comes back as it went."""
    cloaker = Cloaker(finder, OneMask())

    def call(photo: bytes, **hint: object) -> SubjectResult:
        result = cloaker.cloak(photo, [Subject("alice", **hint)])
        (subject,) = result.subjects
        assert (result.photo == photo) == (subject.outcome is not Outcome.CLOAKED)
        return subject

    return call


def refused(cloak: Callable[..., SubjectResult], photo: bytes, **hint: object) -> str:
    """What is said of a hint that is of no face."""
    try:
        result = cloak(photo, **hint)
    except InvalidFaceHint as error:
        return error.public_message
    assert (result.outcome, result.face, result.mask_id) == (Outcome.NO_FACE, None, None)
    assert len(result.faces) == 1
    return result.advice


def stored(points: np.ndarray, orientation: int) -> np.ndarray:
    """Places of the upright photo in the stored pixels."""
    return turned_points(points, inverse_of(orientation), width=WIDTH, height=HEIGHT)


def around(points: np.ndarray) -> Box:
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return Box(left, top, right - left, bottom - top)


def corners(box: Box) -> np.ndarray:
    return np.array([[box.x, box.y], [box.x + box.width, box.y + box.height]])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_hint_of_the_upright_photo_is_taken(
    cloak: Callable[..., SubjectResult], upright: np.ndarray, face: Face, orientation: int, kind: str
) -> None:
    photo = photo_of(upright, orientation, kind)
    for hint in ({"landmarks": face.landmarks}, {"box": face.box}):
        result = cloak(photo, **hint)
        assert result.outcome is Outcome.CLOAKED
        assert result.face is not None
        assert np.abs(result.face.landmarks - face.landmarks).max() < 1.5


@pytest.mark.parametrize("orientation", range(2, 9))
def test_landmarks_of_stored_pixels_are_told(
    cloak: Callable[..., SubjectResult], upright: np.ndarray, face: Face, orientation: int
) -> None:
    photo, points = photo_of(upright, orientation, "JPEG"), stored(face.landmarks, orientation)
    # Detectors name eyes by the picture; whoever turns points by hand keeps the names.
    for named in (points, points[SWAPPED]):
        assert "before its EXIF rotation" in refused(cloak, photo, landmarks=named)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_boxes_of_stored_pixels_are_told(
    cloak: Callable[..., SubjectResult], upright: np.ndarray, face: Face, orientation: int
) -> None:
    box = around(stored(corners(face.box), orientation))
    assert "before its EXIF rotation" in refused(cloak, photo_of(upright, orientation, "PNG"), box=box)


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.4, 2.0])
def test_hints_of_a_copy_in_another_size_are_told(
    cloak: Callable[..., SubjectResult], upright: np.ndarray, face: Face, scale: float
) -> None:
    photo = photo_of(upright, 1, "JPEG")
    told = refused(cloak, photo, landmarks=face.landmarks * scale)
    assert f"in the size {round(WIDTH * scale)} x {round(HEIGHT * scale)} pixels" in told
    told = refused(cloak, photo, box=around(corners(face.box) * scale))
    assert "in the size" in told


def test_a_preview_of_the_stored_pixels_is_told(
    cloak: Callable[..., SubjectResult], upright: np.ndarray, face: Face
) -> None:
    told = refused(cloak, photo_of(upright, 6, "JPEG"), landmarks=stored(face.landmarks, 6) / 2)
    assert f"before its EXIF rotation in the size {HEIGHT // 2} x {WIDTH // 2} pixels" in told


@pytest.mark.parametrize(("factor", "unit"), [(1, "shares"), (100, "percent")])
@pytest.mark.parametrize("orientation", [1, 6])
def test_shares_and_percent_are_told(
    cloak: Callable[..., SubjectResult], upright: np.ndarray, face: Face, orientation: int, factor: int, unit: str
) -> None:
    photo, relative = photo_of(upright, orientation, "JPEG"), factor / np.array([WIDTH, HEIGHT])
    assert f"as {unit} of its sides" in refused(cloak, photo, landmarks=face.landmarks * relative)
    assert f"as {unit} of its sides" in refused(cloak, photo, box=around(corners(face.box) * relative))


def test_a_mirrored_hint_is_told(cloak: Callable[..., SubjectResult], upright: np.ndarray, face: Face) -> None:
    photo, mirrored = photo_of(upright, 1, "JPEG"), turned_points(face.landmarks, 2, width=WIDTH, height=HEIGHT)
    for named in (mirrored, mirrored[SWAPPED]):
        assert "mirrored" in refused(cloak, photo, landmarks=named)


@pytest.mark.parametrize("share", [0.4, 0.7, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("degrees", range(0, 360, 45))
def test_shifted_landmarks_are_nobodys(
    cloak: Callable[..., SubjectResult], upright: np.ndarray, face: Face, share: float, degrees: int
) -> None:
    """By shares of the eye distance."""
    angle = np.deg2rad(degrees)
    shifted = face.landmarks + share * face.eye_distance_px * np.array([np.cos(angle), np.sin(angle)])
    refused(cloak, photo_of(upright, 1, "JPEG"), landmarks=shifted)


@pytest.mark.parametrize("degrees", range(0, 360, 90))
def test_another_detectors_landmarks_lead_to_the_faces_own(
    cloak: Callable[..., SubjectResult], upright: np.ndarray, face: Face, degrees: int
) -> None:
    angle = np.deg2rad(degrees)
    near = face.landmarks + 0.15 * face.eye_distance_px * np.array([np.cos(angle), np.sin(angle)])
    result = cloak(photo_of(upright, 1, "PNG"), landmarks=near)
    assert result.face is not None
    assert np.abs(result.face.landmarks - face.landmarks).max() < 0.5


def test_a_box_beside_a_face_is_not_led_to_it(
    cloak: Callable[..., SubjectResult], upright: np.ndarray, face: Face
) -> None:
    box = face.box
    for x, y in ((0.7, 0), (-0.7, 0), (0, 0.7), (0, -0.7), (1.2, 1.2)):
        beside = Box(box.x + x * box.width, box.y + y * box.height, box.width, box.height)
        refused(cloak, photo_of(upright, 1, "JPEG"), box=beside)


def test_advice_is_bounded_and_the_outcome_is_not(finder: FaceFinder, upright: np.ndarray, face: Face) -> None:
    subjects = [Subject(f"user-{index}", landmarks=face.landmarks / 2) for index in range(6)]
    results = Cloaker(finder, OneMask()).cloak(photo_of(upright, 1, "JPEG"), subjects).subjects
    assert {result.outcome for result in results} == {Outcome.NO_FACE}
    assert ["in the size" in result.advice for result in results] == [True] * 4 + [False] * 2
    assert all(result.advice for result in results)


def test_among_many_faces_a_size_is_not_guessed() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 3000, (64, 2))
    faces = [Face(Box(x, y, 112, 112), ARCFACE_TEMPLATE + np.array([x, y]), 1.0) for x, y in places]
    size = {"width": 4000, "height": 3500}
    wrong = Subject("alice", box=Box(1000, 1000, 80, 90))
    assert advice_on(wrong, faces, orientation=1, **size) == ""
    # What needs no size is told even so.
    relative = around(corners(faces[5].box) / np.array([4000, 3500]))
    assert "as shares" in advice_on(Subject("alice", box=relative), faces, orientation=1, **size)


def test_the_photo_of_the_report(cloak: Callable[..., SubjectResult], shared_dir: Path) -> None:
    photo = (shared_dir / "photos" / "faults" / "landmarks_of_stored_pixels.jpg").read_bytes()
    points = np.array([[101.4, 296.7], [104, 253.2], [129, 276.1], [141, 298.8], [142.6, 255.1]])
    assert "before its EXIF rotation" in refused(cloak, photo, landmarks=points)
    # A face that was seen is a hint as good as any.
    (seen,) = cloak(photo, landmarks=points).faces
    assert cloak(photo, landmarks=seen.landmarks).outcome is Outcome.CLOAKED
