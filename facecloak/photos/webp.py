"""WebP in, WebP out (RFC 9649): lossless stays lossless, lossy keeps its quality (estimated); EXIF, ICC, XMP and alpha
are kept.

Refused: animated files of more than one frame. A file that holds one frame of an "animation" comes back as a still.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image

from facecloak.photos.errors import AnimatedPhoto, PhotoDamaged, PhotoTruncated
from facecloak.photos.limits import PhotoLimits
from facecloak.photos.orientation import orientation_of
from facecloak.photos.photo import Decoded, PhotoFormat
from facecloak.photos.webp_quality import lossy_quality

SIGNATURE = re.compile(rb"RIFF.{4}WEBP", re.DOTALL)

# libwebp's effort for lossless files. Measured on a camera photo: 2 % larger than its default (4, 80) in an eighth of
# the time; 12 megapixels take 1.5 s of one core.
_LOSSLESS = {"lossless": True, "method": 1, "quality": 20}

HEADER_BYTES = 12
_METADATA = {b"ICCP": "icc_profile", b"EXIF": "exif", b"XMP ": "xmp"}
_ANIMATION_FRAME_HEADER_BYTES = 16


@dataclass(frozen=True, eq=False)
class WebpEncoding:
    """How a WebP was encoded.

    Attributes:
        quality: libwebp's 0..100; None for lossless.
        alpha: (H, W) uint8, or None.
        metadata: Pillow's option -> bytes, of ICC profile, EXIF and XMP.
    """

    quality: int | None
    alpha: np.ndarray | None
    metadata: dict[str, bytes]
    format: PhotoFormat = PhotoFormat.WEBP

    def encode(self, stored_srgb_u8: np.ndarray) -> bytes:
        """See :class:`facecloak.photos.photo.Encoding`."""
        pixels = stored_srgb_u8 if self.alpha is None else np.dstack([stored_srgb_u8, self.alpha])
        out = io.BytesIO()
        options: dict[str, object] = dict(_LOSSLESS) if self.quality is None else {"quality": self.quality}
        # exact: colors under full transparency are pixels too, and stay.
        Image.fromarray(pixels).save(out, "WEBP", exact=True, **options, **self.metadata)
        return out.getvalue()


def decode(data: bytes, limits: PhotoLimits) -> Decoded:
    """Decode a WebP; raises the refusals of :func:`facecloak.photos.decode_photo`."""
    chunks = _read_chunks(data, start=HEADER_BYTES, limits=limits)
    frames = [payload for kind, payload in chunks if kind == b"ANMF"]
    if len(frames) > 1:
        raise AnimatedPhoto("The WebP is animated.", frames=len(frames))
    still = _read_chunks(frames[0], start=_ANIMATION_FRAME_HEADER_BYTES, limits=limits) if frames else chunks
    width, height = _canvas(chunks) or picture_size(still)
    limits.check_size(width, height)
    limits.check_size(*picture_size(still))
    lossy = next((payload for kind, payload in still if kind == b"VP8 "), None)
    quality = lossy_quality(lossy) if lossy is not None else None
    try:
        with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
            pixels = np.array(image.convert("RGBA" if "A" in image.getbands() else "RGB"))
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise PhotoDamaged("The WebP's picture data is damaged.") from error
    if pixels.shape[:2] != (height, width):
        raise PhotoDamaged("The WebP's size is not what its header states.")
    metadata = {_METADATA[kind]: payload for kind, payload in chunks if kind in _METADATA}
    return Decoded(
        stored_srgb_u8=np.ascontiguousarray(pixels[:, :, :3]),
        orientation=orientation_of(metadata.get("exif", b"")),
        encoding=WebpEncoding(
            quality=quality,
            alpha=np.ascontiguousarray(pixels[:, :, 3]) if pixels.shape[2] == 4 else None,
            metadata=metadata,
        ),
    )


def _read_chunks(data: bytes, *, start: int, limits: PhotoLimits) -> list[tuple[bytes, bytes]]:
    """(kind, payload) of each RIFF chunk from ``start``; for a file, up to the size that its header states."""
    end = len(data)
    if start == HEADER_BYTES:
        end = 8 + int.from_bytes(data[4:8], "little")
        if end > len(data):
            raise PhotoTruncated("The WebP ends before its picture does.")
    chunks: list[tuple[bytes, bytes]] = []
    at = start
    while at + 8 <= end:
        limits.check_segments(len(chunks))
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + size > end:
            raise PhotoDamaged("The WebP has a chunk that is longer than the file.")
        chunks.append((data[at : at + 4], data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return chunks


def _canvas(chunks: list[tuple[bytes, bytes]]) -> tuple[int, int] | None:
    kind, payload = chunks[0] if chunks else (b"", b"")
    if kind != b"VP8X":
        return None
    if len(payload) < 10:
        raise PhotoDamaged("The WebP's header is too short.")
    return 1 + int.from_bytes(payload[4:7], "little"), 1 + int.from_bytes(payload[7:10], "little")


def picture_size(chunks: list[tuple[bytes, bytes]]) -> tuple[int, int]:
    for kind, payload in chunks:
        if kind == b"VP8 " and len(payload) >= 10:
            width, height = struct.unpack_from("<HH", payload, 6)
            return width & 0x3FFF, height & 0x3FFF
        if kind == b"VP8L" and len(payload) >= 5:
            bits = int.from_bytes(payload[1:5], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    raise PhotoDamaged("The WebP holds no picture.")
