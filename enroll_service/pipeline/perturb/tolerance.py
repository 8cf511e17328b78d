"""Where change costs least structural similarity."""

from __future__ import annotations

from torch import Tensor

from enroll_service.pipeline.ops.ssim import C2, luma, smooth
from enroll_service.pipeline.ops.variations import Variations


def tolerance(variations: Variations, *, texture_px: float) -> Tensor:
    """How much squared change each pixel may take for one unit of lost structural similarity, (1, 1, H, W),
    levels squared.

    For a small change d, independent of the picture, SSIM's structure term loses d^2 / (2 var + C2) in a window of
    variance var: so the budget is an ellipsoid, wide where there is texture (eyes, brows, nose, mouth, hair: where
    identity is) and narrow on flat skin. Averaged over the variations, since the mask must suit photos that nobody
    has seen.
    """
    gray = luma(variations.crops)
    variance = (smooth(gray * gray, texture_px) - smooth(gray, texture_px) ** 2).clamp_min(0)
    return variations.mean_in_mask_frame(variance + C2 / 2)
