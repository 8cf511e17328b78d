"""A mask brought to a face's crop: its strength and colors follow the photo."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from enroll_service.pipeline.ops.variations import foreshortening
from facecloak.cloaking.crop_change import STRENGTHS, crop_change
from facecloak.cloaking.visibility import Eye, predicted
from facecloak.faces import Face, FaceFinder, aligned_crop, aligning_transform
from facecloak.faces.facemesh import FaceMesh, five_of_mesh
from facecloak.faces.frame import mesh_in_crop, quick_field
from facecloak.faces.pose import rotation_of
from facecloak.faces.shape import face_shape
from facecloak.masks.mask import Mask, MaskGeometry

# Vertices of the mesh, right and left.
CHEEKS = (50, 280)


@pytest.fixture(scope="module")
def face(astronaut_srgb_u8: np.ndarray, model_repository: Path) -> Face:
    return FaceFinder.load(model_repository).find(astronaut_srgb_u8)[0]


@pytest.fixture(scope="module")
def crop(astronaut_srgb_u8: np.ndarray, face: Face) -> np.ndarray:
    return aligned_crop(astronaut_srgb_u8, face.landmarks)


@pytest.fixture(scope="module")
def mesh(face: Face) -> np.ndarray:
    assert face.mesh is not None
    return mesh_in_crop(face.mesh, aligning_transform(face.landmarks))


def mask_of(levels: float, *, jod: float | None = 9.0, ssimulacra2: float | None = None) -> Mask:
    noise = cv2.GaussianBlur(np.random.default_rng(3).normal(0, 1, (112, 112, 3)), (0, 0), 1.5)
    return Mask.new(
        np.clip(noise / noise.std() * levels, -127, 127).round().astype(np.int8),
        seed=0,
        geometry=MaskGeometry.FACE,
        target_jod=jod,
        target_ssimulacra2=ssimulacra2,
    )


def seen(levels: np.ndarray, crop: np.ndarray) -> tuple[float, float]:
    return predicted(Eye.on(crop).visibilities(cv2.resize(levels, (112, 112), interpolation=cv2.INTER_AREA)))


def test_a_mask_is_as_visible_as_it_is_to_be_on_any_photo(crop: np.ndarray, mesh: np.ndarray) -> None:
    flat = cv2.addWeighted(cv2.GaussianBlur(crop, (0, 0), 2), 0.6, np.full_like(crop, 110), 0.4, 0)
    strengths = []
    for photo in (crop, flat):
        for in_crop in (mesh, None):
            change = crop_change(mask_of(8), mesh_in_crop=in_crop, strength=1.0, crop_u8=photo)
            assert change.levels is not None
            assert seen(change.levels, photo)[0] == pytest.approx(9.0, abs=0.03)
            strengths.append(change.strength)
    # On the flat one less is put.
    assert max(strengths[2:]) < 0.9 * min(strengths[:2])


def test_the_stricter_of_two_targets_counts(crop: np.ndarray, mesh: np.ndarray) -> None:
    for jod, ssimulacra2 in ((9.4, 30.0), (7.5, 75.0)):
        change = crop_change(
            mask_of(8, jod=jod, ssimulacra2=ssimulacra2), mesh_in_crop=mesh, strength=1.0, crop_u8=crop
        )
        assert change.levels is not None
        found = seen(change.levels, crop)
        assert min(found[0] - jod, (found[1] - ssimulacra2) / 10) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(("levels", "factor"), [(60, STRENGTHS[0]), (0.6, STRENGTHS[1])])
def test_a_mask_is_followed_so_far_and_no_further(
    crop: np.ndarray, mesh: np.ndarray, levels: float, factor: float
) -> None:
    change = crop_change(mask_of(levels), mesh_in_crop=mesh, strength=1.0, crop_u8=crop)
    as_it_is = crop_change(mask_of(levels, jod=None), mesh_in_crop=mesh, strength=1.0, crop_u8=crop)
    assert change.strength == factor
    assert as_it_is.strength == 1.0
    assert change.levels == pytest.approx(factor * as_it_is.levels, abs=1e-4)


def test_an_operators_strength_is_a_factor_on_top(crop: np.ndarray, mesh: np.ndarray) -> None:
    moving = Mask.new(
        mask_of(8).pixels,
        seed=0,
        geometry=MaskGeometry.FACE,
        target_jod=9.0,
        displacement=np.full((28, 28, 2), 20, np.int8),
    )
    whole, half = (crop_change(moving, mesh_in_crop=mesh, strength=by, crop_u8=crop) for by in (1.0, 0.5))
    assert half.strength == 0.5 * whole.strength
    assert half.levels == pytest.approx(0.5 * whole.levels, abs=1e-4)
    assert half.shift_px == pytest.approx(0.5 * whole.shift_px, abs=0.01)


def test_without_a_crop_a_mask_is_put_on_as_it_is(mesh: np.ndarray) -> None:
    change = crop_change(mask_of(8), mesh_in_crop=mesh, strength=1.0, crop_u8=None)
    assert change.strength == 1.0
    assert change.levels is not None


def test_a_gray_face_is_painted_in_gray_and_as_visibly(crop: np.ndarray, mesh: np.ndarray) -> None:
    gray = np.repeat(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)
    change = crop_change(mask_of(8), mesh_in_crop=mesh, strength=1.0, crop_u8=gray)
    assert change.levels is not None
    assert np.array_equal(change.levels[:, :, 0], change.levels[:, :, 1])
    assert np.array_equal(change.levels[:, :, 0], change.levels[:, :, 2])
    assert change.levels.any()
    assert seen(change.levels, gray)[0] == pytest.approx(9.0, abs=0.03)


def turned(degrees: float) -> np.ndarray:
    """The mean face's mesh, turned by a yaw, px of its crop."""
    mean = face_shape().mean.astype(np.float64)
    middle, zero = mean.mean(axis=0), np.zeros(1)
    turn = rotation_of(yaw=np.radians(np.array([degrees])), pitch=zero, roll=zero)[0]
    mesh = (mean - middle) @ turn.T + middle
    return mesh_in_crop(mesh, aligning_transform(five_of_mesh(mesh[:, :2]) - FaceMesh.bias))


@pytest.mark.parametrize("degrees", [-35, 0, 35])
def test_what_is_seen_from_the_side_moves_less(degrees: float) -> None:
    evenly = np.zeros((28, 28, 2), np.int8)
    evenly[..., 0] = 32  # 1 px of the frame to the right
    mask = Mask.new(np.zeros((112, 112, 3), np.int8), seed=0, geometry=MaskGeometry.FACE, displacement=evenly)
    mesh = turned(degrees)
    change = crop_change(mask, mesh_in_crop=mesh, strength=1.0, crop_u8=None)
    assert change.shift_px is not None
    moved = [change.shift_px[tuple(np.round(mesh[cheek, 1::-1]).astype(int))][0] for cheek in CHEEKS]
    if degrees:
        far, near = sorted(moved)
        assert 0.2 < far < 0.75 < near <= 1.01
    else:
        assert moved == pytest.approx([1, 1], abs=0.12)
    # What is learned is learned with the same.
    field = cv2.resize(quick_field(mesh), (112, 112), interpolation=cv2.INTER_LINEAR)
    learned = foreshortening(torch.from_numpy(field)[None] * (2 / 111) - 1)[0].numpy()
    for cheek, one in zip(CHEEKS, moved, strict=True):
        assert 1 / learned[tuple(np.round(mesh[cheek, 1::-1]).astype(int))][0] == pytest.approx(one, abs=0.15)
