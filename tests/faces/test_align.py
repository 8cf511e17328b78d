"""The alignment recovers what it should, exactly, and its inverse undoes it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facecloak.faces import (
    ALIGNED_SIZE,
    ARCFACE_TEMPLATE,
    InvalidLandmarks,
    InvalidPixels,
    aligned_crop,
    aligning_transform,
    inverse_transform,
)
from facecloak.faces.align import scale_of, similarity_transform, transform_points, warp_crop

similarities = st.builds(
    lambda scale, angle, x, y: np.array(
        [[scale * np.cos(angle), -scale * np.sin(angle), x], [scale * np.sin(angle), scale * np.cos(angle), y]]
    ),
    st.floats(0.05, 40),
    st.floats(-np.pi, np.pi),
    st.floats(-5000, 5000),
    st.floats(-5000, 5000),
)
noise = st.lists(st.floats(-4, 4), min_size=10, max_size=10).map(lambda values: np.array(values).reshape(5, 2))


@given(similarities)
def test_a_moved_template_is_brought_back(move: np.ndarray) -> None:
    landmarks = transform_points(move, ARCFACE_TEMPLATE.astype(np.float64))
    transform = aligning_transform(landmarks)
    assert transform.shape == (2, 3)
    assert transform.dtype == np.float64
    np.testing.assert_allclose(transform_points(transform, landmarks), ARCFACE_TEMPLATE, atol=1e-4)
    np.testing.assert_allclose(scale_of(transform), 1 / scale_of(move), rtol=1e-6)


@given(similarities, noise)
def test_the_inverse_undoes_the_transform(move: np.ndarray, jitter: np.ndarray) -> None:
    landmarks = transform_points(move, ARCFACE_TEMPLATE + jitter)
    transform = aligning_transform(landmarks)
    back = transform_points(inverse_transform(transform), transform_points(transform, landmarks))
    np.testing.assert_allclose(back, landmarks, atol=1e-5)


@given(noise, similarities)
def test_no_similarity_near_it_fits_better(jitter: np.ndarray, nudge: np.ndarray) -> None:
    target = ARCFACE_TEMPLATE.astype(np.float64)
    best = similarity_transform(target + jitter, target)
    nudged = best.copy()
    nudged[:, 2] += nudge[:, 2] / 5000

    def error(transform: np.ndarray) -> float:
        return float(((transform_points(transform, target + jitter) - target) ** 2).sum())

    assert error(best) <= error(nudged) + 1e-9


@pytest.mark.parametrize("seed", range(8))
def test_it_agrees_with_scikit_image(seed: int) -> None:
    transforms = pytest.importorskip("skimage.transform")
    landmarks = ARCFACE_TEMPLATE * 1.7 + 31 + np.random.default_rng(seed).normal(0, 4, (5, 2))
    expected = transforms.SimilarityTransform.from_estimate(landmarks, ARCFACE_TEMPLATE.astype(np.float64))
    np.testing.assert_allclose(aligning_transform(landmarks), expected.params[:2], atol=1e-9)


def test_the_crop_of_an_aligned_photo_is_the_photo() -> None:
    photo = np.random.default_rng(1).integers(0, 256, (ALIGNED_SIZE, ALIGNED_SIZE, 3), dtype=np.uint8)
    np.testing.assert_array_equal(aligned_crop(photo, ARCFACE_TEMPLATE), photo)


def test_a_turned_photo_gives_the_turned_crop_back() -> None:
    photo = np.random.default_rng(2).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    turned = np.ascontiguousarray(np.rot90(photo, 2))
    np.testing.assert_array_equal(aligned_crop(turned, 111 - ARCFACE_TEMPLATE), photo)


def test_shrinking_averages_instead_of_skipping() -> None:
    checkers = (np.indices((896, 896)).sum(axis=0) % 2 * 255).astype(np.uint8)
    fine = np.repeat(checkers[..., None], 3, axis=2)
    crop = aligned_crop(fine, ARCFACE_TEMPLATE * 8 + 3.5)
    assert np.abs(crop.astype(int) - 127).max() <= 1


def test_a_whole_number_shrink_is_the_mean_of_blocks() -> None:
    photo = np.random.default_rng(3).integers(0, 256, (448, 448, 3), dtype=np.uint8)
    means = photo.reshape(112, 4, 112, 4, 3).mean(axis=(1, 3))
    assert np.abs(aligned_crop(photo, ARCFACE_TEMPLATE * 4 + 1.5) - means).max() <= 1


def test_outside_the_photo_is_black() -> None:
    crop = aligned_crop(np.full((56, 112, 3), 200, np.uint8), ARCFACE_TEMPLATE)
    assert (crop[:56] == 200).all()
    assert (crop[57:] == 0).all()


def test_an_enormous_face_costs_bounded_memory() -> None:
    photo = np.zeros((4000, 3000, 3), np.uint8)
    assert warp_crop(photo, np.array([[1e-3, 0, 0], [0, 1e-3, 0]]), width=112, height=112).shape == (112, 112, 3)


@pytest.mark.parametrize(
    "landmarks",
    [
        np.zeros((5, 2)),
        np.full((5, 2), np.nan),
        np.full((5, 2), np.inf),
        ARCFACE_TEMPLATE[:4],
        ARCFACE_TEMPLATE * 1e9,
        np.zeros((5, 3)),
    ],
)
def test_bad_landmarks_are_refused(landmarks: np.ndarray) -> None:
    with pytest.raises(InvalidLandmarks):
        aligning_transform(landmarks)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((5, 5, 3), np.float32),
        np.zeros((1, 40_000, 3), np.uint8),
    ],
)
def test_bad_pixels_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(InvalidPixels):
        aligned_crop(pixels, ARCFACE_TEMPLATE)
