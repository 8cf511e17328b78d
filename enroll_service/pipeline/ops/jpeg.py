"""JPEG in stages one and two: as cameras and platforms wrote a photo before the mask, and as platforms will write it
after."""

from __future__ import annotations

import numpy as np
import simplejpeg
import torch
from kornia.enhance import jpeg_codec_differentiable
from torch import Tensor

# From what platforms re-encode uploads to, or a little worse, to what cameras write.
_LOWEST_QUALITY, _HIGHEST_QUALITY = 60, 95


def compressed(crops: Tensor, qualities: list[int]) -> Tensor:
    """Crops (N, 3, 112, 112), RGB 0..255, through a real JPEG with 4:2:0 chroma, each of its quality 1..100."""
    decoded = []
    for crop, quality in zip(crops.detach().numpy(), qualities, strict=True):
        srgb_u8 = np.ascontiguousarray(crop.round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
        encoded = simplejpeg.encode_jpeg(srgb_u8, quality=quality, colorspace="RGB", colorsubsampling="420")
        decoded.append(simplejpeg.decode_jpeg(encoded, colorspace="RGB").transpose(2, 0, 1))
    return torch.from_numpy(np.stack(decoded)).float()


def vary_compression(crops: Tensor, *, share: float, generator: torch.Generator) -> Tensor:
    """About ``share`` of the crops (N, 3, 112, 112), RGB 0..255, through a real JPEG of some quality of 60 to 95.

    Not differentiable: for pictures that carry no mask yet. 0 draws nothing and changes nothing.
    """
    if share <= 0:
        return crops
    chosen = torch.rand(len(crops), generator=generator) < share
    qualities = torch.randint(_LOWEST_QUALITY, _HIGHEST_QUALITY + 1, (len(crops),), generator=generator)
    if not chosen.any():
        return crops
    varied = crops.clone()
    varied[chosen] = compressed(crops[chosen], qualities[chosen].tolist())
    return varied


def expect_compression(crops: Tensor, *, share: float, generator: torch.Generator) -> Tensor:
    """About ``share`` of masked crops (N, 3, 112, 112), RGB 0..255, as a JPEG of some quality of 60 to 95 will show
    them. Differentiable.

    kornia's codec, with 4:2:0 chroma and a rounding that has a slope (after Shin and Song, "JPEG-resistant adversarial
    images", NIPS workshop 2017). 0 draws nothing and changes nothing.
    """
    if share <= 0:
        return crops
    chosen = torch.rand(len(crops), 1, 1, 1, generator=generator) < share
    qualities = torch.rand(len(crops), generator=generator) * (_HIGHEST_QUALITY - _LOWEST_QUALITY) + _LOWEST_QUALITY
    coded = jpeg_codec_differentiable(crops.clamp(0, 255) / 255, qualities) * 255
    return torch.where(chosen, coded, crops)
