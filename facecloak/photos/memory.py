"""How much memory a photo will take, told from its header, so that a service can refuse before anything is decoded."""

from __future__ import annotations

import struct

from facecloak.photos import heif, jpeg, png, webp
from facecloak.photos.animation import read_animation
from facecloak.photos.errors import PhotoRefused, PhotoTooLarge
from facecloak.photos.jpeg_structure import read_structure
from facecloak.photos.limits import DEFAULT_LIMITS, PhotoLimits
from facecloak.photos.native_splice import is_available
from facecloak.photos.photo import PhotoFormat

# Peaks of decoding, changing and encoding, bytes a pixel beyond the file, measured: tests/photos/test_memory.py.
JPEG, PROGRESSIVE_JPEG = 11, 17
# Of a JPEG whose faces alone are decoded: 0.5, and 7 for what the faces take of the photo; three quarters at the most.
SPLICED_JPEG = 6
PNG, PNG_OF_16_BITS = 17, 46
LOSSY_WEBP, LOSSLESS_WEBP = 26, 44
HEIC, AVIF, HEIC_OF_MORE_BITS = 40, 40, 60
ANIMATION = 40  # a pixel of all frames together
# What the smallest photo takes: libraries' own, and networks' for a search; measured 15 to 18 MiB.
BESIDE = 20 * 2**20
_HEADER_BYTES = 33  # of a PNG, IHDR's checksum included


def estimated_peak_bytes(data: bytes, *, limits: PhotoLimits = DEFAULT_LIMITS) -> int:
    """The most memory, in bytes beyond the file's own, that cloaking a photo takes at once where all of it is decoded;
    0 for what will be refused.

    Reads the header alone; a JPEG's metadata segments are passed over.

    Raises:
        PhotoTooLarge: beyond ``limits``.
    """
    limits.check_bytes(len(data))
    try:
        pixels, each = _pixels_and_bytes(data, limits)
    except PhotoTooLarge:
        raise
    except PhotoRefused:
        return 0
    return pixels * each + BESIDE if pixels else 0


def estimated_first_bytes(data: bytes, *, limits: PhotoLimits = DEFAULT_LIMITS) -> int:
    """The same where no more is decoded than as a rule has to be: less for a JPEG that may be spliced. Before all of it
    is decoded after all, :data:`facecloak.call_context.whole_photo` is called."""
    whole = estimated_peak_bytes(data, limits=limits)
    if not whole or not jpeg.SIGNATURE.match(data) or not is_available():
        return whole
    structure = read_structure(data, limits, header_only=True)
    return whole if structure.progressive else structure.width * structure.height * SPLICED_JPEG + BESIDE


def pixels_of(data: bytes, *, limits: PhotoLimits = DEFAULT_LIMITS) -> int:
    """Width times height by the photo's header alone; 0 for what will be refused. Raises PhotoTooLarge."""
    limits.check_bytes(len(data))
    try:
        return _pixels_and_bytes(data, limits)[0]
    except PhotoTooLarge:
        raise
    except PhotoRefused:
        return 0


def _pixels_and_bytes(data: bytes, limits: PhotoLimits) -> tuple[int, int]:
    if jpeg.SIGNATURE.match(data):
        structure = read_structure(data, limits, header_only=True)
        return structure.width * structure.height, PROGRESSIVE_JPEG if structure.progressive else JPEG
    animation = read_animation(data, limits)
    if animation is not None:
        return animation.pixels, ANIMATION
    if png.SIGNATURE.match(data) and len(data) >= _HEADER_BYTES:
        width, height, depth = struct.unpack_from(">IIB", data, 16)
        limits.check_size(width, height)
        return width * height, PNG_OF_16_BITS if depth == 16 else PNG
    if webp.SIGNATURE.match(data):
        width, height, lossless = webp.read_size(data, limits)
        limits.check_size(width, height)
        return width * height, LOSSLESS_WEBP if lossless else LOSSY_WEBP
    if heif.SIGNATURE.match(data):
        file = heif.read_heif(data, limits)
        if file.format not in limits.formats:
            return 0, 0
        each = AVIF if file.format is PhotoFormat.AVIF else HEIC_OF_MORE_BITS if file.bits > 8 else HEIC
        return file.width * file.height, each
    return 0, 0
