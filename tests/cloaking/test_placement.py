"""Where a mask of either geometry lies on a photo."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg

from facecloak.cloaking.blend import add_in_place
from facecloak.cloaking.cloaker import Cloaker, Outcome, Subject
from facecloak.cloaking.placement import FacePlacement, SquarePlacement, place_mask
from facecloak.faces import Box, Face, FaceFinder, aligning_transform
from facecloak.faces.align import inverse_transform, scale_of, transform_points
from facecloak.faces.facemesh import FaceMesh, five_of_mesh
from facecloak.faces.frame import field_at
from facecloak.faces.pose import rotation_of
from facecloak.faces.shape import face_shape
from facecloak.masks.mask import MASK_SIZE, Mask, MaskGeometry


@pytest.fixture(scope="module")
def service_finder(model_repository: Path) -> FaceFinder:
    return FaceFinder.load(model_repository)


def _mask(geometry: MaskGeometry, seed: int = 0) -> Mask:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 60, (MASK_SIZE, MASK_SIZE, 3)), (0, 0), 2)
    return Mask.new(np.clip(noise, -12, 12).round().astype(np.int8), seed=0, geometry=geometry)


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


def _change(placement: SquarePlacement | FacePlacement, side: int = 480) -> np.ndarray:
    left, top, right, bottom = placement.bounds(width=side, height=side)
    whole = np.zeros((side, side, 3), np.float32)
    whole[top:bottom, left:right] = placement.change(left=left, top=top, width=right - left, height=bottom - top)
    return whole


def test_on_the_mean_face_both_geometries_lie_alike() -> None:
    face, mesh = _turned(0)
    mask = _mask(MaskGeometry.FACE)
    square, bent = _change(SquarePlacement(mask, face)), _change(FacePlacement(mask, face, mesh))
    inner = (slice(80, 340), slice(100, 340))
    assert np.corrcoef(square[inner].ravel(), bent[inner].ravel())[0, 1] > 0.97


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
    bent = _change(FacePlacement(mask, face, mesh, strength=0.5))
    assert np.abs(bent).max() <= 0.5 * np.abs(mask.pixels.astype(int)).max() + 1e-4
    assert np.abs(bent).max() > 2
    outside = _change(SquarePlacement(Mask.new(np.full((112, 112, 3), 9, np.int8), seed=0), face)) == 0
    assert not bent[outside].any()


def test_a_photo_cut_into_parts_gets_the_same_change() -> None:
    face, mesh = _turned(15)
    placement = FacePlacement(_mask(MaskGeometry.FACE), face, mesh)
    whole = placement.change(left=60, top=50, width=300, height=300)
    part = placement.change(left=160, top=130, width=90, height=70)
    assert np.abs(part - whole[80:150, 100:190]).max() < 0.5


@pytest.mark.parametrize("scale", [2.5, 6.0])
def test_a_field_looked_into_now_and_then_is_the_field(scale: float) -> None:
    face, mesh = _turned(15, scale=scale)
    placement = FacePlacement(_mask(MaskGeometry.FACE), face, mesh)
    whole = _change(placement, side=round(200 * scale))
    to_crop = aligning_transform(face.landmarks)
    places = field_at(placement._field, to_crop, width=whole.shape[1], height=whole.shape[0])
    exact = cv2.remap(placement._levels, places, None, cv2.INTER_LINEAR)
    exact[~np.any(whole != 0, axis=2)] = 0
    assert np.sqrt(np.square(whole - exact).mean()) < 0.06 * np.sqrt(np.square(exact).mean())


def test_a_shape_that_no_head_has_stays_within_the_budget_and_the_square() -> None:
    face, mesh = _turned(0)
    rng = np.random.default_rng(3)
    mask = _mask(MaskGeometry.FACE)
    for spread in (5, 60, 2000):
        bent = _change(FacePlacement(mask, face, mesh + rng.normal(0, spread, mesh.shape)))
        assert np.isfinite(bent).all()
        assert np.abs(bent).max() <= np.abs(mask.pixels.astype(int)).max() + 1e-4
    flat = np.repeat(mesh[:1], len(mesh), axis=0)
    assert np.isfinite(_change(FacePlacement(mask, face, flat))).all()


def test_without_a_mesh_the_mask_is_laid_by_the_landmarks() -> None:
    face, mesh = _turned(10)
    mask = _mask(MaskGeometry.FACE)
    assert isinstance(place_mask(mask, face), SquarePlacement)
    assert isinstance(place_mask(mask, face, mesh=mesh), FacePlacement)
    assert isinstance(place_mask(_mask(MaskGeometry.SQUARE), face, mesh=mesh), SquarePlacement)


class _One:
    """A mask source with one mask."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask

    def get(self, user_id: str) -> Mask:
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
    add_in_place(expected, FacePlacement(mask, face, mesh))
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
    add_in_place(square, SquarePlacement(mask, face))
    unbent = square.astype(float) - before
    assert np.corrcoef(seen[inner].ravel(), unbent[inner].ravel())[0, 1] < 0.9
