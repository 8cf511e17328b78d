"""How visible changes of crops are: :mod:`facecloak.cloaking.visibility` for many crops at once, and differentiable."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from facecloak.cloaking.visibility import (
    ADAPTATION,
    BLACK,
    DARKEST,
    GAMMA,
    JOD_WEIGHTS,
    MASKING,
    MASKING_EXPONENT,
    OCTAVES,
    PEAK,
    RGB,
    SPREAD_PX,
    SSIMULACRA2_WEIGHTS,
    VisibilityBudget,
)

_BINOMIAL = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
_KERNEL = (_BINOMIAL[:, None] * _BINOMIAL)[None, None]


class CropEyes:
    """What is seen on each of N crops.

    Args:
        crops: (N, 3, 112, 112), RGB 0..255.

    Attributes:
        slope: (N, 3, 112, 112) light that a level more adds, cd/m2.
        weights: by octave (N, 1, h, w), the finest first: what a change of light counts there.
    """

    def __init__(self, crops: Tensor) -> None:
        share = crops.new_tensor(RGB).view(1, 3, 1, 1) * PEAK
        levels = crops.clamp(0, 255) / 255
        light = (share * levels**GAMMA).sum(1, keepdim=True) + BLACK
        self.slope = share * GAMMA / 255 * levels ** (GAMMA - 1)
        self.weights = []
        for octave, ground in _octaves(light):
            contrast = ground.clamp_min(DARKEST) ** (ADAPTATION - 1)
            if octave is not ground:
                detail = MASKING * _blurred((octave * contrast).abs())
                contrast = contrast / (1 + detail * detail) ** MASKING_EXPONENT
            self.weights.append(contrast)

    def visibilities(self, change: Tensor) -> Tensor:
        """(N, 2) for JOD and for SSIMULACRA2, of a change (N or 1, 3, 112, 112), levels; in proportion to it."""
        light = (self.slope * change).sum(1, keepdim=True)
        seen = [(o * w).square().mean((1, 2, 3)) for (o, _), w in zip(_octaves(light), self.weights, strict=True)]
        weights = change.new_tensor([JOD_WEIGHTS, SSIMULACRA2_WEIGHTS]).square()
        return (torch.stack(seen, 1) @ weights.T).clamp_min(1e-20).sqrt()

    def excess(self, change: Tensor, budget: VisibilityBudget) -> float:
        """By how much a change must shrink to be just within a budget, the mean over the crops; 1 is just within."""
        limits = change.new_tensor(budget.visibilities)
        return float((self.visibilities(change) / limits).amax(1).mean())


def octave_weights(budget: VisibilityBudget) -> list[float]:
    """By octave, what its change counts against both limits of a budget together."""
    jod, ssimulacra2 = budget.visibilities.tolist()
    pairs = zip(JOD_WEIGHTS, SSIMULACRA2_WEIGHTS, strict=True)
    return [((one / jod) ** 2 + (other / ssimulacra2) ** 2) ** 0.5 for one, other in pairs]


def built(octaves: list[Tensor]) -> Tensor:
    """The picture (N, C, 112, 112) of a Laplacian pyramid's octaves, the finest first."""
    picture = octaves[-1]
    for octave in reversed(octaves[:-1]):
        picture = _up(picture) + octave
    return picture


def _octaves(picture: Tensor) -> list[tuple[Tensor, Tensor]]:
    """A Laplacian pyramid, each octave with what lies below it; the last is what is left, below itself."""
    octaves = []
    for _ in range(OCTAVES - 1):
        small = _down(picture)
        ground = _up(small)
        octaves.append((picture - ground, ground))
        picture = small
    return [*octaves, (picture, picture)]


def _down(picture: Tensor) -> Tensor:
    """(N, 1, H, W) at half the size, as OpenCV's pyrDown."""
    return functional.conv2d(functional.pad(picture, (2, 2, 2, 2), mode="reflect"), _KERNEL, stride=2)


def _up(picture: Tensor) -> Tensor:
    """(N, C, H, W) at twice the size, as OpenCV's pyrUp."""
    picture = functional.pad(picture, (1, 0, 1, 0), mode="reflect")
    picture = functional.pad(picture, (0, 1, 0, 1), mode="replicate")
    channels = picture.shape[1]
    kernel = (4 * _KERNEL).expand(channels, 1, 5, 5)
    return functional.conv_transpose2d(picture, kernel, stride=2, groups=channels)[..., 4:-3, 4:-3]


def _blurred(picture: Tensor) -> Tensor:
    """By a Gaussian of SPREAD_PX, of OpenCV's size for floats."""
    half = round(SPREAD_PX * 8 + 1) // 2
    x = torch.arange(-half, half + 1, dtype=torch.float32)
    kernel = torch.exp(-(x**2) / (2 * SPREAD_PX**2))
    kernel = kernel / kernel.sum()
    picture = functional.pad(picture, (half, half, half, half), mode="reflect")
    return functional.conv2d(functional.conv2d(picture, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
