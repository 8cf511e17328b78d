"""Draws thumbnails and previews anew from the changed photo, each in the place of the old one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from facecloak.photos.errors import PhotoRefused
from facecloak.photos.jpeg_encoding import JpegEncoding, encode_jpeg, encoding_of
from facecloak.photos.jpeg_structure import read_structure
from facecloak.photos.limits import PhotoLimits
from facecloak.photos.orientation import to_stored, to_upright

# Larger ones are dropped. A preview for a camera's screen has 1.5 megapixels at most.
_LIMITS = PhotoLimits(max_pixels=2**21, max_side=4096, max_scans=20, max_segments=200)
_MAX_DRAWN = 8
# A ratio of sides within this is the picture's own, rounded to whole pixels; other thumbnails have black bars.
_SAME_RATIO = 0.02
# A new one that does not fit by more than this in the old one's place needs coarser tables.
_OPTIMIZING_HELPS, _TRIES = 1.15, 5


class ThumbnailPainter:
    """Draws the changed photo small.

    Args:
        whole: gives the whole changed photo as stored, (H, W, 3) uint8 RGB, its longer side at least as many px as
            asked for, where the photo has as many.
        orientation: the photo's EXIF orientation 1..8.
    """

    def __init__(self, whole: Callable[[int], np.ndarray], *, orientation: int) -> None:
        self._whole = whole
        self._orientation = orientation
        self._drawn = 0

    def jpeg(self, old: bytes, *, room: int, orientation: int | None = None) -> bytes | None:
        """A JPEG of an old one's size and coding, in at most ``room`` bytes; None where that cannot be.

        Args:
            old: the picture to draw anew.
            orientation: EXIF orientation that the old one was stored in; None for the photo's own.
        """
        try:
            structure = read_structure(b"\xff" + old[1:], _LIMITS)
            encoding = encoding_of(structure)
        except PhotoRefused:
            return None
        pixels = self.pixels(structure.width, structure.height, orientation=orientation)
        if pixels is None:
            return None
        drawn = encode_jpeg(pixels, _plain(encoding))
        if room < len(drawn) < _OPTIMIZING_HELPS * room:
            drawn = encode_jpeg(pixels, _plain(encoding, optimized=True))
        factor = 1.0
        for _ in range(_TRIES):
            if len(drawn) <= room:
                return drawn
            # Bytes go down more slowly than the steps go up.
            factor *= (len(drawn) / room) ** 1.6
            tables = tuple(tuple(min(round(step * factor), 255) for step in table) for table in encoding.tables)
            drawn = encode_jpeg(pixels, _plain(encoding, tables=tables, optimized=True))
        return drawn if len(drawn) <= room else None

    def pixels(self, width: int, height: int, *, orientation: int | None = None) -> np.ndarray | None:
        """(height, width, 3) uint8 RGB: the photo, as large as it fits, on black; None where it is too large or too
        many were drawn."""
        if self._drawn >= _MAX_DRAWN or not 0 < width * height <= _LIMITS.max_pixels:
            return None
        self._drawn += 1
        stored = self._whole(max(width, height))
        if orientation is not None and orientation != self._orientation:
            stored = to_stored(to_upright(stored, self._orientation), orientation)
        rows, columns = stored.shape[:2]
        if abs(columns * height / (rows * width) - 1) <= _SAME_RATIO:
            return cv2.resize(stored, (width, height), interpolation=cv2.INTER_AREA)
        scale = min(width / columns, height / rows)
        size = max(round(columns * scale), 1), max(round(rows * scale), 1)
        out = np.zeros((height, width, 3), np.uint8)
        top, left = (height - size[1]) // 2, (width - size[0]) // 2
        out[top : top + size[1], left : left + size[0]] = cv2.resize(stored, size, interpolation=cv2.INTER_AREA)
        return out


def _plain(
    encoding: JpegEncoding, *, tables: tuple[tuple[int, ...], ...] | None = None, optimized: bool = False
) -> JpegEncoding:
    return replace(encoding, tables=tables or encoding.tables, optimized=encoding.optimized or optimized)
