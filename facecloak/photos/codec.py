"""The two entry points: a photo's bytes to upright pixels, and changed pixels back to the photo's own kind of bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facecloak.photos import heif, jpeg, png, webp
from facecloak.photos.errors import PhotoTruncated, PixelsMismatch, UnsupportedPhoto
from facecloak.photos.limits import DEFAULT_LIMITS, PhotoLimits
from facecloak.photos.orientation import inverse_of, to_stored, to_upright, turned_rectangle
from facecloak.photos.photo import Encoded, Photo, Rectangle
from facecloak.photos.recognized import name_of

_CODECS = (
    (jpeg.SIGNATURE, jpeg.decode),
    (png.SIGNATURE, png.decode),
    (webp.SIGNATURE, webp.decode),
    (heif.SIGNATURE, heif.decode),
)


def decode_photo(data: bytes, *, limits: PhotoLimits = DEFAULT_LIMITS) -> Photo:
    """Decode a photo of one of the limits' formats; the limits are checked from the header, before anything is decoded.

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
    name = name_of(data)
    if name is None:
        raise UnsupportedPhoto("The file is no photo of a format that is known here.")
    raise UnsupportedPhoto(f"The file is {name}, which is not taken.", format=name)


def encode_photo(photo: Photo, pixels: np.ndarray) -> bytes:
    """:func:`encode_reported` without the report."""
    return encode_reported(photo, pixels).data


def encode_reported(photo: Photo, pixels: np.ndarray, *, faces: Sequence[Rectangle] | None = None) -> Encoded:
    """Encode changed pixels as the photo was encoded: format, stored orientation, size, quality, alpha; and metadata,
    but for other pictures of the scene and what the change made false (:mod:`facecloak.photos.metadata`).

    Args:
        photo: where the pixels came from.
        pixels: (H, W, 3) uint8 RGB, upright, of the photo's own shape, or uint16 as :attr:`Photo.samples_u16`. Equal to
            the photo's own gives ``photo.data``.
        faces: where a gain map is to show nothing of the old picture, px of the upright photo; by default everywhere.

    Raises:
        PixelsMismatch: another shape or type.
    """
    own = photo.samples_u16 if pixels.dtype == np.uint16 else photo.srgb_u8
    if own is None or pixels.shape != own.shape or pixels.dtype != own.dtype:
        raise PixelsMismatch("The pixels do not belong to this photo.", shape=pixels.shape, dtype=pixels.dtype)
    if pixels is own or _equal(pixels, own):
        return Encoded(photo.data)
    width, height = photo.width, photo.height
    parts = [(0, 0, width, height)] if faces is None else faces
    return photo.encoding.encode(
        to_stored(pixels, photo.orientation).reshape(-1, *_stored_line(pixels, photo)),
        faces=[turned_rectangle(part, inverse_of(photo.orientation), width=width, height=height) for part in parts],
    )


def _stored_line(pixels: np.ndarray, photo: Photo) -> tuple[int, int]:
    """Width and channels as stored: OpenCV leaves out a lone channel."""
    return photo.height if photo.orientation >= 5 else photo.width, pixels.shape[2]


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether all pixels are equal; in strips, so that it ends at the first difference."""
    return all(np.array_equal(one[row : row + 64], other[row : row + 64]) for row in range(0, one.shape[0], 64))
