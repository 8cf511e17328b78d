"""The displacement of a mask: its grid, its units, and its size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from facecloak.masks.displacement import (
    DISPLACEMENT_NODES,
    DISPLACEMENT_UNIT_PX,
    displacement_px,
    displacement_size,
    quantize_displacement,
)

UNITS = hnp.arrays(np.int8, (28, 28, 2), elements=st.integers(-127, 127), fill=st.integers(-127, 127))


def smooth_field(seed: int, *, sigma: float, largest: float) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, (112, 112, 2)).astype(np.float32)
    field = cv2.GaussianBlur(noise, (0, 0), sigma)
    return field * (largest / np.abs(field).max())


def test_nodes_are_the_centers_of_cells_and_values_px() -> None:
    """A field that grows evenly is, between the outermost nodes, what its nodes say."""
    place = np.arange(DISPLACEMENT_NODES) * 4 + 1.5
    nodes = np.stack(np.meshgrid(place, place), axis=-1) / 32
    units = quantize_displacement(nodes)
    assert np.array_equal(units, np.round(nodes * 32))
    field = displacement_px(units)
    assert field.shape == (112, 112, 2)
    assert field.dtype == np.float32
    x, y = np.meshgrid(np.arange(112), np.arange(112))
    inner = (slice(8, 104), slice(8, 104))
    assert np.abs(field[inner] - np.stack([x, y], axis=-1)[inner] / 32).max() < DISPLACEMENT_UNIT_PX


def test_without_a_displacement_nothing_moves() -> None:
    assert not displacement_px(None).any()
    assert displacement_size(None).rms_percent == displacement_size(None).largest_percent == 0


@settings(max_examples=30, deadline=None)
@given(units=UNITS)
def test_what_is_at_the_nodes_comes_back(units: np.ndarray) -> None:
    assert np.array_equal(quantize_displacement(units.astype(np.float32) * DISPLACEMENT_UNIT_PX), units)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**16), sigma=st.sampled_from([1.5, 2.0, 4.0]), longest=st.floats(0.2, 3.5))
def test_nothing_moves_further_than_it_may(seed: int, sigma: float, longest: float) -> None:
    field = smooth_field(seed, sigma=sigma, largest=3.0)
    free, held = (displacement_px(quantize_displacement(field, longest_px=most)) for most in (None, longest))
    lengths = np.linalg.norm(free, axis=2)
    assert np.linalg.norm(held, axis=2).max() <= longest
    # What is far from anything too long stays, and both sides of a face are held alike.
    too_long = cv2.dilate((lengths > longest - 3 * DISPLACEMENT_UNIT_PX).astype(np.uint8), np.ones((65, 65), np.uint8))
    assert np.abs((held - free)[too_long == 0]).max(initial=0) < 1e-6
    symmetric = (field + field[:, ::-1] * np.array([-1, 1], np.float32)) / 2
    assert displacement_size(quantize_displacement(symmetric, longest_px=longest)).asymmetry_percent < 0.1


@pytest.mark.parametrize(("sigma", "units"), [(3.0, 1.5), (5.0, 0.5)])
def test_a_smooth_field_is_kept_to_a_unit_or_so(sigma: float, units: float) -> None:
    field = smooth_field(1, sigma=sigma, largest=2.0)
    error = displacement_px(quantize_displacement(field)) - field
    inner = error[4:-4, 4:-4]
    assert np.sqrt(np.square(inner).mean()) < units * DISPLACEMENT_UNIT_PX
    assert np.abs(inner).max() < 6 * units * DISPLACEMENT_UNIT_PX


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(0, 1e6), seed=st.integers(0, 99))
def test_what_is_too_long_is_cut(scale: float, seed: int) -> None:
    units = quantize_displacement(smooth_field(seed, sigma=4, largest=1) * np.float32(scale))
    assert units.dtype == np.int8
    assert np.abs(units.astype(int)).max() <= 127


def test_size_in_percent_of_the_eyes_distance() -> None:
    everywhere = np.full((28, 28, 2), (0, 32), np.int8)  # 1 px down
    size = displacement_size(everywhere)
    assert size.rms_percent == pytest.approx(100 / 35.24, abs=0.01)
    assert size.largest_percent == pytest.approx(100 / 35.24, abs=0.01)
    assert size.asymmetry_percent == 0
    # The same to the image's right on both sides is all asymmetry: a mirror turns it round.
    assert displacement_size(np.full((28, 28, 2), (32, 0), np.int8)).asymmetry_percent == size.rms_percent


def test_a_symmetric_field_has_no_asymmetry() -> None:
    field = smooth_field(2, sigma=4, largest=2)
    symmetric = (field + field[:, ::-1] * [-1, 1]) / 2
    whole = displacement_size(quantize_displacement(field))
    even = displacement_size(quantize_displacement(symmetric))
    assert even.asymmetry_percent < 0.05 < 0.3 * whole.rms_percent < whole.asymmetry_percent < whole.rms_percent


@pytest.mark.parametrize("field", [np.zeros((28, 28)), np.zeros((56, 56, 2)), np.full((28, 28, 2), np.nan)])
def test_what_is_no_field_is_refused(field: np.ndarray) -> None:
    with pytest.raises(ValueError, match="displacement"):
        quantize_displacement(field)
