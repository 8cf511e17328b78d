"""Photometric variation of aligned crops: what light and cameras change about the same face."""

from __future__ import annotations

import torch
from torch import Tensor

from enroll_service.pipeline.ops.ssim import smooth
from enroll_service.pipeline.ops.warping import uniform


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


def relight(crops: Tensor, normals: Tensor, *, generator: torch.Generator) -> Tensor:
    """The crops (N, 3, H, W), each in its own other light.

    Light from afar on a matt surface is, to a few percent, a quadric of the normal (Ramamoorthi and Hanrahan, "An
    efficient representation for irradiance environment maps", SIGGRAPH 2001): nine numbers a color, here the change
    against the photo's light, on a logarithmic scale.

    Args:
        normals: (N, H, W, 3) of the surfaces; where zero, the light does not change.
    """
    x, y, z = normals.movedim(3, 0)
    basis = torch.stack([x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - normals.square().sum(dim=3)], dim=1)
    spread = torch.tensor([0.2, 0.14, 0.12, 0.05, 0.05, 0.05, 0.05, 0.03])
    light = torch.randn(len(crops), 1, 8, generator=generator) * spread
    tint = 1 + 0.08 * torch.randn(len(crops), 3, 1, generator=generator)
    return crops * torch.exp(torch.einsum("nck,nkhw->nchw", light * tint, basis))


def vary_tones(crops: Tensor, *, amount: float, generator: torch.Generator) -> Tensor:
    """Masked crops (N, 3, H, W), RGB 0..255, each under its own gamma, contrast and brightness, the mask with the face.
    Differentiable.

    The same mask at other scales and on other tones: gradients that agree on all of them carry over to recognizers that
    were not asked (after Lin et al., "Nesterov accelerated gradient and scale invariance for adversarial attacks", ICLR
    2020).
    """
    if amount <= 0:
        return crops

    def draw(low: float, high: float) -> Tensor:
        return uniform(generator, len(crops), low * amount, high * amount).unsqueeze(1)

    # Black has no slope under a gamma below 1.
    crops = 255 * (crops.clamp(1, 255) / 255) ** torch.exp(draw(-0.3, 0.3))
    mean = crops.mean(dim=(2, 3), keepdim=True)
    return ((crops - mean) * (1 + draw(-0.3, 0.2)) + mean * (1 + draw(-0.15, 0.15))).clamp(0, 255)
