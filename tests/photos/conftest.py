from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image

Save = Callable[..., bytes]


@pytest.fixture(scope="session")
def scene() -> np.ndarray:
    """(90, 130, 3) uint8 RGB with smooth, textured and saturated places; neither side a multiple of 16."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:90, 0:130]
    smooth = np.dstack([x * 1.9, y * 2.7, 255 - (x + y)])
    texture = cv2.GaussianBlur(rng.normal(0, 60, (90, 130, 3)), (0, 0), 1.5)
    return np.clip(smooth + texture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def save() -> Save:
    """Pixels, format and Pillow's options to a file's bytes."""

    def to_bytes(pixels: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        out = io.BytesIO()
        image.save(out, kind, **options)
        return out.getvalue()

    return to_bytes


@pytest.fixture(scope="session")
def exif() -> Callable[[int], bytes]:
    """An EXIF block with an orientation and a few other tags."""

    def block(orientation: int) -> bytes:
        tags = Image.Exif()
        tags[0x0112], tags[0x010F], tags[0x0110] = orientation, "Maker", "Model"
        return tags.tobytes()

    return block
