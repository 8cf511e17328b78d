"""What a platform does to a photo between upload and a stranger's recognizer: one named function each.

A platform takes upright pixels and returns upright pixels. Where it moves them it says by how much, so that a photo
whose face is not found afterward can still be evaluated at the place where the face is known to be.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

Geometry = Callable[[int, int], tuple[float, float, float, float]]
"""(width, height) of the upload -> (scale x, scale y, shift x, shift y): result = scale * upload + shift, in px."""


def _stay(width: int, height: int) -> tuple[float, float, float, float]:
    del width, height
    return 1.0, 1.0, 0.0, 0.0


@dataclass(frozen=True)
class Platform:
    """One platform's treatment of a photo.

    Attributes:
        name: stable key in results and on the command line.
        description: what is done, for a reader of the results.
        process: srgb_u8 (H, W, 3) -> srgb_u8 (H', W', 3).
        geometry: where a pixel of the upload lands.
    """

    name: str
    description: str
    process: Callable[[np.ndarray], np.ndarray]
    geometry: Geometry = _stay

    def move(self, points: np.ndarray, *, width: int, height: int) -> np.ndarray:
        """Points (n, 2) of an upload of width x height px, in px of the result."""
        scale_x, scale_y, shift_x, shift_y = self.geometry(width, height)
        moved = np.asarray(points, np.float32) * (scale_x, scale_y) + (shift_x, shift_y)
        return moved.astype(np.float32)


def reencode_jpeg(srgb_u8: np.ndarray, *, quality: int, subsampling: str = "4:2:0") -> np.ndarray:
    """Through one JPEG encode and decode (libjpeg's standard tables scaled to `quality`)."""
    buffer = io.BytesIO()
    Image.fromarray(srgb_u8).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    buffer.seek(0)
    with Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"))


def _jpeg(quality: int, subsampling: str = "4:2:0") -> Callable[[np.ndarray], np.ndarray]:
    return lambda srgb_u8: reencode_jpeg(srgb_u8, quality=quality, subsampling=subsampling)


LONG_EDGE = 1080


def _long_edge_size(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, LONG_EDGE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resize(srgb_u8: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if (srgb_u8.shape[1], srgb_u8.shape[0]) == size:
        return srgb_u8
    return np.asarray(Image.fromarray(srgb_u8).resize(size, Image.Resampling.BICUBIC))


def _long_edge(srgb_u8: np.ndarray) -> np.ndarray:
    height, width = srgb_u8.shape[:2]
    return reencode_jpeg(_resize(srgb_u8, _long_edge_size(width, height)), quality=75)


def _long_edge_geometry(width: int, height: int) -> tuple[float, float, float, float]:
    new_width, new_height = _long_edge_size(width, height)
    return new_width / width, new_height / height, 0.0, 0.0


def _half_and_back(srgb_u8: np.ndarray) -> np.ndarray:
    height, width = srgb_u8.shape[:2]
    return _resize(_resize(srgb_u8, _half_size(width, height)), (width, height))


def _half_size(width: int, height: int) -> tuple[int, int]:
    return max(1, width // 2), max(1, height // 2)


def _jpeg_then_half(srgb_u8: np.ndarray) -> np.ndarray:
    height, width = srgb_u8.shape[:2]
    picture = Image.fromarray(reencode_jpeg(srgb_u8, quality=75))
    return np.asarray(picture.resize(_half_size(width, height), Image.Resampling.LANCZOS))


def _half_geometry(width: int, height: int) -> tuple[float, float, float, float]:
    new_width, new_height = _half_size(width, height)
    scale_x, scale_y = new_width / width, new_height / height
    return scale_x, scale_y, (scale_x - 1) / 2, (scale_y - 1) / 2  # pixel centers are whole numbers


def _crop_margin(length: int) -> int:
    return round(length * 0.05)


def _center_crop(srgb_u8: np.ndarray) -> np.ndarray:
    top, left = (_crop_margin(length) for length in srgb_u8.shape[:2])
    return np.ascontiguousarray(srgb_u8[top : srgb_u8.shape[0] - top, left : srgb_u8.shape[1] - left])


def _center_crop_geometry(width: int, height: int) -> tuple[float, float, float, float]:
    return 1.0, 1.0, -float(_crop_margin(width)), -float(_crop_margin(height))


def _filtered(image_filter: ImageFilter.Filter) -> Callable[[np.ndarray], np.ndarray]:
    return lambda srgb_u8: np.asarray(Image.fromarray(srgb_u8).filter(image_filter))


PLATFORMS: dict[str, Platform] = {
    platform.name: platform
    for platform in (
        Platform("delivered", "as ApplyCloak returned it", lambda srgb_u8: srgb_u8),
        Platform("jpeg95_444", "re-encoded as JPEG quality 95, 4:4:4", _jpeg(95, "4:4:4")),
        Platform("jpeg85", "re-encoded as JPEG quality 85, 4:2:0", _jpeg(85)),
        Platform("jpeg75", "re-encoded as JPEG quality 75, 4:2:0", _jpeg(75)),
        Platform("jpeg70", "re-encoded as JPEG quality 70, 4:2:0", _jpeg(70)),
        Platform(
            "edge1080_jpeg75", "long edge at most 1080 px (bicubic), JPEG 75 4:2:0", _long_edge, _long_edge_geometry
        ),
        Platform("half_and_back", "half size and back (bicubic)", _half_and_back),
        Platform(
            "jpeg75_half_lanczos",
            "JPEG 75 4:2:0, then half size (Lanczos)",
            _jpeg_then_half,
            _half_geometry,
        ),
        Platform("crop90", "the middle 90 % of each side", _center_crop, _center_crop_geometry),
        Platform("blur1", "Gaussian blur, radius 1 px", _filtered(ImageFilter.GaussianBlur(1))),
        Platform("mean5", "5x5 mean", _filtered(ImageFilter.BoxBlur(2))),
    )
}
"""Every known platform by name; the default of the protocol is ``jpeg85``."""
