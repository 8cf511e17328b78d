"""Structural similarity and the shape of the budget."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity as reference_similarity

from enroll_service.pipeline.ops.ssim import luma, smooth, structural_similarity
from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.perturb.tolerance import tolerance


def _crops(count: int, seed: int) -> torch.Tensor:
    rough = torch.rand(count, 3, 112, 112, generator=torch.Generator().manual_seed(seed)) * 255
    return smooth(rough, 1.5)


def test_structural_similarity_is_scikit_images_to_five_digits() -> None:
    first = _crops(2, seed=1)
    second = (first + 12 * torch.randn(first.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 255)
    ours = structural_similarity(first, second)
    for index in range(2):
        # scikit-image leaves out a border of half a window, as a window that lies wholly inside does.
        theirs = reference_similarity(
            first[index].numpy().transpose(1, 2, 0).astype(np.float64),
            second[index].numpy().transpose(1, 2, 0).astype(np.float64),
            channel_axis=2,
            data_range=255,
        )
        assert float(ours[index]) == pytest.approx(theirs, abs=2e-5)


def test_structural_similarity_is_one_for_equal_crops_and_differentiable() -> None:
    crops = _crops(1, seed=3).requires_grad_(True)
    similarity = structural_similarity(crops, crops.detach() + 5)
    (gradient,) = torch.autograd.grad(similarity.sum(), crops)
    assert float(structural_similarity(crops, crops).detach()) == pytest.approx(1.0, abs=1e-6)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0


def test_smooth_keeps_the_mean_and_sigma_zero_changes_nothing() -> None:
    crops = _crops(1, seed=4)
    assert torch.equal(smooth(crops, 0), crops)
    flat = torch.full((1, 3, 32, 32), 7.0)
    assert torch.allclose(smooth(flat, 2.0), flat, atol=1e-4)


def test_tolerance_is_wide_on_texture_and_narrow_on_flat_skin() -> None:
    crops = torch.full((4, 3, 112, 112), 128.0)
    crops[:, :, :, 56:] += 60 * torch.randn(4, 1, 112, 56, generator=torch.Generator().manual_seed(5))
    budget = tolerance(Variations(crops), texture_px=2.0)
    assert budget.shape == (1, 1, 112, 112)
    assert float(budget[..., 80:].mean()) > 10 * float(budget[..., :40].mean())
    assert float(budget.min()) > 0


def test_luma_of_gray_is_the_level() -> None:
    assert torch.allclose(luma(torch.full((1, 3, 4, 4), 99.0)), torch.full((1, 1, 4, 4), 99.0))
