"""Geometric variation of aligned crops, and the misalignment that a later detector brings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from enroll_service.pipeline.recipe import SynthesisRecipe
from facecloak.faces import ALIGNED_SIZE

WIDE_MARGIN = 24
"""Px around the aligned crop that a warp may draw in."""
WIDE_SIZE = ALIGNED_SIZE + 2 * WIDE_MARGIN

# How far a later detector's crop lies from ours. Two independent landmark networks part by 1.2 px of the crop in the
# median (measured on 742 faces, see facecloak.faces.placing); twice that covers most, as shift, and as turn and scale
# about the middle (0.04 of the 56 px to the edge).
_SHIFT_PX = 2.0
_SCALE = 0.04
_ROTATION = 0.04


def uniform(generator: torch.Generator, count: int, low: float, high: float) -> Tensor:
    """(count, 1, 1) numbers, uniform between ``low`` and ``high``."""
    return torch.rand(count, 1, 1, generator=generator) * (high - low) + low


@dataclass(frozen=True)
class Bends:
    """How each of N crops is bent, turned, shifted and mirrored.

    Attributes:
        grids: (N, 112, 112, 2) where in the wide crop each pixel comes from, as `grid_sample` takes it with
            ``align_corners``.
        mirrored: (N, 1, 1) bool.
    """

    grids: Tensor
    mirrored: Tensor

    def apply(self, wide: Tensor) -> Tensor:
        """Crops (N, C, 112, 112) of ``wide`` (N, C, 160, 160)."""
        return functional.grid_sample(wide, self.grids, align_corners=True, padding_mode="reflection")


def draw_bends(count: int, *, settings: SynthesisRecipe, generator: torch.Generator) -> Bends:
    """Each of ``count`` crops its own way."""
    rows, columns = torch.meshgrid(torch.arange(float(ALIGNED_SIZE)), torch.arange(float(ALIGNED_SIZE)), indexing="ij")
    control = torch.randn(count, 2, 4, 4, generator=generator) * settings.elastic_px
    bend = functional.interpolate(control, size=(ALIGNED_SIZE, ALIGNED_SIZE), mode="bicubic", align_corners=True)
    x, y = columns + bend[:, 0], rows + bend[:, 1]

    angle = uniform(generator, count, -settings.rotation_radians, settings.rotation_radians)
    scale = 1 + uniform(generator, count, -0.05, 0.05)
    center = (ALIGNED_SIZE - 1) / 2
    x, y = x - center, y - center
    x, y = (
        (torch.cos(angle) * x - torch.sin(angle) * y) * scale
        + center
        + uniform(generator, count, -_SHIFT_PX, _SHIFT_PX),
        (torch.sin(angle) * x + torch.cos(angle) * y) * scale
        + center
        + uniform(generator, count, -_SHIFT_PX, _SHIFT_PX),
    )
    mirrored = torch.rand(count, 1, 1, generator=generator) < settings.mirrored
    x = torch.where(mirrored, ALIGNED_SIZE - 1 - x, x)
    return Bends(torch.stack([x + WIDE_MARGIN, y + WIDE_MARGIN], dim=-1) * 2 / (WIDE_SIZE - 1) - 1, mirrored)


def misalign(crops: Tensor, *, amount: float, generator: torch.Generator) -> Tensor:
    """Each crop under a small random similarity, as another detector would cut it. Differentiable."""
    if amount <= 0:
        return crops
    count = len(crops)
    angle = uniform(generator, count, -_ROTATION * amount, _ROTATION * amount)[:, 0, 0]
    scale = 1 + uniform(generator, count, -_SCALE * amount, _SCALE * amount)[:, 0, 0]
    # affine_grid measures in half sides.
    shift = [
        2 / ALIGNED_SIZE * uniform(generator, count, -_SHIFT_PX * amount, _SHIFT_PX * amount)[:, 0, 0] for _ in "xy"
    ]
    cosine, sine = scale * torch.cos(angle), scale * torch.sin(angle)
    matrices = torch.stack(
        [torch.stack([cosine, -sine, shift[0]], dim=1), torch.stack([sine, cosine, shift[1]], dim=1)], dim=1
    )
    grid = functional.affine_grid(matrices, list(crops.shape), align_corners=False)
    return functional.grid_sample(crops, grid, align_corners=False, padding_mode="border")
