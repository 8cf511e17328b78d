"""A gain map behind a JPEG (Ultra HDR, ISO 21496-1, Apple): told by what it says about itself, smoothed over the faces.

A gain map says how much brighter each place is on a screen that can show it. It is a small picture of the scene, on
which a face may be known. Over a face only its coarse light is kept, so that the photo is shown in HDR as before, and
the map shows nobody.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from facecloak.photos.decoding import run_decoder
from facecloak.photos.errors import PhotoRefused
from facecloak.photos.grayscale import gray_to_rgb
from facecloak.photos.jpeg_decoding import decode_gray, decode_rgb
from facecloak.photos.jpeg_encoding import encode_jpeg, encoding_of
from facecloak.photos.jpeg_structure import APP1, APP2, JpegStructure, metadata_end, read_structure
from facecloak.photos.limits import PhotoLimits
from facecloak.photos.orientation import orientation_of
from facecloak.photos.photo import Rectangle

ISO = b"urn:iso:std:iso:ts:21496:-1\0"
_XMP_SIGNS = (b"http://ns.adobe.com/hdr-gain-map/1.0/", b"http://ns.apple.com/HDRGainMap/1.0/", b"aux:hdrgainmap")
# ISO 21496-1's own version alone takes 4 bytes; behind it stands what the map's levels mean.
_ISO_PARAMETERS = 4
# A ratio of sides within this is the photo's own, rounded to whole pixels.
_SAME_RATIO = 0.03
# A face's box is grown by this share of its sides; what is finer than this share of a side goes; the edge is soft.
_GROWN, _SIGMA, _FEATHER = 0.25, 0.2, 0.06


def is_gain_map(structure: JpegStructure) -> bool:
    """Whether a JPEG behind another one says that it is its gain map."""
    for segment in structure.metadata:
        if segment.marker == APP1 and any(sign in segment.payload for sign in _XMP_SIGNS):
            return True
        if segment.marker == APP2 and segment.payload.startswith(ISO):
            return len(segment.payload) > len(ISO) + _ISO_PARAMETERS
    return False


def smoothed(
    data: bytes, faces: Sequence[Rectangle], *, size: tuple[int, int], orientation: int, limits: PhotoLimits
) -> tuple[bytes, np.ndarray] | None:
    """A gain map with no more than coarse light over some faces, coded as it was, without metadata, and its
    (H, W, 3) uint8 pixels; None where it cannot be true of the photo.

    Args:
        faces: px of the photo as stored.
        size: the photo's stored width and height, px.
        orientation: the photo's EXIF orientation 1..8.
    """
    try:
        structure = read_structure(data, limits)
        encoding = encoding_of(structure)
    except PhotoRefused:
        return None
    width, height = structure.width, structure.height
    # A larger one would take more memory than the photo was let in with.
    if width * height > size[0] * size[1]:
        return None
    if abs(width * size[1] / (height * size[0]) - 1) > _SAME_RATIO or _own_orientation(structure) not in (
        1,
        orientation,
    ):
        return None
    gray = len(structure.components) == 1
    try:
        pixels = run_decoder(
            decode_gray if gray else decode_rgb, data, pixels=width * height, sample_bytes=3, memory_bytes=24
        ).copy()
    except (PhotoRefused, ValueError):
        return None
    if pixels.shape[:2] != (height, width):
        return None
    for left, top, right, bottom in faces:
        box = left * width / size[0], top * height / size[1], right * width / size[0], bottom * height / size[1]
        _smooth(pixels, box)
    shown = gray_to_rgb(pixels[:, :, 0]) if gray else pixels
    encoded = encode_jpeg(shown, encoding)
    return encoded[:2] + encoded[metadata_end(encoded) :], shown


def _own_orientation(structure: JpegStructure) -> int:
    exif = next((s.payload for s in structure.metadata if s.marker == APP1 and s.payload.startswith(b"Exif\0\0")), b"")
    return orientation_of(exif)


def _smooth(pixels: np.ndarray, box: tuple[float, float, float, float]) -> None:
    """Smooths a box, in place."""
    height, width = pixels.shape[:2]
    side = max(box[2] - box[0], box[3] - box[1])
    grown = _GROWN * side
    sigma, feather = max(_SIGMA * side, 1.0), max(_FEATHER * side, 0.8)
    inside = (box[0] - grown, box[1] - grown, box[2] + grown, box[3] + grown)
    # Where the soft edge ends, and what smoothing looks at.
    reach = 3 * feather + 3 * sigma
    left, top = max(int(inside[0] - reach), 0), max(int(inside[1] - reach), 0)
    right, bottom = min(int(inside[2] + reach) + 1, width), min(int(inside[3] + reach) + 1, height)
    if left >= right or top >= bottom:
        return
    part = pixels[top:bottom, left:right].astype(np.float32)
    coarse = cv2.GaussianBlur(part, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE).reshape(part.shape)
    x = np.arange(left, right, dtype=np.float32) + 0.5
    y = np.arange(top, bottom, dtype=np.float32) + 0.5
    # Whole over the face, and soft outside of it.
    off_x = np.maximum(np.maximum(inside[0] - x, x - inside[2]), 0)
    off_y = np.maximum(np.maximum(inside[1] - y, y - inside[3]), 0)
    weight = np.exp(-(off_x[None, :] ** 2 + off_y[:, None] ** 2) / (2 * feather**2))[:, :, None]
    pixels[top:bottom, left:right] = np.rint(part + weight * (coarse - part)).clip(0, 255).astype(np.uint8)
