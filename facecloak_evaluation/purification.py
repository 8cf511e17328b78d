"""Purification: what somebody does to a photo who suspects a cloak and knows nothing of it.

Each is a :class:`~facecloak_evaluation.platforms.Platform` after the protocol's first. They blur the face for
recognizers, too, so each is measured against uncloaked photos that went the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from facecloak_evaluation.platforms import Platform, reencode_jpeg

_CHAIN = ((80, 0.75), (60, 1 / 0.75), (75, 1.0))
"""JPEG quality, and the scale after it."""


def _blur(srgb_u8: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(srgb_u8, (0, 0), 2.0)


def _non_local_means(srgb_u8: np.ndarray) -> np.ndarray:
    return cv2.fastNlMeansDenoisingColored(srgb_u8, None, 7, 7, 7, 21)


def _bilateral(srgb_u8: np.ndarray) -> np.ndarray:
    return cv2.bilateralFilter(srgb_u8, 7, 40, 3)


def _jpeg_chain(srgb_u8: np.ndarray) -> np.ndarray:
    size = srgb_u8.shape[1], srgb_u8.shape[0]
    for quality, scale in _CHAIN:
        srgb_u8 = reencode_jpeg(srgb_u8, quality=quality)
        if scale != 1:
            small = max(8, round(size[0] * scale)), max(8, round(size[1] * scale))
            srgb_u8 = cv2.resize(srgb_u8, small if scale < 1 else size, interpolation=cv2.INTER_AREA)
    return srgb_u8


PURIFIERS: dict[str, Platform] = {
    purifier.name: purifier
    for purifier in (
        Platform("blur2", "Gaussian blur, sigma 2 px", _blur),
        Platform("non_local_means", "non-local means (OpenCV, h 7, 7 px patches within 21 px)", _non_local_means),
        Platform("bilateral", "bilateral filter (OpenCV, 7 px, 40 levels, 3 px)", _bilateral),
        Platform("jpeg_chain", "JPEG 80, three quarters of the size, JPEG 60, back, JPEG 75", _jpeg_chain),
    )
}
"""Every known purification by name."""


def after(platform: Platform, purifier: Platform) -> Platform:
    """A platform with a purifier behind it, which moves nothing."""
    clean: Callable[[np.ndarray], np.ndarray] = lambda srgb_u8: purifier.process(platform.process(srgb_u8))  # noqa: E731
    return replace(platform, name=f"{platform.name}+{purifier.name}", process=clean)
