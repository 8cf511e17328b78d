"""Crops as a platform's JPEG leaves them."""

from __future__ import annotations

import numpy as np
import simplejpeg
import torch
from torch import Tensor


def compressed(crops: Tensor, qualities: list[int]) -> Tensor:
    """Crops (N, 3, 112, 112), RGB 0..255, through a real JPEG with 4:2:0 chroma, each of its quality 1..100."""
    decoded = []
    for crop, quality in zip(crops.detach().numpy(), qualities, strict=True):
        srgb_u8 = np.ascontiguousarray(crop.round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
        encoded = simplejpeg.encode_jpeg(srgb_u8, quality=quality, colorspace="RGB", colorsubsampling="420")
        decoded.append(simplejpeg.decode_jpeg(encoded, colorspace="RGB").transpose(2, 0, 1))
    return torch.from_numpy(np.stack(decoded)).float()
