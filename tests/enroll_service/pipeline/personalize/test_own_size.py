"""How a mask shows on the enrolled photo at its own size, and masks held to what may show there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from enroll_service.pipeline.intake.view import PhotoView, view_of
from enroll_service.pipeline.ops.quantize import quantize
from enroll_service.pipeline.personalize.own_size import shrink_to_view, similarity_seen
from facecloak.cloaking.blend import add_in_place
from facecloak.cloaking.placement import place_mask
from facecloak.faces import Face, FaceFinder, aligned_crop
from facecloak.masks.mask import Mask, MaskGeometry
from facecloak_evaluation.delivered_photo import mask_box
from facecloak_evaluation.visibility import crop_to_box, visibility


@pytest.fixture(scope="module")
def finder(model_repository: Path) -> FaceFinder:
    return FaceFinder.load(model_repository)


@pytest.fixture(scope="module")
def face(finder: FaceFinder, astronaut_srgb_u8: np.ndarray) -> Face:
    return max(finder.find(astronaut_srgb_u8), key=lambda face: face.box.area)


@pytest.fixture(scope="module")
def mesh(finder: FaceFinder, astronaut_srgb_u8: np.ndarray, face: Face) -> np.ndarray:
    mesh = finder.mesh_of(astronaut_srgb_u8, face.landmarks)
    assert mesh is not None
    return mesh


@pytest.fixture(scope="module")
def levels() -> np.ndarray:
    """(112, 112, 3) float32 of a mask with some structure."""
    gray = cv2.GaussianBlur(np.random.default_rng(3).normal(0, 60, (112, 112)), (0, 0), 1.5).astype(np.float32)
    return np.repeat(gray[:, :, None], 3, axis=2)


@pytest.mark.parametrize("geometry", list(MaskGeometry))
def test_the_similarity_is_that_of_the_photo_as_apply_changes_it(
    astronaut_srgb_u8: np.ndarray, face: Face, mesh: np.ndarray, levels: np.ndarray, geometry: MaskGeometry
) -> None:
    pixels = levels.round().astype(np.int8)
    view = view_of(astronaut_srgb_u8, face, mesh)
    changed = astronaut_srgb_u8.copy()
    mask = Mask.new(pixels, seed=0, geometry=geometry)
    crop = aligned_crop(astronaut_srgb_u8, face.landmarks)
    add_in_place(changed, place_mask(mask, face, mesh=mesh, crop_u8=crop))
    box = mask_box(face.landmarks)
    evaluated = visibility(crop_to_box(astronaut_srgb_u8, box), crop_to_box(changed, box)).ssim
    assert evaluated < 0.97
    assert similarity_seen(mask, [view]) == pytest.approx(evaluated, abs=0.002)


def test_a_large_face_is_looked_at_smaller_and_its_points_go_with_it(
    astronaut_srgb_u8: np.ndarray, face: Face, mesh: np.ndarray, levels: np.ndarray
) -> None:
    large = cv2.resize(astronaut_srgb_u8, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    points = (face.landmarks + 0.5) * 8 - 0.5
    moved = np.hstack([(mesh[:, :2] + 0.5) * 8 - 0.5, mesh[:, 2:] * 8])
    view = view_of(large, Face(box=face.box, landmarks=points, score=1.0), moved)
    assert max(view.srgb_u8.shape) == 768
    assert view.mesh is not None

    def laid(view: PhotoView) -> np.ndarray:
        mask = Mask.new(levels.round().astype(np.int8), seed=0, geometry=MaskGeometry.FACE)
        with_mask, without = (
            aligned_crop(picture, view.face.landmarks).astype(np.float32)
            for picture in (view.masked(mask), view.srgb_u8)
        )
        return cv2.GaussianBlur(with_mask - without, (0, 0), 1.5)

    # In the aligned crop, the mask lies on both where it lies on the face.
    own = laid(view_of(astronaut_srgb_u8, face, mesh))
    assert np.corrcoef(own.ravel(), laid(view).ravel())[0, 1] > 0.9


def test_a_mask_that_shows_too_much_is_made_weaker_and_any_other_is_left(
    astronaut_srgb_u8: np.ndarray, face: Face, mesh: np.ndarray, levels: np.ndarray
) -> None:
    views = [view_of(astronaut_srgb_u8, face, mesh)]
    perturbation = torch.from_numpy(levels).permute(2, 0, 1)[None]
    before = similarity_seen(Mask.new(quantize(perturbation), seed=0, geometry=MaskGeometry.FACE), views)
    shrunk = shrink_to_view(perturbation, views, geometry=MaskGeometry.FACE, kept=before + 0.03)
    after = similarity_seen(Mask.new(quantize(shrunk), seed=0, geometry=MaskGeometry.FACE), views)
    assert after == pytest.approx(before + 0.03, abs=0.003)
    assert torch.corrcoef(torch.stack([shrunk.flatten(), perturbation.flatten()]))[0, 1] > 0.9999
    left = shrink_to_view(perturbation, views, geometry=MaskGeometry.FACE, kept=before - 0.01)
    assert torch.equal(left, perturbation)
