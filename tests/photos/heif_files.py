"""HEIC and AVIF files for tests, made by the encoders that apps use."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from facecloak.photos import PhotoLimits
from facecloak.photos.photo import PhotoFormat

ALL_FORMATS = PhotoLimits(formats=frozenset(PhotoFormat))


def heic(pixels: np.ndarray, *, quality: int = 88, exif: bytes | None = None, **options: Any) -> bytes:
    """By x265. ``exif`` says the orientation, too, which the file then has as ``irot`` and ``imir``."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra `heif` is not installed")
    out = io.BytesIO()
    if pixels.dtype == np.uint16:
        mode = "RGB;16"
        file = pillow_heif.from_bytes(mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    else:
        file = pillow_heif.from_pillow(Image.fromarray(pixels))
    file.save(out, quality=quality, exif=exif, enc_params={"preset": "ultrafast"}, **options)
    return out.getvalue()


def avif(pixels: np.ndarray, *, quality: int = 80, exif: bytes | None = None, **options: Any) -> bytes:
    """By libavif's encoders, as Pillow has them."""
    if not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    out = io.BytesIO()
    options |= {"exif": exif} if exif is not None else {}
    Image.fromarray(pixels).save(out, "AVIF", quality=quality, speed=9, max_threads=1, **options)
    return out.getvalue()
