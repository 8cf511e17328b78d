"""How much a change to a picture shows to people: two full-reference measures that need no torch.

SSIMULACRA2 (Sneyers, Cloudinary, 2022; package ssimulacra2): 90 is no visible difference, 80 is not noticed side by
side, 70 not without the original, 50 is medium, 30 poor quality; below 0 is far off. A picture under 256 px a side has
fewer than its six scales, so compare its values with those of pictures of about the same size.
FLIP (Andersson et al., HPG 2020; package flip-evaluator): 0..1 a pixel, as seen by who flips between both pictures at
67 px a degree. The 99th percentile tells of the worst places, which a mean would hide.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

SMALLEST_SIDE_PX = 8
"""SSIMULACRA2 has no scale for anything smaller."""

FLIP_PERCENTILE = 99


def ssimulacra2(original_srgb_u8: np.ndarray, changed_srgb_u8: np.ndarray) -> float:
    """SSIMULACRA2 of two (H, W, 3) uint8 pictures at their own size; at most 100, which is no difference.

    Raises:
        ValueError: see :func:`check_pictures`.
    """
    from ssimulacra2 import compute_ssimulacra2  # slow to import, and only a measurement needs it

    check_pictures(original_srgb_u8, changed_srgb_u8)
    return float(compute_ssimulacra2(_png(original_srgb_u8), _png(changed_srgb_u8)))


def flip_99(original_srgb_u8: np.ndarray, changed_srgb_u8: np.ndarray) -> float:
    """99th percentile over pixels of FLIP between two (H, W, 3) uint8 pictures; 0 (equal) to 1.

    Raises:
        ValueError: see :func:`check_pictures`.
    """
    import flip_evaluator

    check_pictures(original_srgb_u8, changed_srgb_u8)
    pair = [np.ascontiguousarray(picture, np.float32) / 255 for picture in (original_srgb_u8, changed_srgb_u8)]
    errors, _, _ = flip_evaluator.evaluate(*pair, "LDR", applyMagma=False)
    return float(np.percentile(errors, FLIP_PERCENTILE))


def check_pictures(original_srgb_u8: np.ndarray, changed_srgb_u8: np.ndarray) -> None:
    """Refuse what the measures would wrap, rescale or guess.

    Raises:
        ValueError: shapes differ, not uint8 RGB, or smaller than SMALLEST_SIDE_PX a side.
    """
    shape = original_srgb_u8.shape
    if shape != changed_srgb_u8.shape or len(shape) != 3 or shape[2] != 3:
        raise ValueError(f"RGB pictures of one size are needed, not {shape} and {changed_srgb_u8.shape}")
    if original_srgb_u8.dtype != np.uint8 or changed_srgb_u8.dtype != np.uint8:
        raise ValueError("uint8 pictures are needed: other types wrap or rescale")
    if min(shape[:2]) < SMALLEST_SIDE_PX:
        raise ValueError(f"pictures of at least {SMALLEST_SIDE_PX}x{SMALLEST_SIDE_PX} px are needed")


def _png(srgb_u8: np.ndarray) -> io.BytesIO:
    """The package reads files; a PNG in memory comes back without loss."""
    file = io.BytesIO()
    Image.fromarray(srgb_u8).save(file, "PNG", compress_level=1)
    file.seek(0)
    return file
