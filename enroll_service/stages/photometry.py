"""Photometric variation of aligned crops: what light and cameras change about the same face."""

from __future__ import annotations

import torch
from torch import Tensor

from enroll_service.stages.visibility import smooth
from enroll_service.stages.warping import uniform


def vary_photometry(crops: Tensor, *, generator: torch.Generator) -> Tensor:
    """The crops (N, 3, H, W), RGB 0..255, each under its own gamma, contrast, white balance, side light, blur and
    noise."""
    count, _, height, width = crops.shape

    def draw(low: float, high: float) -> Tensor:
        return uniform(generator, count, low, high).unsqueeze(1)

    crops = 255 * (crops / 255).clamp(1e-4, 1) ** torch.exp(draw(-0.35, 0.35))
    mean = crops.mean(dim=(2, 3), keepdim=True)
    white_balance = torch.rand(count, 3, 1, 1, generator=generator) * 16 - 8
    crops = (crops - mean) * draw(0.75, 1.25) + mean * draw(0.85, 1.15) + white_balance

    down, across = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    direction = draw(0, 2 * torch.pi)
    crops = crops * (1 + draw(-0.3, 0.3) * (torch.cos(direction) * across + torch.sin(direction) * down))

    crops = torch.where(draw(0, 1) > 0.6, smooth(crops, 1.0), crops)
    noise = torch.randn(crops.shape, generator=generator) * draw(0, 4)
    return (crops + noise).clamp(0, 255)
