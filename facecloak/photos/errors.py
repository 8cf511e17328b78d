"""Why a photo is refused. Every one of these is the caller's to mend: INVALID_ARGUMENT."""

from __future__ import annotations

from facecloak.errors import InvalidInput


class PhotoRefused(InvalidInput):
    """Base of every refusal of a photo."""

    reason = "PHOTO_REFUSED"


class PhotoTooLarge(PhotoRefused):
    """More bytes, pixels, a longer side or more scans than the limits allow; known before anything is decoded."""

    reason = "PHOTO_TOO_LARGE"


class UnsupportedPhoto(PhotoRefused):
    """Not a JPEG, PNG or WebP, or a kind of one that is not handled (arithmetic or lossless JPEG, ...)."""

    reason = "UNSUPPORTED_PHOTO"


class UnsupportedColorMode(UnsupportedPhoto):
    """A color mode or bit depth that cannot be cloaked faithfully: CMYK, 12-bit JPEG."""

    reason = "UNSUPPORTED_COLOR_MODE"


class AnimatedPhoto(UnsupportedPhoto):
    """More than one frame."""

    reason = "ANIMATED_PHOTO"


class PhotoTruncated(PhotoRefused):
    """The file ends before the photo does."""

    reason = "PHOTO_TRUNCATED"


class PhotoDamaged(PhotoRefused):
    """The file contradicts itself: bad checksums, bad structure, undecodable data."""

    reason = "PHOTO_DAMAGED"


class PixelsMismatch(PhotoRefused):
    """The pixels to encode have another shape or type than the photo they belong to."""

    reason = "PIXELS_MISMATCH"
