"""Where a mask of either geometry lies on a photo."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg

from facecloak.cloaking.blend import add_in_place
from facecloak.cloaking.cloaker import Cloaker, Outcome, Subject
from facecloak.cloaking.head_window import FADE_PX, edge_window, head_window
from facecloak.cloaking.placement import FacePlacement, place_mask, square_bounds
from facecloak.faces import Box, Face, FaceFinder, aligning_transform
from facecloak.faces.align import inverse_transform, scale_of, transform_points
from facecloak.faces.facemesh import FaceMesh, five_of_mesh
from facecloak.faces.frame import field_at, mesh_in_crop, quick_field
from facecloak.faces.pose import rotation_of
from facecloak.faces.shape import face_shape
from facecloak.masks.displacement import displacement_px, quantize_displacement
from facecloak.masks.mask import MASK_SIZE, Mask, MaskGeometry
from facecloak.users import User


@pytest.fixture(scope="module")
def service_finder(model_repository: Path) -> FaceFinder:
    return FaceFinder.load(model_repository)


def _mask(geometry: MaskGeometry, seed: int = 0) -> Mask:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 60, (MASK_SIZE, MASK_SIZE, 3)), (0, 0), 2)
    return Mask.new(np.clip(noise, -12, 12).round().astype(np.int8), seed=0, geometry=geometry)


def _moving(seed: int, *, largest: float = 2.0, sigma: float = 6.0) -> Mask:
    """Of both parts, in the face's own frame."""
    noise = np.random.default_rng(seed).normal(0, 1, (112, 112, 2)).astype(np.float32)
    field = cv2.GaussianBlur(noise, (0, 0), sigma)
    return Mask.new(
        _mask(MaskGeometry.FACE, seed).pixels,
        seed=0,
        geometry=MaskGeometry.FACE,
        displacement=quantize_displacement(field * (largest / np.abs(field).max())),
    )


def _turned(degrees: float, *, scale: float = 3.0, x: float = 50, y: float = 40) -> tuple[Face, np.ndarray]:
    """The mean face turned by a yaw, its crop's corner at ``x``, ``y`` of a photo: five landmarks as an aligner gives
    them, and the mesh, px of the photo."""
    mean = face_shape().mean.astype(np.float64)
    middle = mean.mean(axis=0)
    zero = np.zeros(1)
    turn = rotation_of(yaw=np.radians(np.array([degrees])), pitch=zero, roll=zero)[0]
    mesh = (mean - middle) @ turn.T + middle
    to_crop = aligning_transform(five_of_mesh(mesh[:, :2]) - FaceMesh.bias)
    mesh = np.hstack([transform_points(to_crop, mesh[:, :2]), mesh[:, 2:] * scale_of(to_crop)]) * scale
    mesh[:, :2] += (x, y)
    landmarks = five_of_mesh(mesh[:, :2]) - FaceMesh.bias * scale
    return Face(Box(x, y, MASK_SIZE * scale, MASK_SIZE * scale), landmarks.astype(np.float32), 1.0), mesh


def _change(placement: FacePlacement, side: int = 480) -> np.ndarray:
    left, top, right, bottom = placement.bounds(width=side, height=side)
    whole = np.zeros((side, side, 3), np.float32)
    if left >= right or top >= bottom:
        return whole
    change = placement.change(left=left, top=top, width=right - left, height=bottom - top)
    assert change is not None
    whole[top:bottom, left:right] = change
    return whole


def test_on_the_mean_face_a_mask_lies_alike_with_the_mesh_and_without() -> None:
    face, mesh = _turned(0)
    mask = _mask(MaskGeometry.FACE)
    flat, bent = _change(place_mask(mask, face)), _change(place_mask(mask, face, mesh=mesh))
    assert np.corrcoef(flat.ravel(), bent.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("degrees", [-30.0, 20.0])
@pytest.mark.parametrize("scale", [0.6, 3.0])
def test_a_mask_in_the_faces_frame_stays_on_its_points(degrees: float, scale: float) -> None:
    """A blob on the mean face's cheek lies on the turned face's cheek."""
    x, y = np.meshgrid(np.arange(MASK_SIZE), np.arange(MASK_SIZE))
    face, mesh = _turned(degrees, scale=scale)
    cheek = 205 if degrees < 0 else 425  # the cheek's middle moves most against the five landmarks
    place = face_shape().mean[cheek, :2]
    blob = 100 * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 18)
    pixels = np.repeat(blob[..., None], 3, axis=2).round().astype(np.int8)
    bent = _change(place_mask(Mask.new(pixels, seed=0, geometry=MaskGeometry.FACE), face, mesh=mesh))
    row, column = np.unravel_index(bent[..., 0].argmax(), bent.shape[:2])
    assert np.hypot(column - mesh[cheek, 0], row - mesh[cheek, 1]) < max(1.5 * scale, 1.5)


def test_nothing_outside_the_square_changes_and_no_pixel_by_more_than_the_mask() -> None:
    face, mesh = _turned(25)
    mask = _mask(MaskGeometry.FACE)
    bent = _change(place_mask(mask, face, mesh=mesh, strength=0.5))
    assert np.abs(bent).max() <= 0.5 * np.abs(mask.pixels.astype(int)).max() + 1e-4
    assert np.abs(bent).max() > 2
    outside = _change(place_mask(Mask.new(np.full((112, 112, 3), 9, np.int8), seed=0), face)) == 0
    assert not bent[outside].any()


@pytest.mark.parametrize("degrees", [-40.0, 0.0, 25.0])
@pytest.mark.parametrize("with_mesh", [True, False])
def test_nothing_outside_the_head_changes(degrees: float, with_mesh: bool) -> None:
    """Whatever the mask holds there: no smear on what is beside a face."""
    face, mesh = _turned(degrees if with_mesh else 0.0)
    everywhere = Mask.new(
        np.full((112, 112, 3), 20, np.int8),
        seed=0,
        geometry=MaskGeometry.FACE,
        displacement=np.full((28, 28, 2), 40, np.int8),
    )
    placement = place_mask(everywhere, face, mesh=mesh if with_mesh else None)
    inside = np.zeros((480, 480), np.uint8)
    for triangle in face_shape().triangles[face_shape().on_face]:
        cv2.fillConvexPoly(inside, np.round(mesh[triangle, :2]).astype(np.int32), 255)
    beyond = cv2.distanceTransform(255 - inside, cv2.DIST_L2, 5)
    # Px of the crop are 3 of the photo; a margin that turns away from the camera's side is seen a little wider.
    outside = beyond > 3 * (FADE_PX[1] + 1.5)
    assert np.abs(_change(placement)[outside]).max() < 0.5
    assert np.abs(_change(placement)[beyond > 3 * (FADE_PX[1] + 4)]).max() < 0.01
    assert np.abs(_change(placement)[inside > 0]).mean() > 12
    shift = placement.displacement(left=0, top=0, width=480, height=480)
    assert shift is not None
    assert np.abs(shift[outside]).max() < 0.1
    # Less than what bicubic interpolation tells from nothing.
    assert np.abs(shift[beyond > 3 * (FADE_PX[1] + 4)]).max() < 1 / 64
    assert np.abs(shift[inside > 0]).mean() > 2


def test_what_is_moved_and_added_fades_to_the_frames_edge() -> None:
    face, _ = _turned(0)
    everywhere = Mask.new(
        np.full((112, 112, 3), 20, np.int8),
        seed=0,
        geometry=MaskGeometry.FACE,
        displacement=np.full((28, 28, 2), 32, np.int8),
    )
    placement = place_mask(everywhere, face)
    steps = np.abs(np.diff(_change(placement), axis=0)).max(), np.abs(np.diff(_change(placement), axis=1)).max()
    # 20 levels over 6 px of the crop, 3 of the photo each, are 1.1 each; half as much again where it is steepest.
    assert max(steps) < 2.5
    shift = placement.displacement(left=0, top=0, width=480, height=480)
    assert shift is not None
    # Nothing folds: what is further left stays further left.
    assert np.diff(shift[:, :, 0], axis=1).min() > -0.7
    assert np.diff(shift[:, :, 1], axis=0).min() > -0.7


def test_a_photo_cut_into_parts_gets_the_same_change() -> None:
    face, mesh = _turned(15)
    placement = place_mask(_mask(MaskGeometry.FACE), face, mesh=mesh)
    whole = placement.change(left=60, top=50, width=300, height=300)
    part = placement.change(left=160, top=130, width=90, height=70)
    assert whole is not None
    assert part is not None
    assert np.abs(part - whole[80:150, 100:190]).max() < 0.5


@pytest.mark.parametrize("scale", [0.5, 3.0, 9.0])
def test_a_photo_cut_into_parts_is_displaced_alike(scale: float) -> None:
    face, mesh = _turned(15, scale=scale)
    placement = place_mask(_moving(4), face, mesh=mesh)
    side = round(150 * scale)
    whole = placement.displacement(left=5, top=3, width=side, height=side)
    left, top, width, height = (round(share * side) for share in (0.31, 0.27, 0.4, 0.5))
    part = placement.displacement(left=5 + left, top=3 + top, width=width, height=height)
    assert whole is not None
    assert part is not None
    assert np.abs(whole).max() > 0.5 * scale
    assert np.abs(part - whole[top : top + height, left : left + width]).max() < 0.01 * max(scale, 1)


@pytest.mark.parametrize("scale", [2.5, 6.0])
@pytest.mark.parametrize(("sigma", "largest", "near"), [(2.5, 3.0, 0.12), (6.0, 2.0, 0.05)])
def test_what_is_looked_at_now_and_then_is_what_is_there(
    scale: float, sigma: float, largest: float, near: float
) -> None:
    """Of a displacement that is as steep as learned ones are, and of one that is not."""
    face, mesh = _turned(15, scale=scale)
    mask = _moving(4, sigma=sigma, largest=largest)
    side = round(200 * scale)
    placement = place_mask(mask, face, mesh=mesh)
    whole = _change(placement, side=side)
    to_crop = aligning_transform(face.landmarks)
    places = field_at(quick_field(mesh_in_crop(mesh, to_crop)), to_crop, width=side, height=side)
    edge = cv2.warpAffine(edge_window(), to_crop, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    levels = mask.pixels * head_window()[:, :, None]
    exact = cv2.remap(levels, places, None, cv2.INTER_LINEAR) * edge[:, :, None]
    assert np.sqrt(np.square(whole - exact).mean()) < 0.06 * np.sqrt(np.square(exact).mean())
    shift = placement.displacement(left=0, top=0, width=side, height=side)
    moved = displacement_px(mask.displacement) * head_window()[:, :, None]
    # A px of the crop is worth more of the frame where the face is foreshortened, and moves by less.
    field = quick_field(mesh_in_crop(mesh, to_crop))
    worth = np.stack([np.linalg.norm(np.gradient(field, 2, axis=axis), axis=-1) for axis in (1, 0)], axis=-1)
    less = field_at(np.maximum(worth, 1).astype(np.float32), to_crop, width=side, height=side)
    moved = cv2.remap(moved, places, None, cv2.INTER_LINEAR) / less
    wanted = moved * edge[:, :, None] * scale_of(inverse_transform(to_crop))
    assert shift is not None
    assert np.sqrt(np.square(shift - wanted).mean()) < near * np.sqrt(np.square(wanted).mean())


def test_a_turned_photo_is_displaced_in_its_own_directions() -> None:
    """Down in the face is to the image's left when the head lies on its side."""
    upright, _ = _turned(0)
    down = Mask.new(np.zeros((112, 112, 3), np.int8), seed=0, displacement=np.full((28, 28, 2), (0, 32), np.int8))
    turned = Face(upright.box, (upright.landmarks - 240) @ np.array([[0, 1], [-1, 0]], np.float32) + 240, 1.0)
    shift = place_mask(down, turned).displacement(left=0, top=0, width=480, height=480)
    middle = turned.landmarks.mean(axis=0).round().astype(int)
    assert shift is not None
    assert shift[middle[1], middle[0]] == pytest.approx([-3, 0], abs=0.05)
    # Of samples of 2 px across, half as far.
    halved = place_mask(down, turned).displacement(left=0, top=0, width=240, height=480, step=(2, 1))
    assert halved is not None
    assert halved[middle[1], middle[0] // 2] == pytest.approx([-1.5, 0], abs=0.05)


def test_where_a_piece_of_the_face_hides_another_nothing_tears() -> None:
    face, mesh = _turned(45)
    shift = place_mask(_moving(9, largest=3.5), face, mesh=mesh).displacement(left=0, top=0, width=480, height=480)
    assert shift is not None
    for axis in (0, 1):
        assert np.abs(np.diff(shift, axis=axis)).max() < 1.0


def test_without_levels_nothing_is_added_and_without_a_displacement_nothing_moves() -> None:
    face, mesh = _turned(0)
    part = {"left": 60, "top": 60, "width": 200, "height": 200}
    still = place_mask(_mask(MaskGeometry.FACE), face, mesh=mesh)
    assert still.displacement(**part) is None
    assert still.reach_px == 0
    moving = Mask.new(np.zeros((112, 112, 3), np.int8), seed=0, displacement=_moving(1).displacement)
    assert place_mask(moving, face, mesh=mesh).change(**part) is None
    nothing = Mask.new(
        np.zeros((112, 112, 3), np.int8),
        seed=0,
        geometry=MaskGeometry.FACE,
        displacement=np.zeros((28, 28, 2), np.int8),
    )
    left, top, right, bottom = place_mask(nothing, face, mesh=mesh).bounds(width=480, height=480)
    assert (right - left) * (bottom - top) == 0


def test_the_bounds_hold_all_that_changes_and_the_square_holds_the_bounds() -> None:
    face, mesh = _turned(20)
    placement = place_mask(_moving(3), face, mesh=mesh)
    left, top, right, bottom = placement.bounds(width=480, height=480)
    square = square_bounds(face, width=480, height=480)
    assert square[0] <= left < right <= square[2]
    assert square[1] <= top < bottom <= square[3]
    outside = np.ones((480, 480), bool)
    outside[top:bottom, left:right] = False
    change = placement.change(left=0, top=0, width=480, height=480)
    shift = placement.displacement(left=0, top=0, width=480, height=480)
    assert change is not None
    assert shift is not None
    assert not change[outside].any()
    assert np.abs(shift[outside]).max() < 1 / 64


def test_a_shape_that_no_head_has_stays_within_the_budget_and_the_square() -> None:
    face, mesh = _turned(0)
    rng = np.random.default_rng(3)
    mask = _mask(MaskGeometry.FACE)
    for spread in (5, 60, 2000):
        bent = _change(place_mask(mask, face, mesh=mesh + rng.normal(0, spread, mesh.shape)))
        assert np.isfinite(bent).all()
        assert np.abs(bent).max() <= np.abs(mask.pixels.astype(int)).max() + 1e-4
    flat = np.repeat(mesh[:1], len(mesh), axis=0)
    assert np.isfinite(_change(place_mask(mask, face, mesh=flat))).all()
    shift = place_mask(_moving(2), face, mesh=mesh + rng.normal(0, 60, mesh.shape)).displacement(
        left=0, top=0, width=480, height=480
    )
    assert shift is not None
    assert np.abs(shift).max() <= 3 * 2.2


def test_without_a_mesh_the_mask_is_placed_by_the_landmarks() -> None:
    face, mesh = _turned(30)
    mask, square = _mask(MaskGeometry.FACE), _mask(MaskGeometry.SQUARE)
    flat, bent = _change(place_mask(mask, face)), _change(place_mask(mask, face, mesh=mesh))
    assert np.corrcoef(flat.ravel(), bent.ravel())[0, 1] < 0.9
    assert np.array_equal(_change(place_mask(square, face)), _change(place_mask(square, face, mesh=mesh)))


class _One:
    """A mask source with one mask."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask

    def get(self, user: User) -> Mask:
        return self._mask


def test_a_real_photo_is_cloaked_in_the_faces_frame(service_finder: FaceFinder, astronaut_srgb_u8: np.ndarray) -> None:
    mask = _mask(MaskGeometry.FACE)
    photo = simplejpeg.encode_jpeg(astronaut_srgb_u8, quality=95, colorspace="RGB", colorsubsampling="444")
    result = Cloaker(service_finder, _One(mask)).cloak(photo, [Subject("alice")])
    assert result.subjects[0].outcome is Outcome.CLOAKED
    face = result.subjects[0].face
    assert face is not None
    before = simplejpeg.decode_jpeg(photo, colorspace="RGB")
    mesh = service_finder.mesh_of(before, face.landmarks)
    assert mesh is not None
    expected = before.copy()
    add_in_place(expected, place_mask(mask, face, mesh=mesh))
    seen = simplejpeg.decode_jpeg(result.photo, colorspace="RGB").astype(float) - before
    wanted = expected.astype(float) - before
    (left, top), (right, bottom) = (
        transform_points(inverse_transform(aligning_transform(face.landmarks)), np.array([[20.0, 20.0], [92.0, 92.0]]))
        .round()
        .astype(int)
    )
    inner = (slice(top, bottom), slice(left, right))
    assert np.corrcoef(seen[inner].ravel(), wanted[inner].ravel())[0, 1] > 0.97
    square = before.copy()
    add_in_place(square, place_mask(mask, face))
    unbent = square.astype(float) - before
    assert np.corrcoef(seen[inner].ravel(), unbent[inner].ravel())[0, 1] < 0.9
