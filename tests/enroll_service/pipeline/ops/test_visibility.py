"""What is seen of many crops at once is what the library sees of each."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from enroll_service.pipeline.ops.visibility import CropEyes, built, octave_weights
from facecloak.cloaking.visibility import OCTAVES, Eye, VisibilityBudget


@pytest.fixture
def crops(astronaut_srgb_u8: np.ndarray) -> np.ndarray:
    """(2, 112, 112, 3) uint8."""
    return np.stack([astronaut_srgb_u8[60:172, 170:282], astronaut_srgb_u8[300:412, 100:212]])


def test_it_agrees_with_the_librarys_own(crops: np.ndarray) -> None:
    change = np.random.default_rng(2).normal(0, 6, crops.shape).astype(np.float32)
    eyes = CropEyes(torch.from_numpy(crops).permute(0, 3, 1, 2).float())
    seen = eyes.visibilities(torch.from_numpy(change).permute(0, 3, 1, 2))
    for crop, one, figures in zip(crops, change, seen, strict=True):
        assert figures.numpy() == pytest.approx(Eye.on(np.ascontiguousarray(crop)).visibilities(one), rel=2e-3)
    budget = VisibilityBudget(9.0, 75.0)
    factors = [
        Eye.on(np.ascontiguousarray(crop)).strength(one, budget) for crop, one in zip(crops, change, strict=True)
    ]
    excess = eyes.excess(torch.from_numpy(change).permute(0, 3, 1, 2), budget)
    assert excess == pytest.approx(np.mean([1 / factor for factor in factors]), rel=2e-3)


def test_visibility_grows_with_the_change_and_has_a_gradient(crops: np.ndarray) -> None:
    eyes = CropEyes(torch.from_numpy(crops).permute(0, 3, 1, 2).float())
    change = torch.randn(1, 3, 112, 112, generator=torch.Generator().manual_seed(1), requires_grad=True)
    seen = eyes.visibilities(change)
    assert torch.allclose(eyes.visibilities(3 * change), 3 * seen, rtol=1e-4)
    (gradient,) = torch.autograd.grad(seen.sum(), change)
    assert bool(torch.isfinite(gradient).all())
    assert float(gradient.abs().max()) > 0


def test_octaves_are_built_to_a_picture_of_their_own_scale() -> None:
    sides = [112 >> index for index in range(OCTAVES)]
    assert len(octave_weights(VisibilityBudget(9.0, 75.0))) == OCTAVES
    for index, side in enumerate(sides):
        octaves = [torch.zeros(1, 3, one, one) for one in sides]
        octaves[index][..., side // 2, side // 2] = 1
        picture = built(octaves)
        assert picture.shape == (1, 3, 112, 112)
        assert int((picture[0, 0].abs() > 1e-6).sum()) == (1 if index == 0 else pytest.approx(4**index * 9, rel=0.9))
