"""A mask's pixels as they are learned and as they are kept."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def quantize(perturbation: Tensor) -> np.ndarray:
    """The mask's pixels, (112, 112, 3) int8, from a perturbation (1, 3, 112, 112) in levels."""
    return perturbation[0].permute(1, 2, 0).round().clamp(-127, 127).to(torch.int8).numpy()


def unquantize(pixels: np.ndarray) -> Tensor:
    """The perturbation (1, 3, 112, 112), in levels, that a mask's pixels (112, 112, 3) int8 hold."""
    return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
