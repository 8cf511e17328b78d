"""A few bytes kept in a photo's file, in a place that viewers pass over: where the tag of a cloaked photo lives.

JPEG: an APP15 segment. PNG: a private ancillary chunk that editors must drop when they change the picture. WebP: an
unknown chunk at the end (RFC 9649, 2.7.1.5), for which a simple file becomes an extended one. HEIC and AVIF: a `uuid`
box at the end (ISO/IEC 14496-12, 11.1). GIF: an application extension at the end.

What the bytes say is :mod:`facecloak.masks.cloak_tag`'s. They are bound there to the picture's own data, so this
module also says which bytes of a file those are: everything that makes the picture, and no metadata.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from facecloak.photos import heif, jpeg, png, webp
from facecloak.photos.animation.header import GIF_END, gif_blocks, is_gif
from facecloak.photos.errors import PhotoRefused
from facecloak.photos.jpeg_structure import metadata_end, read_structure
from facecloak.photos.limits import DEFAULT_LIMITS
from facecloak.photos.multi_picture import with_true_places
from facecloak.photos.pieces import Pieces

MAX_PAYLOAD_BYTES = 4096

_JPEG_MARKER = 0xEF
_NAME = b"FaceCloak\0"
# Ancillary, private, not safe to copy into a changed picture (PNG Third Edition, 5.4).
_PNG_KIND = b"fcLK"
_WEBP_KIND = b"FCLK"
_WEBP_ALPHA = 0x10
_PICTURE_KINDS = (b"VP8 ", b"VP8L", b"ALPH", b"ANMF")
_PNG_PICTURE_KINDS = (b"IDAT", b"fcTL", b"fdAT")
_GIF_APPLICATION = b"\x21\xff\x0bFaceCloak10"
_GIF_MANIFEST = b"\x21\xff\x0bC2PA_GIF\x01\x00\x00"

Buffers = Sequence[bytes | memoryview]


def payload_of(data: bytes) -> bytes | None:
    """The bytes that a tag in the file holds; None where there is no tag, or no readable file."""
    found = _find(data)
    return None if found is None else found[0]


def without_tag(data: bytes) -> bytes:
    """The file as it was before it was tagged, but for what tagging a WebP made of its header."""
    found = _find(data)
    if found is None:
        return data
    _, begin, end = found
    bare = data[:begin] + data[end:]
    return without_tag(_sized(bare) if webp.SIGNATURE.match(data) else bare)


def picture_of(data: bytes) -> Buffers:
    """The part of a whole file, with or without a tag, that makes the picture."""
    view = memoryview(data)
    if jpeg.SIGNATURE.match(data):
        return (view[metadata_end(data) :],)
    if png.SIGNATURE.match(data):
        return tuple(view[begin:end] for kind, begin, end in _png_chunks(data) if kind in _PNG_PICTURE_KINDS)
    if is_gif(data):
        return _gif_picture(data, view)
    if heif.SIGNATURE.match(data):
        boxes, _ = heif.top_level(data, DEFAULT_LIMITS)
        return tuple(view[box.begin : box.end] for box in boxes if box.kind == b"mdat")
    return tuple(view[begin:end] for kind, begin, end in _webp_chunks(data) if kind in _PICTURE_KINDS)


def with_tag(photo: bytes | Pieces, payload: bytes) -> bytes:
    """The file with a tag; it must have none. ``payload`` has at most MAX_PAYLOAD_BYTES."""
    if isinstance(photo, Pieces):
        return photo.joined(_jpeg_segment(payload))
    if jpeg.SIGNATURE.match(photo):
        at = metadata_end(photo)
        return with_true_places(photo[:at] + _jpeg_segment(payload) + photo[at:])
    if png.SIGNATURE.match(photo):
        at = next(begin for kind, begin, _ in _png_chunks(photo) if kind == b"IDAT")
        body = _PNG_KIND + payload
        chunk = struct.pack(">I", len(payload)) + body + struct.pack(">I", zlib.crc32(body))
        return photo[:at] + chunk + photo[at:]
    if is_gif(photo):
        return _with_gif_tag(photo, payload)
    if heif.SIGNATURE.match(photo):
        return photo + heif.tag_box(payload)
    return _sized(_extended(photo) + _webp_chunk(_WEBP_KIND, payload))


def _jpeg_segment(payload: bytes) -> bytes:
    content = _NAME + payload
    return struct.pack(">BBH", 0xFF, _JPEG_MARKER, 2 + len(content)) + content


def _find(data: bytes) -> tuple[bytes, int, int] | None:
    """(payload, begin, end) of the first tag."""
    if jpeg.SIGNATURE.match(data):
        try:
            structure = read_structure(data, DEFAULT_LIMITS, header_only=True)
        except PhotoRefused:
            return None
        for segment in structure.metadata:
            if segment.marker == _JPEG_MARKER and segment.payload.startswith(_NAME):
                return segment.payload[len(_NAME) :], segment.begin, segment.begin + len(segment.data)
    elif png.SIGNATURE.match(data):
        for kind, begin, end in _png_chunks(data):
            if kind == _PNG_KIND:
                return data[begin + 8 : end - 4], begin, end
    elif is_gif(data):
        return _gif_tag(data)
    elif heif.SIGNATURE.match(data):
        try:
            boxes, _ = heif.top_level(data, DEFAULT_LIMITS)
        except PhotoRefused:
            return None
        for box in boxes:
            if box.kind == b"uuid" and data[box.inside - 16 : box.inside] == heif.TAG_UUID:
                return box.content(data), box.begin, box.end
    elif webp.SIGNATURE.match(data):
        for kind, begin, end in _webp_chunks(data):
            if kind == _WEBP_KIND:
                size = int.from_bytes(data[begin + 4 : begin + 8], "little")
                return data[begin + 8 : begin + 8 + size], begin, end
    return None


def _with_gif_tag(photo: bytes, payload: bytes) -> bytes:
    """A GIF with the extension in front of its end; sub-blocks hold 255 bytes."""
    end = next(begin for kind, _, begin, _ in gif_blocks(photo, DEFAULT_LIMITS) if kind == GIF_END)
    parts = [payload[at : at + 255] for at in range(0, len(payload), 255)]
    blocks = b"".join(bytes((len(part),)) + part for part in parts)
    return photo[:end] + _GIF_APPLICATION + blocks + b"\0" + photo[end:]


def _gif_picture(data: bytes, view: memoryview) -> Buffers:
    """All of a GIF but the tag and a C2PA manifest."""
    parts: list[memoryview] = []
    at = 0
    try:
        for _, _, begin, end in gif_blocks(data, DEFAULT_LIMITS):
            if data.startswith((_GIF_APPLICATION, _GIF_MANIFEST), begin):
                parts.append(view[at:begin])
                at = end
    except PhotoRefused:
        return (view,)
    return (*parts, view[at:])


def _gif_tag(data: bytes) -> tuple[bytes, int, int] | None:
    """(payload, begin, end) of the tag in a GIF."""
    try:
        for _, _, begin, end in gif_blocks(data, DEFAULT_LIMITS):
            if data.startswith(_GIF_APPLICATION, begin):
                payload, at = b"", begin + len(_GIF_APPLICATION)
                while data[at]:
                    payload += data[at + 1 : at + 1 + data[at]]
                    at += 1 + data[at]
                return payload, begin, end
    except PhotoRefused:
        return None
    return None


def _png_chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    """(kind, begin, end) of each chunk that is whole."""
    chunks: list[tuple[bytes, int, int]] = []
    at = len(png.MAGIC)
    while at + 12 <= len(data) and len(chunks) < DEFAULT_LIMITS.max_segments:
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            break
        chunks.append((data[at + 4 : at + 8], at, end))
        at = end
    return chunks


def _webp_chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    chunks: list[tuple[bytes, int, int]] = []
    at = webp.HEADER_BYTES
    while at + 8 <= len(data) and len(chunks) < DEFAULT_LIMITS.max_segments:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + size + size % 2
        if end > len(data):
            break
        chunks.append((data[at : at + 4], at, end))
        at = end
    return chunks


def _webp_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _extended(data: bytes) -> bytes:
    """A WebP that may hold further chunks (RFC 9649, 2.7): a simple file gets the header of an extended one."""
    chunks = _webp_chunks(data)
    if not chunks or chunks[0][0] == b"VP8X":
        return data
    kind, begin, end = chunks[0]
    picture = data[begin + 8 : end]
    width, height = webp.picture_size([(kind, picture)])
    # VP8L states in its header whether alpha is used (RFC 9649, 3.4).
    alpha = _WEBP_ALPHA if kind == b"VP8L" and picture[4] & 0x10 else 0
    header = struct.pack("<I", alpha) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    at = webp.HEADER_BYTES
    return data[:at] + _webp_chunk(b"VP8X", header) + data[at:]


def _sized(data: bytes) -> bytes:
    """A RIFF file whose header states its size."""
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
