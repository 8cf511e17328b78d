"""Pictures to measure on: scikit-image's astronaut (NASA, public domain), at the size of a phone's photo."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def astronaut() -> np.ndarray:
    """(512, 512, 3) uint8; one face of about a quarter of the height."""
    from skimage import data

    return np.asarray(data.astronaut())


def photo(*, width: int, height: int) -> np.ndarray:
    """The astronaut scaled to the height, mirrored out to the width; the face stays a quarter of the height."""
    scaled = np.asarray(Image.fromarray(astronaut()).resize((height, height), Image.Resampling.BICUBIC))
    before = (width - height) // 2
    return np.pad(scaled, ((0, 0), (before, width - height - before), (0, 0)), mode="symmetric")


def jpeg(srgb_u8: np.ndarray, *, quality: int = 90) -> bytes:
    """4:2:0, as phones and platforms code."""
    buffer = io.BytesIO()
    Image.fromarray(srgb_u8).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return buffer.getvalue()
