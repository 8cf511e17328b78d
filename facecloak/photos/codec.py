"""The two entry points: a photo's bytes to upright pixels, and changed pixels back to the photo's own kind of bytes."""

from __future__ import annotations

import numpy as np

from facecloak.photos import jpeg, png, webp
from facecloak.photos.errors import PhotoTruncated, PixelsMismatch, UnsupportedPhoto
from facecloak.photos.limits import DEFAULT_LIMITS, PhotoLimits
from facecloak.photos.orientation import to_stored, to_upright
from facecloak.photos.photo import Encoded, Photo

_CODECS = ((jpeg.SIGNATURE, jpeg.decode), (png.SIGNATURE, png.decode), (webp.SIGNATURE, webp.decode))


def decode_photo(data: bytes, *, limits: PhotoLimits = DEFAULT_LIMITS) -> Photo:
    """Decode a JPEG, PNG or WebP; the limits are checked from the header, before anything is decoded.

    Raises:
        PhotoTooLarge: beyond ``limits``.
        PhotoTruncated, PhotoDamaged: not a whole file; nothing is ever filled in.
        UnsupportedPhoto: another format or an unusual kind; UnsupportedColorMode and AnimatedPhoto are cases of it.
    """
    limits.check_bytes(len(data))
    if not data:
        raise PhotoTruncated("The photo is empty.", bytes=0)
    for signature, decode in _CODECS:
        if signature.match(data):
            decoded = decode(data, limits)
            upright = to_upright(decoded.stored_srgb_u8, decoded.orientation)
            upright.setflags(write=False)
            return Photo(srgb_u8=upright, orientation=decoded.orientation, data=data, encoding=decoded.encoding)
    raise UnsupportedPhoto("The file is not a JPEG, PNG or WebP photo.")


def encode_photo(photo: Photo, srgb_u8: np.ndarray) -> bytes:
    """:func:`encode_reported` without the report."""
    return encode_reported(photo, srgb_u8).data


def encode_reported(photo: Photo, srgb_u8: np.ndarray) -> Encoded:
    """Encode changed pixels as the photo was encoded: format, stored orientation, size, quality, alpha; and metadata,
    but for other pictures of the scene and what the change made false (:mod:`facecloak.photos.metadata`).

    Args:
        photo: where the pixels came from.
        srgb_u8: (H, W, 3) uint8 RGB, upright, of the photo's own shape. Equal to ``photo.srgb_u8`` gives
            ``photo.data``.

    Raises:
        PixelsMismatch: another shape or type.
    """
    if srgb_u8.shape != photo.srgb_u8.shape or srgb_u8.dtype != np.uint8:
        raise PixelsMismatch("The pixels do not belong to this photo.", shape=srgb_u8.shape, dtype=srgb_u8.dtype)
    if srgb_u8 is photo.srgb_u8 or _equal(srgb_u8, photo.srgb_u8):
        return Encoded(photo.data)
    return photo.encoding.encode(to_stored(srgb_u8, photo.orientation))


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether all pixels are equal; in strips, so that it ends at the first difference."""
    return all(np.array_equal(one[row : row + 64], other[row : row + 64]) for row in range(0, one.shape[0], 64))
