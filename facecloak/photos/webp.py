"""WebP in, WebP out (RFC 9649): lossless stays lossless, lossy keeps its quality (estimated), alpha is kept, and so is
every other chunk, but for what :mod:`facecloak.photos.metadata` says.

Refused: animated files of more than one frame. A file that holds one frame of an "animation" comes back as a still.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from facecloak.photos.decoding import run_decoder
from facecloak.photos.errors import AnimatedPhoto, PhotoDamaged, PhotoTruncated
from facecloak.photos.limits import PhotoLimits
from facecloak.photos.metadata.painter import ThumbnailPainter
from facecloak.photos.metadata.report import Report
from facecloak.photos.metadata.webp_chunks import cleaned_chunk
from facecloak.photos.orientation import orientation_of
from facecloak.photos.photo import Decoded, Encoded, PhotoFormat, Rectangle
from facecloak.photos.webp_quality import lossy_quality

SIGNATURE = re.compile(rb"RIFF.{4}WEBP", re.DOTALL)

# libwebp's effort for lossless files. Measured on camera photos: method 1 makes files 2 % larger than the default (4,
# 80) in an eighth of the time, which is 2 s of one core for 10 megapixels; method 0 another 1 to 10 % larger in a
# quarter of that.
_LOSSLESS = {"lossless": True, "method": 1, "quality": 20}
_LARGE_LOSSLESS = {"lossless": True, "method": 0, "quality": 20}
_LARGE_PIXELS = 4_000_000

HEADER_BYTES = 12
_PICTURE = (b"VP8 ", b"VP8L", b"ALPH")
_WRITTEN_ANEW = frozenset((b"VP8X", b"ANIM", b"ANMF", *_PICTURE))
_FLAGS = {b"ICCP": 0x20, b"ALPH": 0x10, b"EXIF": 0x08, b"XMP ": 0x04}
_ALPHA_OF_VP8L = 0x10
_ANIMATION_FRAME_HEADER_BYTES = 16


@dataclass(frozen=True, eq=False)
class WebpEncoding:
    """How a WebP was encoded.

    Attributes:
        quality: libwebp's 0..100; None for lossless.
        alpha: (H, W) uint8, or None.
        chunks: (kind, payload) of all that does not make the picture, in file order.
        orientation: EXIF orientation 1..8.
        has_trailer: whether something follows the file that the header states.
    """

    quality: int | None
    alpha: np.ndarray | None
    chunks: tuple[tuple[bytes, bytes], ...]
    orientation: int
    has_trailer: bool = False
    format: PhotoFormat = PhotoFormat.WEBP

    @property
    def stored_u16(self) -> None:
        """None: 8 bits."""
        return None

    def encode(self, stored: np.ndarray, *, faces: Sequence[Rectangle]) -> Encoded:
        """See :class:`facecloak.photos.photo.Encoding`."""
        pixels = stored if self.alpha is None else np.dstack([stored, self.alpha])
        out = io.BytesIO()
        lossless = _LARGE_LOSSLESS if pixels.shape[0] * pixels.shape[1] > _LARGE_PIXELS else _LOSSLESS
        options: dict[str, object] = dict(lossless) if self.quality is None else {"quality": self.quality}
        # exact: colors under full transparency are pixels too, and stay.
        Image.fromarray(pixels).save(out, "WEBP", exact=True, **options)
        report = Report()
        painter = ThumbnailPainter(lambda _: stored, orientation=self.orientation)
        kept = [(kind, cleaned_chunk(kind, payload, painter, report)) for kind, payload in self.chunks]
        if self.has_trailer:
            report.dropped("trailer")
        left = [(kind, payload) for kind, payload in kept if payload is not None]
        encoded = out.getvalue()
        return Encoded(_with_chunks(encoded, left) if left else encoded, report.names)


def _with_chunks(encoded: bytes, chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A file just encoded, in the extended form (RFC 9649, 2.7): profile, picture, then all else."""
    picture = [
        chunk for chunk in _read_chunks(encoded, start=HEADER_BYTES, limits=PhotoLimits()) if chunk[0] in _PICTURE
    ]
    width, height = picture_size(picture)
    flags = 0
    for kind, payload in (*chunks, *picture):
        flags |= _FLAGS.get(kind, 0)
        if kind == b"VP8L" and payload[4] & _ALPHA_OF_VP8L:
            flags |= _FLAGS[b"ALPH"]
    header = struct.pack("<I", flags) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    profile = [chunk for chunk in chunks if chunk[0] == b"ICCP"]
    rest = [chunk for chunk in chunks if chunk[0] != b"ICCP"]
    return _riff([(b"VP8X", header), *profile, *picture, *rest])


def _riff(chunks: list[tuple[bytes, bytes]]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2) for kind, payload in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


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
        pixels = run_decoder(decode_pixels, data, pixels=width * height, sample_bytes=4, memory_bytes=32)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise PhotoDamaged("The WebP's picture data is damaged.") from error
    if pixels.shape[:2] != (height, width):
        raise PhotoDamaged("The WebP's size is not what its header states.")
    kept = tuple((kind, payload) for kind, payload in chunks if kind not in _WRITTEN_ANEW)
    orientation = orientation_of(next((payload for kind, payload in kept if kind == b"EXIF"), b""))
    return Decoded(
        stored_srgb_u8=np.ascontiguousarray(pixels[:, :, :3]),
        orientation=orientation,
        encoding=WebpEncoding(
            quality=quality,
            alpha=np.ascontiguousarray(pixels[:, :, 3]) if pixels.shape[2] == 4 else None,
            chunks=kept,
            orientation=orientation,
            has_trailer=8 + int.from_bytes(data[4:8], "little") < len(data),
        ),
    )


def decode_pixels(data: bytes) -> np.ndarray:
    """(H, W, 3 or 4) uint8; raises what Pillow raises."""
    with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
        return np.array(image.convert("RGBA" if "A" in image.getbands() else "RGB"))


def read_size(data: bytes, limits: PhotoLimits) -> tuple[int, int, bool]:
    """Width and height of the canvas, px, and whether the picture is lossless; from the headers of the chunks."""
    chunks = _read_chunks(data, start=HEADER_BYTES, limits=limits)
    frame = next((payload for kind, payload in chunks if kind == b"ANMF"), None)
    still = chunks if frame is None else _read_chunks(frame, start=_ANIMATION_FRAME_HEADER_BYTES, limits=limits)
    width, height = _canvas(chunks) or picture_size(still)
    return width, height, any(kind == b"VP8L" for kind, _ in still)


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


def webp_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, payload) of each chunk of a whole file."""
    return _read_chunks(data, start=HEADER_BYTES, limits=PhotoLimits())


def frame_quality(frames: list[bytes]) -> int | None:
    """libwebp's quality of an animation's frames, by the first one that is lossy; None where all are lossless."""
    for frame in frames:
        for kind, payload in _read_chunks(frame, start=_ANIMATION_FRAME_HEADER_BYTES, limits=PhotoLimits()):
            if kind == b"VP8 ":
                return lossy_quality(payload)
    return None


def with_chunks(encoded: bytes, chunks: list[tuple[bytes, bytes]], *, alpha: bool) -> bytes:
    """An animation just encoded, with further chunks: profile, then the picture, then all else.

    ``alpha``: whether it is transparent somewhere. libwebp does not say so where all such places are left out.
    """
    own = webp_chunks(encoded)
    flags = int.from_bytes(own[0][1][:4], "little") | (_FLAGS[b"ALPH"] if alpha else 0)
    for kind, _ in chunks:
        flags |= _FLAGS.get(kind, 0)
    header = struct.pack("<I", flags) + own[0][1][4:]
    profile = [chunk for chunk in chunks if chunk[0] == b"ICCP"]
    rest = [chunk for chunk in chunks if chunk[0] != b"ICCP"]
    return _riff([(b"VP8X", header), *profile, *own[1:], *rest])
