"""A JPEG's samples, by libjpeg-turbo; lost picture data is a refusal."""

from __future__ import annotations

import io
import re

import numpy as np
import simplejpeg
from PIL import Image

from facecloak.photos.errors import PhotoDamaged, PhotoTruncated

# libjpeg's messages that mean lost picture data. Extra bytes in front of EOI are common in camera files and lose
# nothing.
_LOSSES = re.compile(r"Corrupt JPEG data(?!: \d+ extraneous bytes before marker 0xd9)|Premature end")


def decode_rgb(data: bytes) -> np.ndarray:
    """(H, W, 3) uint8."""
    return _decode_pixels(data, colorspace="RGB")


def decode_gray(data: bytes) -> np.ndarray:
    """(H, W, 1) uint8."""
    return _decode_pixels(data, colorspace="GRAY")


def _decode_pixels(data: bytes, *, colorspace: str) -> np.ndarray:
    try:
        return simplejpeg.decode_jpeg(data, colorspace)
    except ValueError as error:
        fault = str(error)
    if _LOSSES.search(fault):
        if fault.startswith("Premature end of JPEG file"):
            raise PhotoTruncated("The JPEG ends before its picture does.")
        raise PhotoDamaged("The JPEG's picture data is damaged.")
    try:
        if "subsampling" in fault:  # TurboJPEG takes only the usual sampling factors, libjpeg (in Pillow) takes all
            return _decode_with_pillow(data, gray=colorspace == "GRAY")
        return simplejpeg.decode_jpeg(data, colorspace, strict=False)
    except (ValueError, OSError) as error:
        raise PhotoDamaged("The JPEG cannot be decoded.") from error


def _decode_with_pillow(data: bytes, *, gray: bool) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        pixels = np.array(image.convert("L" if gray else "RGB"))
    return pixels[:, :, None] if gray else pixels
