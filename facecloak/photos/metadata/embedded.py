"""Pictures and videos hidden in a block of bytes, found by how their formats begin; also in base64 and in hex.

Work is linear in the block's length.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

JPEG, OTHER, TEXT = "jpeg", "other", "text"

# Cameras store previews whose very first byte is not 0xFF (Minolta, Sony), so the second one is looked for.
_JPEG = re.compile(rb"\xd8\xff[\xc0-\xfe]")
_OTHERS = re.compile(
    rb"\x89PNG\r\n\x1a\n"
    rb"|RIFF.{4}(?:WEBP|AVI )"
    rb"|GIF8[79]a"
    rb"|8BPS\x00[\x01\x02]"
    rb"|\x00\x00\x00\x0c(?:jP  |JXL )\r\n\x87\n"
    rb"|\xff\x4f\xff\x51"  # a JPEG 2000 codestream
    rb"|II\xbc\x01"  # JPEG XR
    rb"|\x00\x00[\x00\x01].ftyp[ -~]{4}"  # ISO base media: HEIC, AVIF, MP4, QuickTime
    rb"|\x28\x00\x00\x00.{8}\x01\x00[\x01\x04\x08\x10\x18\x20]\x00[\x00-\x03]\x00\x00\x00"  # a Windows bitmap's header
    rb"|BM.{4}\x00{4}.[\x00-\x04]\x00\x00[\x0c\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00",
    re.DOTALL,
)
_EXTENT = {b"\x89PNG": "png", b"RIFF": "riff"}
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Prose is in these alphabets, too: it decodes to what begins like no picture.
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/_\-=\s]{64,}")
_HEX_RUN = re.compile(rb"[0-9A-Fa-f\s]{128,}")
_SPACE = re.compile(rb"[\s=]+")
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_TABLES_AND_FRAMES = frozenset((0xDB, 0xC4, 0xC0, 0xC1, 0xC2, 0xC9, 0xCA, 0xDA))
_SOS, _EOI = 0xDA, 0xD9
_MAX_SEGMENTS = 1000


@dataclass(frozen=True)
class Embedded:
    """A picture, or what is probably one, at ``block[begin:end]``; ``kind`` is JPEG, OTHER or TEXT (base64 or hex)."""

    begin: int
    end: int
    kind: str


def holds_picture(block: bytes) -> bool:
    """Whether a block holds a picture, as it is or as text."""
    return next(pictures_in(block), None) is not None


def pictures_in(block: bytes) -> Iterator[Embedded]:
    """Each picture in a block, none of which overlap; those written as text last."""
    yield from raw_pictures_in(block)
    for run, decode in ((_BASE64_RUN, _from_base64), (_HEX_RUN, _from_hex)):
        for match in run.finditer(block):
            if any(next(raw_pictures_in(decoded), None) for decoded in decode(match[0])):
                yield Embedded(match.start(), match.end(), TEXT)


def raw_pictures_in(block: bytes) -> Iterator[Embedded]:
    """Each picture in a block that is there byte for byte."""
    found = [Embedded(m.start(), _end_of_other(block, m.start()), OTHER) for m in _OTHERS.finditer(block)]
    at = 0
    while match := _JPEG.search(block, at):
        begin = max(match.start() - 1, 0)
        end = jpeg_end(block, match.start() + 1)
        if end is None:
            at = match.start() + 1
        else:
            found.append(Embedded(begin, end, JPEG))
            at = end
    reach = 0
    for picture in sorted(found, key=lambda picture: picture.begin):
        if picture.begin >= reach:
            yield picture
            reach = picture.end


def jpeg_end(block: bytes, at: int) -> int | None:
    """Where a JPEG ends whose first segment begins at ``at``: behind EOI, or with the block; None for no JPEG."""
    seen = False
    for _ in range(_MAX_SEGMENTS):
        if at + 4 > len(block):
            return len(block) if seen else None
        if block[at] != 0xFF:
            return None
        marker = block[at + 1]
        if marker == _EOI:
            return at + 2 if seen else None
        if marker == 0xFF:
            at += 1
            continue
        end = at + 2 + int.from_bytes(block[at + 2 : at + 4], "big")
        if marker < 0xC0 or end < at + 4:
            return None
        seen = seen or marker in _TABLES_AND_FRAMES or end > len(block)
        if end > len(block):
            return len(block)
        if marker == _SOS:
            following = _AFTER_SCAN.search(block, end)
            if following is None:
                return len(block)
            end = following.start()
        at = end
    return at if seen else None


def _end_of_other(block: bytes, begin: int) -> int:
    """Where a picture of another format ends as far as that is easily told; else the block's end."""
    match _EXTENT.get(block[begin : begin + 4]):
        case "riff":
            return min(begin + 8 + int.from_bytes(block[begin + 4 : begin + 8], "little"), len(block))
        case "png":
            at = begin + 8
            while at + 12 <= len(block):
                size, kind = struct.unpack_from(">I4s", block, at)
                at += 12 + size
                if kind == b"IEND":
                    return min(at, len(block))
    return len(block)


def _from_base64(run: bytes) -> Iterator[bytes]:
    letters = _SPACE.sub(b"", run).translate(_URL_SAFE)
    for shift in range(4):
        part = letters[shift:]
        yield binascii.a2b_base64(part[: len(part) // 4 * 4])


def _from_hex(run: bytes) -> Iterator[bytes]:
    digits = _SPACE.sub(b"", run)
    for shift in range(2):
        part = digits[shift:]
        yield base64.b16decode(part[: len(part) // 2 * 2], casefold=True)
