"""PNG in, PNG out, chunk by chunk (W3C PNG Third Edition).

Returned as they came: 8- and 16-bit RGB, RGBA, gray, gray + alpha. Returned wider than they came, because a mask's
levels do not fit: palette as RGB(A), gray of 1, 2 or 4 bits as 8-bit gray, a transparent color (tRNS) as an alpha
channel. Interlaced files come back not interlaced. All other chunks (iCCP, eXIf, tEXt, pHYs, ...) are kept, but for
what :mod:`facecloak.photos.metadata` says. Refused: animated.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from facecloak.call_context import interruption
from facecloak.photos.decoding import run_decoder
from facecloak.photos.errors import AnimatedPhoto, PhotoDamaged, PhotoTruncated, UnsupportedPhoto
from facecloak.photos.grayscale import gray_to_rgb, rgb_to_gray
from facecloak.photos.limits import PhotoLimits
from facecloak.photos.metadata.painter import ThumbnailPainter
from facecloak.photos.metadata.png_chunks import cleaned_chunks, png_chunk
from facecloak.photos.metadata.report import Report
from facecloak.photos.orientation import orientation_of
from facecloak.photos.photo import Decoded, Encoded, PhotoFormat, Rectangle
from facecloak.photos.png_data import deflated_chunks, inflated, picture_data, stored_chunks

MAGIC = b"\x89PNG\r\n\x1a\n"
SIGNATURE = re.compile(re.escape(MAGIC))

# zlib's strategy RLE: on photos as small as Pillow's level 4 (-4 to +3 %) in a third to a half of the time, on pages of
# text 10 to 20 % larger.
# The strategy comes last: OpenCV sets it back where the level follows.
_FAST = [cv2.IMWRITE_PNG_COMPRESSION, 4, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
_COMPRESSION_LEVEL = 4
_PALETTE = 3
_BIT_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# A transparent color is made an alpha channel here, since decoders differ in the depths that they take it for.
_DECODED = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
# They describe the encoding that is written anew, or an animation of one frame.
_DROPPED = frozenset((*_DECODED, b"tRNS", b"acTL", b"fcTL", b"fdAT"))
# They describe samples of the original's kind, so they go when the color type or depth changes.
_OF_SAMPLES = frozenset((b"sBIT", b"hIST", b"bKGD"))
_GRAY, _RGB, _GRAY_ALPHA, _RGBA = 0, 2, 4, 6
_CHANNELS = {_GRAY: 1, _RGB: 3, _PALETTE: 1, _GRAY_ALPHA: 2, _RGBA: 4}
# PNG 8.2: first column, first row, columns and rows from one sample to the next, of each pass.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
# What may follow the last row's data; decoders pass over it, but inflate it all the same.
_MOST_EXCESS = 64 * 2**10


@dataclass(frozen=True)
class Chunk:
    """One chunk: ``data`` is the whole of it, with length and checksum."""

    kind: bytes
    data: bytes

    @property
    def payload(self) -> bytes:
        return self.data[8:-4]


@dataclass(frozen=True)
class _Header:
    """IHDR (PNG 11.2.1)."""

    width: int
    height: int
    depth: int
    color_type: int
    interlaced: bool

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def inflated_bytes(self) -> int:
        """What the picture's data inflates to: its rows, each behind a byte for its filter."""
        passes = _ADAM7 if self.interlaced else ((0, 0, 1, 1),)
        bits = self.depth * _CHANNELS[self.color_type]
        total = 0
        for left, top, across, down in passes:
            columns, rows = -(-(self.width - left) // across), -(-(self.height - top) // down)
            total += rows * (1 + (columns * bits + 7) // 8) if columns > 0 else 0
        return total


@dataclass(frozen=True, eq=False)
class PngEncoding:
    """How a PNG was encoded.

    Attributes:
        stored: (H, W, channels) of 1-4 channels (gray, gray + alpha, RGB, RGBA), uint8 or uint16; as decoded. Alpha and
            the low byte of 16-bit samples come back from here.
        before, after: the chunks in front of and behind the picture data.
        orientation: EXIF orientation 1..8.
        lost: names of what does not fit the samples that are written.
    """

    stored: np.ndarray
    before: tuple[Chunk, ...]
    after: tuple[Chunk, ...]
    orientation: int
    lost: tuple[str, ...] = ()
    format: PhotoFormat = PhotoFormat.PNG

    @property
    def stored_u16(self) -> np.ndarray | None:
        """See :class:`facecloak.photos.photo.Encoding`."""
        return self.stored if self.stored.dtype == np.uint16 else None

    def encode(self, stored: np.ndarray, *, faces: Sequence[Rectangle]) -> Encoded:
        """See :class:`facecloak.photos.photo.Encoding`."""
        samples = stored if stored.dtype == np.uint16 else self._with(stored)
        report = Report()
        for name in self.lost:
            report.dropped(name)
        painter = ThumbnailPainter(lambda _: _shown(samples), orientation=self.orientation)
        kept = cleaned_chunks((*self.before, *self.after), painter, report)
        before, after = kept[: len(self.before)], kept[len(self.before) :]
        chunks = list(png_chunks(_encode(samples)))
        picture = [chunk.data for chunk in chunks if chunk.kind == b"IDAT"]
        return Encoded(b"".join([MAGIC, chunks[0].data, *before, *picture, *after, chunks[-1].data]), report.names)

    def _with(self, stored_srgb_u8: np.ndarray) -> np.ndarray:
        """The samples with changed colors: what these change by in 8 bits, in 16."""
        colors = 1 if self.stored.shape[2] <= 2 else 3
        changed = rgb_to_gray(stored_srgb_u8)[:, :, None] if colors == 1 else stored_srgb_u8
        samples = self.stored.copy()
        if samples.dtype == np.uint16:
            check = interruption.get()
            for strip in _strips(samples):
                check()
                stored = samples[strip, :, :colors]
                delta = changed[strip].astype(np.int32) - _to_u8(stored)
                samples[strip, :, :colors] = np.clip(stored + delta * 257, 0, 65535)
        else:
            samples[:, :, :colors] = changed
        return samples


def decode(data: bytes, limits: PhotoLimits) -> Decoded:
    """Decode a PNG; raises the refusals of :func:`facecloak.photos.decode_photo`."""
    chunks, end = _read_chunks(data, limits)
    header = _read_header(chunks[0], limits)
    if header.color_type == _PALETTE and not any(chunk.kind == b"PLTE" for chunk in chunks):
        raise PhotoDamaged("The PNG lacks its palette.")
    # Only what makes the picture goes to the decoder: no profile, no compressed text of a hostile size.
    bare = MAGIC + b"".join(chunk.data for chunk in chunks if chunk.kind in _DECODED)
    try:
        if header.depth == 16:
            stored = run_decoder(decode_u16, bare, pixels=header.pixels, sample_bytes=8, memory_bytes=24)
            if header.color_type == _GRAY_ALPHA:  # which OpenCV has as blue, green, red and alpha
                stored = np.ascontiguousarray(stored[:, :, 2:4])
        else:
            stored = run_decoder(decode_u8, bare, pixels=header.pixels, sample_bytes=4, memory_bytes=16)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, cv2.error) as error:
        raise PhotoDamaged("The PNG's picture data is damaged.") from error
    transparency = next((chunk.payload for chunk in chunks if chunk.kind == b"tRNS"), None)
    narrow = header.color_type == _PALETTE or header.depth < 8
    if header.color_type == _PALETTE:
        stored = _with_palette(stored, bare, transparency)
    elif transparency is not None:
        widened = _with_transparent_color(stored, transparency, header)
        narrow = narrow or widened is not stored
        stored = widened
    lost = ["trailer"] if end < len(data) else []
    kept = [chunk for chunk in chunks if chunk.kind not in _DROPPED]
    if narrow:
        lost += [f"png.{chunk.kind.decode()}" for chunk in kept if chunk.kind in _OF_SAMPLES]
        kept = [chunk for chunk in kept if chunk.kind not in _OF_SAMPLES]
    first = next(index for index, chunk in enumerate(chunks) if chunk.kind == b"IDAT")
    leading = set(map(id, chunks[:first]))
    orientation = orientation_of(next((chunk.payload for chunk in kept if chunk.kind == b"eXIf"), b""))
    return Decoded(
        stored_srgb_u8=_shown(stored),
        orientation=orientation,
        encoding=PngEncoding(
            stored=stored,
            before=tuple(chunk for chunk in kept if id(chunk) in leading),
            after=tuple(chunk for chunk in kept if id(chunk) not in leading),
            orientation=orientation,
            lost=tuple(lost),
        ),
    )


def png_chunks(data: bytes) -> Iterator[Chunk]:
    """All chunks up to IEND."""
    at = len(MAGIC)
    while True:
        if at + 12 > len(data):
            raise PhotoTruncated("The PNG ends before its picture does.")
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            raise PhotoTruncated("The PNG ends before its picture does.")
        chunk = Chunk(data[at + 4 : at + 8], data[at:end])
        yield chunk
        if chunk.kind == b"IEND":
            return
        at = end


def _read_chunks(data: bytes, limits: PhotoLimits) -> tuple[list[Chunk], int]:
    """All chunks up to IEND, their checksums verified and the header's size checked first; and where IEND ends."""
    chunks: list[Chunk] = []
    for chunk in png_chunks(data):
        limits.check_segments(len(chunks))
        if zlib.crc32(chunk.data[4:-4]) != int.from_bytes(chunk.data[-4:], "big"):
            raise PhotoDamaged("The PNG has a chunk with a wrong checksum.")
        if not chunks:
            _read_header(chunk, limits)
        if chunk.kind == b"acTL" and int.from_bytes(chunk.payload[:4], "big") > 1:
            raise AnimatedPhoto("The PNG is animated.", frames=int.from_bytes(chunk.payload[:4], "big"))
        chunks.append(chunk)
    if not any(chunk.kind == b"IDAT" for chunk in chunks):
        raise PhotoDamaged("The PNG holds no picture.")
    return chunks, len(MAGIC) + sum(len(chunk.data) for chunk in chunks)


def _read_header(header: Chunk, limits: PhotoLimits) -> _Header:
    """IHDR; the size is checked."""
    if header.kind != b"IHDR" or len(header.payload) != 13:
        raise PhotoDamaged("The PNG does not begin with its header.")
    found = _header_of(header)
    limits.check_size(found.width, found.height)
    if not found.width or not found.height or found.depth not in _BIT_DEPTHS.get(found.color_type, ()):
        raise PhotoDamaged("The PNG's header is impossible.")
    compression, filtering, interlace = header.payload[10:]
    if compression or filtering or interlace > 1:
        raise UnsupportedPhoto("The PNG uses a method that the standard does not know.")
    return found


def _header_of(header: Chunk) -> _Header:
    width, height, depth, color_type, _, _, interlace = struct.unpack(">IIBBBBB", header.payload)
    return _Header(width, height, depth, color_type, interlace == 1)


def decode_u8(bare: bytes) -> np.ndarray:
    """By Pillow; a palette's indexes as they are."""
    with Image.open(io.BytesIO(bare), formats=["PNG"]) as image:
        pixels = np.array(image.convert("L") if image.mode == "1" else image)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def decode_u16(bare: bytes) -> np.ndarray:
    """(H, W, 1, 3 or 4) uint16. By OpenCV, since Pillow keeps 16 bits of gray only. Picture data that is more than the
    header's size needs is refused: OpenCV would inflate all of it."""
    begin = bare[: len(MAGIC) + 25]
    header = _header_of(Chunk(b"IHDR", begin[len(MAGIC) :]))
    rows = inflated(picture_data(bare, len(begin)), size=header.inflated_bytes, most_excess=_MOST_EXCESS)
    plain = b"".join([begin, *stored_chunks(rows), png_chunk(b"IEND", b"")])
    del rows
    pixels = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("no 16-bit picture")
    if pixels.ndim == 2:
        return pixels[:, :, None]
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA, dst=pixels)


def _with_palette(indexes: np.ndarray, bare: bytes, transparency: bytes | None) -> np.ndarray:
    """(H, W, 3 or 4) uint8 of indexes (H, W, 1); tRNS has an alpha for each of the first colors (PNG 11.3.1.1)."""
    palette = next(chunk.payload for chunk in png_chunks(bare) if chunk.kind == b"PLTE")
    colors = np.zeros((256, 3), np.uint8)
    entries = np.frombuffer(palette[: len(palette) // 3 * 3][:768], np.uint8).reshape(-1, 3)
    colors[: len(entries)] = entries
    if transparency is None:
        return cv2.merge([cv2.LUT(indexes, np.ascontiguousarray(colors[:, channel])) for channel in range(3)])
    alpha = np.full(256, 255, np.uint8)
    given = np.frombuffer(transparency[:256], np.uint8)
    alpha[: len(given)] = given
    tables = [*(np.ascontiguousarray(colors[:, channel]) for channel in range(3)), alpha]
    return cv2.merge([cv2.LUT(indexes, table) for table in tables])


def _with_transparent_color(stored: np.ndarray, transparency: bytes, header: _Header) -> np.ndarray:
    """Gray or RGB samples with an alpha channel, 0 where all are those of tRNS (PNG 11.3.1.1); as they are where the
    chunk is not of their kind, as decoders take it."""
    channels = {_GRAY: 1, _RGB: 3}.get(header.color_type)
    if channels is None or len(transparency) != 2 * channels:
        return stored
    key = np.frombuffer(transparency, ">u2").astype(np.int64) & (2**header.depth - 1)
    if header.depth < 8:
        key = key * 255 // (2**header.depth - 1)
    opaque = np.iinfo(stored.dtype).max
    out = np.empty((*stored.shape[:2], channels + 1), stored.dtype)
    out[:, :, :channels] = stored
    for strip in _strips(stored):
        out[strip, :, channels] = np.where((stored[strip] == key).all(axis=2), 0, opaque)
    return out


def _shown(stored: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB of stored samples of any kind."""
    gray = stored.shape[2] <= 2
    shown = _to_u8(stored[:, :, :1] if gray else stored[:, :, :3])
    return gray_to_rgb(shown[:, :, 0]) if gray else np.ascontiguousarray(shown)


def _to_u8(samples: np.ndarray) -> np.ndarray:
    """Samples of 8 or 16 bits as the nearest of 8 bits."""
    if samples.dtype == np.uint8:
        return samples
    rounded = np.empty(samples.shape, np.uint8)
    for strip in _strips(samples):
        rounded[strip] = (samples[strip].astype(np.uint32) + 128) // 257
    return rounded


def _strips(samples: np.ndarray) -> Iterator[slice]:
    """Rows in turn: 32-bit sums of a whole 64-megapixel photo would take gigabytes."""
    return (slice(row, row + 64) for row in range(0, samples.shape[0], 64))


def _encode(samples: np.ndarray) -> bytes:
    """(H, W, 1..4) uint8 or uint16 as a PNG."""
    if samples.dtype == np.uint16:
        return _encode_u16(samples)
    if samples.shape[2] == 2:
        out = io.BytesIO()
        Image.fromarray(samples).save(out, "PNG", compress_level=_COMPRESSION_LEVEL)
        return out.getvalue()
    if samples.shape[2] >= 3:
        samples = cv2.cvtColor(samples, cv2.COLOR_RGB2BGR if samples.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    done, encoded = cv2.imencode(".png", samples, _FAST)
    if not done:
        raise PhotoDamaged("The PNG cannot be encoded.")
    return encoded.tobytes()


def _encode_u16(samples: np.ndarray) -> bytes:
    height, width, channels = samples.shape
    color_type = {1: _GRAY, 2: _GRAY_ALPHA, 3: _RGB, 4: _RGBA}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    return b"".join([MAGIC, png_chunk(b"IHDR", header), *deflated_chunks(samples), png_chunk(b"IEND", b"")])
