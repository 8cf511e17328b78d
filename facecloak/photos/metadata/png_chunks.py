"""A PNG's ancillary chunks, each by its kind (W3C PNG Third Edition, 5.4 and 11.3).

By the standard a program that changes the picture drops every chunk that it does not know and that its name declares
unsafe to copy. What such chunks hold (further pictures, digests, indexes into the picture's data) is of this picture.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from typing import Protocol

from facecloak.photos.metadata.embedded import holds_picture
from facecloak.photos.metadata.exif import cleaned_exif
from facecloak.photos.metadata.iptc import cleaned_iptc
from facecloak.photos.metadata.opaque import is_opaque, is_opaque_text
from facecloak.photos.metadata.painter import ThumbnailPainter
from facecloak.photos.metadata.photoshop import cleaned_resources
from facecloak.photos.metadata.report import Report
from facecloak.photos.metadata.xmp import cleaned_xmp

# Unsafe to copy by name, but known: they say how samples are shown, which a mask does not change.
_STILL_TRUE = frozenset(
    (b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"bKGD", b"cICP", b"mDCV", b"cLLI", b"pCAL", b"sCAL", b"sTER",
     b"orNT")
)  # fmt: skip
_MAX_PROFILE = 8 * 2**20
_OF_PICTURE = frozenset((b"IHDR", b"PLTE", b"tRNS", b"acTL", b"IEND"))
_FALSE = {b"seAl": "seal"}  # a signature over the file
_NAMES = {b"caBX": "c2pa"}
_UNSAFE_BIT = 0x20
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_RAW_PROFILE = b"Raw profile type "
_EXIF_PREFIX = b"Exif\0\0"
_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
_PHOTOSHOP_PREFIX = b"Photoshop 3.0\0"
# ImageMagick's form: a name, a length, then hex digits in lines of 72.
_PROFILE = re.compile(rb"\s*(\S+)\s+(\d+)\s+([0-9A-Fa-f\s]*)")
_HEX_LINE = 72
_MAX_INFLATED = 16 * 2**20


class PngChunk(Protocol):
    @property
    def kind(self) -> bytes: ...
    @property
    def data(self) -> bytes: ...
    @property
    def payload(self) -> bytes: ...


def cleaned_chunks(chunks: Sequence[PngChunk], painter: ThumbnailPainter, report: Report) -> list[bytes]:
    """What to write instead of each chunk, whole; empty for those that go. See :mod:`facecloak.photos.metadata`."""
    budget = _Budget(_MAX_INFLATED)
    return [_cleaned(chunk, painter, report, budget) for chunk in chunks]


def png_chunk(kind: bytes, payload: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


class _Budget:
    """How many bytes texts may still inflate to, all of a file together."""

    def __init__(self, size: int) -> None:
        self.left = size


class _TooMuch(ValueError):
    pass


def _cleaned(chunk: PngChunk, painter: ThumbnailPainter, report: Report, budget: _Budget) -> bytes:
    kind, payload = chunk.kind, chunk.payload
    name = _FALSE.get(kind) or _NAMES.get(kind)
    if name is None and not kind[3] & _UNSAFE_BIT and kind not in _STILL_TRUE:
        name = _name(kind)
    if name is not None:
        report.dropped(name)
        return b""
    if kind == b"iCCP":
        if not _is_profile(payload):
            report.dropped("icc")
            return b""
        return chunk.data
    if kind == b"eXIf":
        cleaned = cleaned_exif(payload, painter, report)
        return chunk.data if cleaned is payload else png_chunk(kind, cleaned)
    if kind in (b"tEXt", b"zTXt", b"iTXt"):
        try:
            return _text(chunk, painter, report, budget)
        except (_TooMuch, zlib.error):
            # It cannot be told whether this holds a picture.
            report.dropped(_name(kind))
            return b""
    if holds_picture(payload) or (kind not in _OF_PICTURE and is_opaque(payload)):
        report.dropped(_name(kind))
        return b""
    return chunk.data


def _is_profile(payload: bytes) -> bool:
    """Whether a color profile can be looked into, and holds no picture."""
    at = payload.find(b"\0") + 2
    try:
        return not holds_picture(payload[:at]) and not holds_picture(_inflated(payload[at:], _Budget(_MAX_PROFILE)))
    except (_TooMuch, zlib.error):
        return False


def _name(kind: bytes) -> str:
    return f"png.{kind.decode()}" if kind.isalpha() else "png.unknown"


def _text(chunk: PngChunk, painter: ThumbnailPainter, report: Report, budget: _Budget) -> bytes:
    head, text, compressed = _parts(chunk, budget)
    keyword = head.split(b"\0", 1)[0]
    if holds_picture(head):  # in the keyword, or in what it is translated to
        report.dropped(_name(chunk.kind))
        return b""
    if keyword == _XMP_KEYWORD:
        new = cleaned_xmp(text, report).packet
    elif keyword.startswith(_RAW_PROFILE):
        new = _raw_profile(text, painter, report)
    elif holds_picture(text) or is_opaque_text(text):
        report.dropped(_name(chunk.kind))
        new = None
    else:
        new = text
    if new is None:
        return b""
    if new is text:
        return chunk.data
    return png_chunk(chunk.kind, head + (zlib.compress(new) if compressed else new))


def _parts(chunk: PngChunk, budget: _Budget) -> tuple[bytes, bytes, bool]:
    """(all that stands before the text, the text, whether the chunk holds it compressed)."""
    payload = chunk.payload
    at = payload.find(b"\0") + 1
    compressed = chunk.kind == b"zTXt"
    if not at:
        at = len(payload)
        compressed = False
    elif compressed:
        at += 1
    elif chunk.kind == b"iTXt":
        compressed = payload[at : at + 1] == b"\1"
        language = payload.find(b"\0", at + 2)
        translated = payload.find(b"\0", language + 1)
        at = translated + 1 if language >= 0 and translated >= 0 else len(payload)
    head, text = payload[:at], payload[at:]
    return head, _inflated(text, budget) if compressed else text, compressed


def _inflated(data: bytes, budget: _Budget) -> bytes:
    if not budget.left:
        raise _TooMuch
    text = zlib.decompressobj().decompress(data, budget.left + 1)
    if len(text) > budget.left:
        budget.left = 0
        raise _TooMuch
    budget.left -= len(text)
    return text


def _raw_profile(text: bytes, painter: ThumbnailPainter, report: Report) -> bytes | None:
    """ImageMagick's way to keep EXIF, IPTC, 8BIM and XMP in a text: cleaned, None to drop it."""
    match = _PROFILE.fullmatch(text)
    if match is None:
        if not holds_picture(text):
            return text
        report.dropped("png.profile")
        return None
    name = match[1]
    digits = re.sub(rb"\s+", b"", match[3])
    profile = bytes.fromhex(digits[: len(digits) // 2 * 2].decode())
    if name in (b"icc", b"icm") and profile[36:40] == b"acsp":
        if not holds_picture(profile):
            return text
        report.dropped("icc")
        return None
    new: bytes | None
    if profile.startswith(_EXIF_PREFIX):
        new = _EXIF_PREFIX + cleaned_exif(profile[len(_EXIF_PREFIX) :], painter, report)
    elif profile.startswith(_XMP_PREFIX):
        packet = cleaned_xmp(profile[len(_XMP_PREFIX) :], report).packet
        new = None if packet is None else _XMP_PREFIX + packet
    elif profile.startswith(_PHOTOSHOP_PREFIX):
        new = _PHOTOSHOP_PREFIX + cleaned_resources(
            profile[len(_PHOTOSHOP_PREFIX) :], lambda tiff: cleaned_exif(tiff, painter, report), report
        )
    elif profile[:4] in (b"II*\0", b"MM\0*"):
        new = cleaned_exif(profile, painter, report)
    elif name == b"xmp":
        new = cleaned_xmp(profile, report).packet
    elif profile.startswith(b"8BIM"):
        new = cleaned_resources(profile, lambda tiff: cleaned_exif(tiff, painter, report), report)
    elif profile.startswith(b"\x1c"):
        new = cleaned_iptc(profile, report)
    elif holds_picture(profile):
        report.dropped("png.profile")
        new = None
    else:
        return text
    if new is None or new == profile:
        return text if new is not None else None
    digits = new.hex().encode()
    lines = [digits[at : at + _HEX_LINE] for at in range(0, len(digits), _HEX_LINE)]
    return b"\n%s\n%8d\n%s\n" % (name, len(new), b"\n".join(lines))
