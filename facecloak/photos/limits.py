"""What a photo may cost, checked from its header before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from facecloak.limits import MAX_PHOTO_BYTES, MAX_PHOTO_PIXELS, MAX_PHOTO_SIDE_PX
from facecloak.photos.errors import PhotoTooLarge
from facecloak.photos.photo import USUAL_FORMATS, PhotoFormat


@dataclass(frozen=True)
class PhotoLimits:
    """Bounds on one photo.

    Memory follows from ``max_pixels``: :mod:`facecloak.photos.memory` tells how much a photo takes.
    """

    max_bytes: int = MAX_PHOTO_BYTES
    """Largest file."""
    max_pixels: int = MAX_PHOTO_PIXELS
    """Largest width times height."""
    max_side: int = MAX_PHOTO_SIDE_PX
    """Longest side, px."""
    max_scans: int = 64
    """Most scans of a progressive JPEG. Encoders write about 10, optimizers up to 25; each costs one pass over all
    coefficients, so thousands of empty scans would be a small file that takes minutes (libjpeg-turbo, "Two
    Issues with the JPEG Standard")."""
    max_scanned_pixels: int = 24 * MAX_PHOTO_PIXELS
    """Most scans times pixels: a pass costs about 1 ns a pixel, so the largest photo may have 24 scans."""
    max_frames: int = 200
    """Most frames of an animation."""
    max_animation_pixels: int = MAX_PHOTO_PIXELS
    """Most pixels of all frames of an animation together."""
    max_segments: int = 10_000
    """Most segments or chunks of a file."""

    keep_motion: bool = False
    """Whether the video of a motion photo, which shows the faces as they are, is kept, with what announces it."""
    formats: frozenset[PhotoFormat] = USUAL_FORMATS
    """The formats that are taken."""

    def check_bytes(self, size: int) -> None:
        """Raises :class:`PhotoTooLarge` when a file of ``size`` bytes is too large."""
        if size > self.max_bytes:
            raise PhotoTooLarge(
                f"The photo has {size} bytes; at most {self.max_bytes} are taken.",
                limit="max_bytes", max_bytes=self.max_bytes, bytes=size,
            )  # fmt: skip

    def check_size(self, width: int, height: int) -> None:
        """Raises :class:`PhotoTooLarge` when ``width`` x ``height`` px are too many."""
        if max(width, height) > self.max_side:
            raise PhotoTooLarge(
                f"The photo is {width} x {height} pixels; a side may have at most {self.max_side}.",
                limit="max_side", max_side=self.max_side, width=width, height=height,
            )  # fmt: skip
        if width * height > self.max_pixels:
            raise PhotoTooLarge(
                f"The photo is {width} x {height} pixels; at most {self.max_pixels} pixels are taken.",
                limit="max_pixels", max_pixels=self.max_pixels, width=width, height=height,
            )  # fmt: skip

    def check_scans(self, scans: int, pixels: int = 0) -> None:
        """Raises :class:`PhotoTooLarge` when a JPEG of so many pixels has too many scans."""
        if scans > self.max_scans:
            raise PhotoTooLarge(
                f"The JPEG has more than {self.max_scans} scans.", limit="max_scans", max_scans=self.max_scans
            )
        if scans * pixels > self.max_scanned_pixels:
            raise PhotoTooLarge(
                f"The JPEG has {scans} scans or more, too many for its size.",
                limit="max_scanned_pixels", max_scanned_pixels=self.max_scanned_pixels,
            )  # fmt: skip

    def check_segments(self, segments: int) -> None:
        """Raises :class:`PhotoTooLarge` when a file has too many segments or chunks."""
        if segments > self.max_segments:
            raise PhotoTooLarge(
                f"The photo has more than {self.max_segments} segments.",
                limit="max_segments", max_segments=self.max_segments,
            )  # fmt: skip


DEFAULT_LIMITS = PhotoLimits()
