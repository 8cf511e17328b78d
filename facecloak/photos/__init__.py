"""Photos: a JPEG, PNG or WebP to upright pixels and back, within limits, and nothing else about the file
changed that is still true and shows nobody."""

from facecloak.photos.codec import decode_photo, encode_photo, encode_reported
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
from facecloak.photos.photo import Encoded, Photo, PhotoFormat
from facecloak.photos.read import read_photo

__all__ = [
    "DEFAULT_LIMITS",
    "AnimatedPhoto",
    "Encoded",
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
    "encode_reported",
    "read_photo",
]
