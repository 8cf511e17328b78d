"""JPEG in the stages: real before the mask, with a slope after it, and off without a trace."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from enroll_service.pipeline.ops.jpeg import compressed, expect_compression, vary_compression


@pytest.fixture
def crops(astronaut_srgb_u8: object) -> Tensor:
    pixels = torch.tensor(astronaut_srgb_u8)[40:152, 160:272].permute(2, 0, 1)
    return pixels[None].float().repeat(6, 1, 1, 1)


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_lower_quality_changes_more(crops: Tensor) -> None:
    low, middle, high = (compressed(crops[:3], [60, 85, 95]) - crops[:3]).abs().mean(dim=(1, 2, 3)).tolist()
    assert 0.5 < high < middle < low < 12


def test_the_share_decides_how_many_are_compressed(crops: Tensor) -> None:
    def changed(share: float) -> int:
        varied = vary_compression(crops, share=share, generator=_generator())
        assert varied.shape == crops.shape
        return int(((varied - crops).abs().mean(dim=(1, 2, 3)) > 0.1).sum())

    assert changed(1) == 6
    assert 0 < changed(0.5) < 6


@pytest.mark.parametrize("function", [vary_compression, expect_compression])
def test_off_draws_nothing_and_changes_nothing(crops: Tensor, function: object) -> None:
    generator = _generator()
    before = generator.get_state()
    assert function(crops, share=0.0, generator=generator) is crops  # type: ignore[operator]
    assert torch.equal(generator.get_state(), before)


def test_the_differentiable_codec_is_close_to_the_real_one_and_has_a_slope(crops: Tensor) -> None:
    leaf = crops.clone().requires_grad_(True)
    expected = expect_compression(leaf, share=1.0, generator=_generator())
    qualities = (torch.rand(6, generator=_after_one_draw()) * 35 + 60).round().int().tolist()
    real = compressed(crops, qualities)
    # Half of what compression itself changes, at most: rounding with a slope is no rounding.
    assert float((expected.detach() - real).abs().mean()) < 0.5 * float((real - crops).abs().mean())
    (gradient,) = torch.autograd.grad(expected[:, 1].sum(), leaf)
    assert bool(torch.isfinite(gradient).all())
    assert float(gradient.abs().sum(dim=(1, 2, 3)).min()) > 0


def _after_one_draw() -> torch.Generator:
    generator = _generator()
    torch.rand(6, 1, 1, 1, generator=generator)
    return generator
