"""The finders on one real photo in many guises, and on what is no face."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from facecloak.faces import (
    Box,
    Face,
    FaceFinder,
    FinderModelMissing,
    InvalidBox,
    InvalidPixels,
    WorkingCopy,
    aligned_crop,
    inverse_transform,
)
from facecloak.faces.align import transform_points
from facecloak.models.errors import ModelDamaged
from facecloak_evaluation.independent_finder import AlternateFaceFinder

Shift = Callable[[np.ndarray, np.ndarray], float]
Guise = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

# By eye, on scikit-image's astronaut.png.
ASTRONAUT = np.array([[203.5, 102], [247.5, 104], [224.5, 129.5], [205.5, 141.5], [242.5, 143.5]], np.float32)
IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]])


def scaled(factor: float) -> Guise:
    def change(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        side = round(512 * factor)
        way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        scale, offset = side / 512, (side / 512 - 1) / 2
        return cv2.resize(photo, (side, side), interpolation=way), np.array([[scale, 0, offset], [0, scale, offset]])

    return change


def turned(degrees: float) -> Guise:
    def change(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        move = cv2.getRotationMatrix2D((225, 125), degrees, 1)
        return cv2.warpAffine(photo, move, (512, 512), borderValue=(90, 90, 90)), move

    return change


def cropped(left: int, top: int, right: int, bottom: int) -> Guise:
    def change(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.ascontiguousarray(photo[top:bottom, left:right]), np.array([[1.0, 0, -left], [0, 1, -top]])

    return change


def jpeg(quality: int) -> Guise:
    def change(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _, data = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert decoded is not None
        return np.ascontiguousarray(decoded[..., ::-1]), IDENTITY

    return change


def gray(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2), IDENTITY


def blurred(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return cv2.GaussianBlur(photo, (0, 0), 1.5), IDENTITY


def on_a_wide_canvas(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The face at 27 px, eye to eye 11, in a photo of 1280 px."""
    small, move = scaled(0.26)(photo)
    canvas = np.full((960, 1280, 3), 110, np.uint8)
    canvas[500 : 500 + len(small), 700 : 700 + len(small)] = small
    move[:, 2] += (700, 500)
    return canvas, move


def test_landmarks_lie_where_a_person_sees_them(finder: FaceFinder, astronaut_srgb_u8: np.ndarray) -> None:
    (face,) = finder.find(astronaut_srgb_u8)
    assert np.linalg.norm(face.landmarks - ASTRONAUT, axis=1).max() < 5
    assert face.box.x < 190
    assert face.box.x + face.box.width > 260
    assert face.box.y < 80
    assert face.box.y + face.box.height > 165
    assert 0.5 <= face.score <= 1
    assert aligned_crop(astronaut_srgb_u8, face.landmarks).shape == (112, 112, 3)


@pytest.mark.parametrize(
    ("guise", "tolerance_px"),
    [
        pytest.param(scaled(0.5), 0.8, id="half size"),
        pytest.param(scaled(3.0), 0.8, id="three times the size"),
        pytest.param(jpeg(75), 0.8, id="JPEG 75"),
        pytest.param(jpeg(40), 1.2, id="JPEG 40"),
        pytest.param(gray, 1.2, id="gray"),
        pytest.param(blurred, 1.5, id="blurred"),
        pytest.param(turned(20), 0.8, id="turned by 20 degrees"),
        pytest.param(turned(-40), 1.2, id="turned by -40 degrees"),
        pytest.param(cropped(100, 30, 400, 300), 0.8, id="cropped"),
        pytest.param(cropped(170, 60, 280, 180), 2.0, id="the whole photo a face"),
        pytest.param(on_a_wide_canvas, 4.0, id="27 px of 1280"),
    ],
)
def test_the_same_face_is_aligned_alike(
    finder: FaceFinder, astronaut_srgb_u8: np.ndarray, guise: Guise, tolerance_px: float, frame_shift_px: Shift
) -> None:
    (reference,) = finder.find(astronaut_srgb_u8)
    photo, move = guise(astronaut_srgb_u8)
    faces = finder.find(photo)
    assert len(faces) == 1
    back = transform_points(inverse_transform(move), faces[0].landmarks.astype(np.float64))
    assert frame_shift_px(reference.landmarks, back) < tolerance_px


def test_both_finders_agree(
    service_finder: FaceFinder, alternate_finder: FaceFinder, astronaut_srgb_u8: np.ndarray, frame_shift_px: Shift
) -> None:
    (one,), (other,) = service_finder.find(astronaut_srgb_u8), alternate_finder.find(astronaut_srgb_u8)
    assert frame_shift_px(one.landmarks, other.landmarks) < 3
    assert one.box.iou(other.box) > 0.85


def test_the_reduced_finder_fits_masks_of_the_full_one(
    the_face: Face, reduced_finder: FaceFinder, astronaut_srgb_u8: np.ndarray, frame_shift_px: Shift
) -> None:
    (face,) = reduced_finder.find(astronaut_srgb_u8)
    assert frame_shift_px(the_face.landmarks, face.landmarks) < 0.5


def test_a_face_cut_by_the_border_is_found(finder: FaceFinder, astronaut_srgb_u8: np.ndarray) -> None:
    photo, _ = cropped(200, 0, 512, 512)(astronaut_srgb_u8)
    (face,) = finder.find(photo)
    assert np.isfinite(face.landmarks).all()
    assert face.box.x < 0


def test_several_faces_come_largest_first(finder: FaceFinder, astronaut_srgb_u8: np.ndarray) -> None:
    canvas = np.full((700, 1100, 3), 90, np.uint8)
    canvas[:512, 500:1012] = astronaut_srgb_u8
    canvas[300:556, 50:306] = cv2.resize(astronaut_srgb_u8, (256, 256), interpolation=cv2.INTER_AREA)
    canvas[30:184, 50:204] = cv2.resize(astronaut_srgb_u8, (154, 154), interpolation=cv2.INTER_AREA)
    faces = finder.find(canvas)
    assert [round(face.box.width / faces[0].box.width, 1) for face in faces] == [1.0, 0.5, 0.3]


@pytest.mark.parametrize(("width", "height"), [(16000, 1000), (1000, 16000), (16384, 600), (8000, 1500)])
@pytest.mark.parametrize("place", [0.02, 0.31, 0.5, 0.77, 0.96])
def test_a_face_of_a_sixth_of_a_panoramas_short_side_is_found(
    service_finder: FaceFinder,
    astronaut_srgb_u8: np.ndarray,
    frame_shift_px: Shift,
    width: int,
    height: int,
    place: float,
) -> None:
    """And where it is: between, across and at the ends of the parts that are looked at."""
    short, long = min(width, height), max(width, height)
    # The head, chin to crown, has 125 of the 512 px; 240 px around it are shown.
    scale = short / 6 / 125
    head = cv2.resize(astronaut_srgb_u8[20:260, 110:350], (0, 0), fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = np.full((height, width, 3), 110, np.uint8)
    along, across = round(place * (long - len(head))), short // 2
    left, top = (along, across) if width > height else (across, along)
    canvas[top : top + len(head), left : left + len(head)] = head
    (face,) = service_finder.find(canvas)
    expected = (ASTRONAUT - (110, 20) + 0.5) * scale - 0.5 + (left, top)
    assert np.linalg.norm(face.landmarks - expected, axis=1).max() < 6 * scale


@pytest.mark.parametrize(
    "shape", [(1, 1), (2, 940), (940, 2), (1, 5000), (20, 20), (64, 4000), (3, 3)], ids=lambda shape: f"{shape}"
)
@pytest.mark.parametrize("level", [0, 128, 255])
def test_odd_shapes_have_no_face(finder: FaceFinder, shape: tuple[int, int], level: int) -> None:
    assert finder.find(np.full((*shape, 3), level, np.uint8)) == []


@pytest.mark.parametrize("seed", range(6))
def test_noise_has_no_face(service_finder: FaceFinder, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (200, 260, 3), dtype=np.uint8)
    smooth = np.ascontiguousarray(cv2.GaussianBlur(pixels, (0, 0), 5))
    for photo in (pixels, smooth):
        assert service_finder.find(photo) == []
        assert service_finder.landmarks_for(photo, Box(40, 40, 90, 100)) is None


def test_a_texture_has_no_face(service_finder: FaceFinder) -> None:
    data = pytest.importorskip("skimage.data")
    for name in ("brick", "coins", "page"):
        photo = np.ascontiguousarray(np.repeat(getattr(data, name)()[..., None], 3, axis=2))
        assert service_finder.find(photo) == []


@pytest.mark.parametrize("seed", range(8))
def test_a_loose_box_moves_the_landmarks_little(
    finder: FaceFinder, astronaut_srgb_u8: np.ndarray, frame_shift_px: Shift, seed: int
) -> None:
    (found,) = finder.find(astronaut_srgb_u8)
    rng, box = np.random.default_rng(seed), found.box
    shift, scale = rng.uniform(-0.15, 0.15, 2), 1 + rng.uniform(-0.15, 0.15, 2)
    loose = Box(
        box.x + shift[0] * box.width, box.y + shift[1] * box.height, box.width * scale[0], box.height * scale[1]
    )
    face = finder.landmarks_for(astronaut_srgb_u8, loose)
    assert face is not None
    assert frame_shift_px(found.landmarks, face.landmarks) < 1.0
    assert face.box.iou(box) > 0.95


@pytest.mark.parametrize("growth", [0.7, 1.6, 2.2])
def test_tight_and_wide_boxes_lead_to_the_face(
    service_finder: FaceFinder, the_face: Face, astronaut_srgb_u8: np.ndarray, growth: float, frame_shift_px: Shift
) -> None:
    (x, y), width, height = the_face.box.center, the_face.box.width * growth, the_face.box.height * growth
    face = service_finder.landmarks_for(astronaut_srgb_u8, Box(x - width / 2, y - height / 2, width, height))
    assert face is not None
    assert frame_shift_px(the_face.landmarks, face.landmarks) < 1.0


def test_looks_find_what_the_whole_photo_shows(
    service_finder: FaceFinder, astronaut_srgb_u8: np.ndarray, frame_shift_px: Shift
) -> None:
    canvas = np.full((2000, 3000, 3), 90, np.uint8)
    canvas[:1536, 1400:2936] = cv2.resize(astronaut_srgb_u8, (1536, 1536), interpolation=cv2.INTER_CUBIC)
    canvas[900:1412, 200:712] = astronaut_srgb_u8
    expected = service_finder.find(canvas)
    assert len(expected) == 2
    small = cv2.resize(canvas, (1125, 750), interpolation=cv2.INTER_AREA)
    whole = WorkingCopy(small, np.array([[8 / 3, 0, 5 / 6], [0, 8 / 3, 5 / 6]]))

    def look(box: Box) -> WorkingCopy:
        left, top = max(int(box.x - box.width), 0), max(int(box.y - box.height), 0)
        part = canvas[top : int(box.y + 2 * box.height), left : int(box.x + 2 * box.width)]
        return WorkingCopy(part, np.array([[1.0, 0, left], [0, 1, top]]))

    found = service_finder.find_by_looks(whole, look=look)
    assert found is not None
    assert len(found) == 2
    for face, other in zip(found, expected, strict=True):
        assert frame_shift_px(other.landmarks, face.landmarks) < 0.5
        assert face.mesh is not None
        assert other.mesh is not None
        assert np.abs(face.mesh - other.mesh).max() < 0.05 * face.box.height
    assert service_finder.find_by_looks(whole, look=lambda box: None) is None


def test_a_box_beside_the_face_is_not_led_to_it(service_finder: FaceFinder, astronaut_srgb_u8: np.ndarray) -> None:
    assert service_finder.landmarks_for(astronaut_srgb_u8, Box(300, 330, 80, 100)) is None
    assert service_finder.landmarks_for(astronaut_srgb_u8, Box(20, 380, 90, 100)) is None


@pytest.mark.parametrize("box", [Box(600, 10, 50, 50), Box(-90, 10, 50, 50), Box(10, -1000, 900, 900)])
def test_a_box_off_the_photo_is_refused(service_finder: FaceFinder, astronaut_srgb_u8: np.ndarray, box: Box) -> None:
    with pytest.raises(InvalidBox):
        service_finder.landmarks_for(astronaut_srgb_u8, box)


@pytest.mark.parametrize("box", [Box(0, 0, 0.01, 0.01), Box(511, 511, 400, 3), Box(-5e5, -5e5, 9e5, 9e5)])
def test_an_absurd_box_ends_without_a_crash(
    service_finder: FaceFinder, astronaut_srgb_u8: np.ndarray, box: Box
) -> None:
    face = service_finder.landmarks_for(astronaut_srgb_u8, box)
    assert face is None or np.isfinite(face.landmarks).all()


def test_wrong_pixels_are_refused(service_finder: FaceFinder) -> None:
    for pixels in (np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(InvalidPixels):
            service_finder.find(pixels)
        with pytest.raises(InvalidPixels):
            service_finder.landmarks_for(pixels, Box(0, 0, 2, 2))


def test_a_view_of_another_array_is_read_and_left_alone(
    service_finder: FaceFinder, astronaut_srgb_u8: np.ndarray
) -> None:
    wide = np.zeros((512, 600, 3), np.uint8)
    wide[:, 40:552] = astronaut_srgb_u8
    before = wide.copy()
    (face,) = service_finder.find(wide[:, 40:552])
    np.testing.assert_array_equal(wide, before)
    np.testing.assert_array_equal(face.landmarks, service_finder.find(astronaut_srgb_u8)[0].landmarks)


def test_the_same_photo_gives_the_same_face_in_any_thread(
    service_finder: FaceFinder, the_face: Face, astronaut_srgb_u8: np.ndarray
) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(service_finder.find, [astronaut_srgb_u8] * 8))
    for faces in found:
        np.testing.assert_array_equal(faces[0].landmarks, the_face.landmarks)


def test_identities_name_the_models(service_finder: FaceFinder, alternate_finder: FaceFinder) -> None:
    names = [part.split(":")[0] for part in service_finder.identity.split("+")]
    assert names == ["yunet", "blazeface", "fr_landmark", "facemesh"]
    names = [part.split(":")[0] for part in alternate_finder.identity.split("+")]
    assert names == ["fr_detect", "facemesh"]


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    for loader in (FaceFinder, AlternateFaceFinder):
        with pytest.raises(FinderModelMissing) as caught:
            loader.load(tmp_path)
        assert caught.value.reason == "FINDER_MODEL_MISSING"
        assert "models pull" in caught.value.public_message
        assert str(tmp_path) not in caught.value.public_message


def test_a_repository_without_the_largest_package_still_finds(
    tmp_path: Path, model_repository: Path, astronaut_srgb_u8: np.ndarray
) -> None:
    for name in ("fr_detect", "fr_landmark"):
        (tmp_path / name).symlink_to(model_repository / name)
    finder = FaceFinder.load(tmp_path)
    assert finder.identity.startswith("fr_detect:")
    assert len(finder.find(astronaut_srgb_u8)) == 1
    with pytest.raises(FinderModelMissing):
        AlternateFaceFinder.load(tmp_path)


def test_a_model_that_was_tampered_with_is_not_opened(model_repository: Path, tmp_path: Path) -> None:
    import onnx

    changed = shutil.copytree(model_repository, tmp_path / "models", ignore=shutil.ignore_patterns("*_grad"))
    path = changed / "fr_landmark" / "1" / "model.onnx"
    model = onnx.load(path)
    model.doc_string = "changed"
    onnx.save(model, path)
    with pytest.raises(ModelDamaged) as caught:
        FaceFinder.load(changed)
    assert caught.value.metadata["model"] == "fr_landmark"


def test_a_repository_from_before_the_quick_detector_still_finds(
    tmp_path: Path, model_repository: Path, astronaut_srgb_u8: np.ndarray
) -> None:
    for name in ("blazeface", "fr_landmark", "facemesh"):
        (tmp_path / name).symlink_to(model_repository / name)
    finder = FaceFinder.load(tmp_path)
    assert finder.identity.startswith("blazeface:")
    assert finder.glance_side_px is None
    assert len(finder.find(astronaut_srgb_u8)) == 1


@pytest.mark.parametrize("name", ["yunet", "blazeface"])
def test_a_damaged_detector_is_not_passed_over_for_a_weaker_one(
    model_repository: Path, tmp_path: Path, name: str
) -> None:
    changed = shutil.copytree(model_repository, tmp_path / "models", ignore=shutil.ignore_patterns("*_grad"))
    path = changed / name / "1" / "model.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ModelDamaged):
        FaceFinder.load(changed)
