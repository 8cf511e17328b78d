"""Photos: a JPEG, PNG or WebP to upright pixels and back, within limits, and nothing else about the file changed."""

from facecloak.photos.codec import decode_photo, encode_photo
from facecloak.photos.errors import (
    AnimatedPhoto,
    PhotoDamaged,
    PhotoRefused,
    PhotoTooLarge,
    PhotoTruncated,
    PixelsMismatch,
    UnsupportedColorMode,
    UnsupportedPhoto,
)
from facecloak.photos.limits import DEFAULT_LIMITS, PhotoLimits
from facecloak.photos.photo import Photo, PhotoFormat

__all__ = [
    "DEFAULT_LIMITS",
    "AnimatedPhoto",
    "Photo",
    "PhotoDamaged",
    "PhotoFormat",
    "PhotoLimits",
    "PhotoRefused",
    "PhotoTooLarge",
    "PhotoTruncated",
    "PixelsMismatch",
    "UnsupportedColorMode",
    "UnsupportedPhoto",
    "decode_photo",
    "encode_photo",
]
