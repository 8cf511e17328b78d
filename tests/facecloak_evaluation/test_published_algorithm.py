"""The published algorithm, restated: its limits, its patches, and that it does what it says on a known recognizer."""

from __future__ import annotations

import numpy as np

from facecloak.recognizers.runtime import GradientResult
from facecloak_evaluation import published_algorithm


class Linear:
    """A recognizer whose embedding is a fixed linear map: the gradient is known everywhere."""

    def __init__(self) -> None:
        self.weights = np.random.default_rng(3).normal(size=(4, 3 * 112 * 112)).astype(np.float32) / 1000
        self.seen: list[np.ndarray] = []

    def gradient(self, name: str, crops: np.ndarray, *, far: np.ndarray, near: np.ndarray) -> GradientResult:
        self.seen.append(crops)
        embedding = crops.reshape(len(crops), -1) @ self.weights.T
        gradient = ((near - far) @ self.weights).reshape(1, 3, 112, 112)
        return GradientResult((embedding @ (near - far).T)[:, 0], embedding, gradient.astype(np.float32))


CROPS = np.full((3, 3, 112, 112), 127.0, np.float32)
FAR, NEAR = np.eye(4, dtype=np.float32)[:1], np.eye(4, dtype=np.float32)[1:2]


def learned() -> tuple[np.ndarray, Linear]:
    linear = Linear()
    pixels = published_algorithm.reference_pixels(CROPS, runtime=linear, surrogate="linear", far=FAR, near=NEAR, seed=0)
    return pixels, linear


def test_levels_stay_within_the_published_limits() -> None:
    pixels, _ = learned()
    assert pixels.dtype == np.int8
    inside = published_algorithm.region_mask()[0, 0]
    assert np.abs(pixels[~inside]).max() == published_algorithm.APPLIED_LEVELS
    assert np.abs(pixels[inside]).max() == published_algorithm.PATCH_LEVELS


def test_the_recognizer_never_sees_the_patches() -> None:
    _, linear = learned()
    assert len(linear.seen) == published_algorithm.PASSES * len(CROPS)
    assert max(np.abs(seen - 127).max() for seen in linear.seen) <= published_algorithm.LEARNED_LEVELS + 1e-3


def test_the_mask_moves_from_near_to_far() -> None:
    pixels, linear = learned()
    moved = linear.weights @ pixels.astype(np.float32).transpose(2, 0, 1).ravel()
    assert moved[0] > 0 > moved[1]


def test_a_seed_repeats_it() -> None:
    assert np.array_equal(learned()[0], learned()[0])


def test_far_is_the_least_similar_and_near_the_most() -> None:
    others = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    far, near = published_algorithm.far_and_near(np.array([[0.9, 0.1]], np.float32), others)
    assert far.tolist() == [[-1, 0]]
    assert near.tolist() == [[1, 0]]
