"""A mask while it is learned: what it paints, and what it moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from enroll_service.pipeline.ops.quantize import unquantize
from facecloak.masks.displacement import displacement_px, quantize_displacement
from facecloak.masks.mask import Mask


@dataclass(frozen=True, eq=False, repr=False)
class MaskParts:
    """A mask's parts, both in its own frame.

    Attributes:
        paint: (1, 3, 112, 112) levels to add.
        displacement: (1, 2, 112, 112) px of the frame, x then y: the masked face shows at a place what the face shows
            that far from it. None where nothing moves.
    """

    paint: Tensor
    displacement: Tensor | None = None

    @classmethod
    def of(cls, mask: Mask) -> MaskParts:
        """A kept mask's."""
        return cls(unquantize(mask.pixels), _as_tensor(mask.displacement))

    def displacement_units(self, *, longest_px: float) -> np.ndarray | None:
        """(28, 28, 2) int8 as a mask keeps it; nothing moves further than ``longest_px``."""
        if self.displacement is None:
            return None
        return quantize_displacement(self.displacement[0].permute(1, 2, 0).numpy(), longest_px=longest_px)


def _as_tensor(displacement: np.ndarray | None) -> Tensor | None:
    if displacement is None:
        return None
    return torch.from_numpy(displacement_px(displacement)).permute(2, 0, 1)[None]
