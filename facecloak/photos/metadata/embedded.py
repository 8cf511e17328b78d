"""Pictures and videos hidden in a block of bytes, found by how their formats begin; also in base64 and in hex,
and compressed by zlib.

Base64 is found in what programs wrap it into, too: JSON's and URLs' escapes, XML's references, quoted or listed lines,
UTF-16, and base64 again.

Work is linear in the block's length.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

JPEG, OTHER, TEXT = "jpeg", "other", "text"

# Cameras store previews whose very first byte is not 0xFF (Minolta, Sony), so the second one is looked for.
_JPEG = b"\xd8\xff"
# What each other format has at a fixed place, that place, and what must be all around it. Looked for one by one, since
# that is ten times as quick as one expression of them all.
_OTHERS = tuple(
    (anchor, place, re.compile(around, re.DOTALL))
    for anchor, place, around in (
        (b"\x89PNG\r\n\x1a\n", 0, b""),
        (b"WEBP", 8, b"RIFF"),
        (b"AVI ", 8, b"RIFF"),
        (b"GIF87a", 0, b""),
        (b"GIF89a", 0, b""),
        (b"8BPS\0", 0, b".{5}[\x01\x02]"),
        (b"jP  \r\n\x87\n", 4, b"\0\0\0\x0c"),
        (b"JXL \r\n\x87\n", 4, b"\0\0\0\x0c"),
        (b"\xff\x4f\xff\x51", 0, b"....\0"),  # a JPEG 2000 codestream
        (b"II\xbc\x01", 0, b"....[\x08-\xff]\0\0\0"),  # JPEG XR
        (b"ftyp", 4, rb"\x00\x00[\x00\x01].ftyp[ -~]{4}"),  # ISO base media: HEIC, AVIF, MP4, QuickTime
        # Windows bitmaps, without and with the file's header.
        (b"\x28\0\0\0", 0, rb".{12}\x01\x00[\x01\x04\x08\x10\x18\x20]\x00[\x00-\x03]\x00\x00\x00"),
        (b"\0\0\x28\0\0\0", 12, rb"BM.{4}\0{4}.[\x00-\x04]"),
        (b"\0\0\x6c\0\0\0", 12, rb"BM.{4}\0{4}.[\x00-\x04]"),
        (b"\0\0\x7c\0\0\0", 12, rb"BM.{4}\0{4}.[\x00-\x04]"),
    )
)
_EXTENT = {b"\x89PNG": "png", b"RIFF": "riff"}
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Prose is in these alphabets, too: it decodes to what begins like no picture.
# What stands in front is looked at, so that a shorter run is not tried from each of its letters.
_BASE64_RUN = re.compile(rb"(?<![A-Za-z0-9+/_\-=\s])[A-Za-z0-9+/_\-=\s]{200,}")
_HEX_RUN = re.compile(rb"(?<![0-9A-Fa-f\s])[0-9A-Fa-f\s]{300,}")
_TEXT_RUN = re.compile(rb"(?<![\t-\r -~])[\t-\r -~]{200,}")
_WIDE_TEXT_RUN = re.compile(rb"(?:[\t-\r -~]\0){200,}|(?:\0[\t-\r -~]){200,}")
# What stands between letters and is none: references, tags and escapes. URLs' and JSON's escapes of letters are these.
_BETWEEN_LETTERS = re.compile(rb"&#?[0-9A-Za-z]{1,8};|<[^<>]{0,500}>|\\[bfnrtv]")
_ESCAPED_LETTER = re.compile(rb"(?:%|\\u00|\\x)(2[BbFfDd]|3[Dd]|5[Ff])")
_NO_LETTERS = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
_MOST_WRAPPED = 2
_SHORTEST_TEXT = 200
# What is left of the signs below where escapes stand before slashes: without it, no text is looked into again.
_BROKEN_SIGNS = (
    b"9j", b"iVBORw0KGgo", b"UklGR", b"R0lGOD", b"OEJQUwA", b"AAAADGpQ", b"AAAADEp", b"/U", b"FU", b"fU", b"SUm8A",
    b"KAAAA", b"Z0eXB", b"AAAoAAAA",
)  # fmt: skip
_SPACE = b" \t\r\n\f\v="
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_DQT, _DHT, _SOS, _EOI = 0xDB, 0xC4, 0xDA, 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MAX_STEPS = 100_000
_MOST_BYTES = 8 * 2**20
"""Blocks of no known kind, and texts, are far smaller; larger ones are not looked into."""
# How the formats above are told in base64: letters, and how many stand before them.
_BASE64_SIGNS = (
    (b"/9j/", 0), (b"iVBORw0KGgo", 0), (b"UklGR", 0), (b"R0lGODdh", 0), (b"R0lGODlh", 0), (b"OEJQUwA", 0),
    (b"AAAADGpQICAN", 0), (b"AAAADEpYTCAN", 0), (b"/0//U", 0), (b"SUm8A", 0), (b"KAAAA", 0), (b"Z0eXB", 6),
    (b"AAAoAAAA", 16), (b"H4sI", 0),
)  # fmt: skip
# zlib's headers (RFC 1950, of a window of 32 KiB) and gzip's.
_COMPRESSED = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")
_MOST_INFLATED, _MOST_STREAMS, _PIECE = 16 * 2**20, 20_000, 2**16
# A picture of fewer samples shows nobody.
_FEWEST_SAMPLES, _LEAST_DAMAGED = 576, 2048
_NO_TEXT = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LETTERS_TO_TELL, _MOST_PLACES = 4096, 1000
_IS_LETTER = np.isin(
    np.arange(256), np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=\r\n", np.uint8)
)
_LETTER_STEP, _MANY_LETTERS = 64, 24


@dataclass(frozen=True)
class Embedded:
    """A picture, or what is probably one, at ``block[begin:end]``; ``kind`` is JPEG, OTHER or TEXT (base64 or hex)."""

    begin: int
    end: int
    kind: str


def holds_picture(block: bytes) -> bool:
    """Whether a block holds a picture, as it is or as text; also said of blocks too large to look into."""
    return len(block) > _MOST_BYTES or next(pictures_in(block), None) is not None


def holds_letters(block: memoryview) -> bool:
    """Whether some 600 letters of base64 follow each other, which coded samples do not say by chance: less than the
    smallest picture takes. Looks at one byte in 64 but there."""
    samples = np.frombuffer(block, np.uint8)
    seen = _IS_LETTER[samples[::_LETTER_STEP]]
    runs = seen[:-1] & seen[1:]
    runs = runs[:-2] & runs[2:]
    runs = runs[:-4] & runs[4:]  # eight in a row
    for index in np.flatnonzero(runs).tolist():
        part = samples[index * _LETTER_STEP : (index + 7) * _LETTER_STEP + 1]
        # Codes that repeat themselves are letters at times, but few of them.
        if _IS_LETTER[part].all() and np.unique(part).size >= _MANY_LETTERS:
            return True
    return False


def pictures_in(block: bytes) -> Iterator[Embedded]:
    """Each picture in a block; those written as text last, of which the text around another one may be one."""
    yield from raw_pictures_in(block)
    for begin, end in compressed_in(block):
        yield Embedded(begin, end, OTHER)
    for begin, end in _written_pictures_in(block):
        yield Embedded(begin, end, TEXT)


def compressed_in(block: bytes) -> Iterator[tuple[int, int]]:
    """(begin, end) of what is compressed (zlib, gzip) and says a picture or no text: samples, as far as can be told.
    Where telling takes too long, all the rest counts as such."""
    left, at = _MOST_INFLATED, 0
    for count, match in enumerate(_COMPRESSED.finditer(block)):
        if match.start() < at:
            continue
        if left <= 0 or count > _MOST_STREAMS:
            yield match.start(), len(block)
            return
        inflated, end = _inflated(block, match.start(), left)
        left -= len(inflated)
        if len(inflated) >= _FEWEST_SAMPLES and _says_picture(inflated):
            yield match.start(), end
            at = end


def _inflated(block: bytes, begin: int, most: int) -> tuple[bytes, int]:
    """What a stream at ``begin`` says, and where it ends; nothing where there is none."""
    inflater = zlib.decompressobj(wbits=47)
    out, at = bytearray(), begin
    try:
        while at < len(block) and not inflater.eof and len(out) < most:
            out += inflater.decompress(inflater.unconsumed_tail + block[at : at + _PIECE], most - len(out))
            at += _PIECE
    except zlib.error:
        # Data that only begins like a stream ends like this at once; a damaged one shows most of its picture.
        return (bytes(out), len(block)) if len(out) >= _LEAST_DAMAGED else (b"", begin)
    if not inflater.eof and len(out) < _LEAST_DAMAGED:
        return b"", begin
    return bytes(out), min(at, len(block)) - len(inflater.unused_data) if inflater.eof else len(block)


def _says_picture(inflated: bytes) -> bool:
    if next(raw_pictures_in(inflated), None) is not None:
        return True
    if _NO_TEXT.search(inflated) is None:
        return next(_written_pictures_in(inflated), None) is not None
    return True


def _written_pictures_in(block: bytes, *, wrapped: int = 0) -> Iterator[tuple[int, int]]:
    """(begin, end) of each picture written as text in a block that is itself ``wrapped`` so often."""
    found = list(_runs_with_pictures(block, wrapped))
    yield from found
    if block.count(b"\0") >= _SHORTEST_TEXT:
        for wide in _WIDE_TEXT_RUN.finditer(block):
            if next(_written_pictures_in(wide[0].replace(b"\0", b""), wrapped=wrapped), None) is not None:
                yield wide.span()
    if any(sign in block for sign in _BROKEN_SIGNS):
        rest = bytearray(block)
        for begin, end in found:
            rest[begin:end] = b" " * (end - begin)
        for text in _TEXT_RUN.finditer(rest):
            if _any_picture(_from_broken_base64(bytes(text[0]))):
                yield text.span()


def _runs_with_pictures(text: bytes, wrapped: int) -> Iterator[tuple[int, int]]:
    for run in _BASE64_RUN.finditer(text):
        if _any_picture(_from_base64(run[0])) or (wrapped < _MOST_WRAPPED and _is_wrapped(run[0], wrapped)):
            yield run.span()
    for run in _HEX_RUN.finditer(text):
        if _any_picture(_from_hex(run[0])):
            yield run.span()


def _is_wrapped(run: bytes, wrapped: int) -> bool:
    """Whether base64 says a text that holds a picture."""
    text = _base64(run.translate(_URL_SAFE, _SPACE))
    return next(_written_pictures_in(text, wrapped=wrapped + 1), None) is not None


def _any_picture(blocks: Iterator[bytes]) -> bool:
    return any(next(raw_pictures_in(block), None) or next(compressed_in(block), None) for block in blocks)


def raw_pictures_in(block: bytes) -> Iterator[Embedded]:
    """Each picture in a block that is there byte for byte. Where telling takes too long, all the rest counts as one."""
    steps = _Steps()
    at = 0
    anchors: list[int | None] = [None] * len(_OTHERS)
    jpeg, other = _next_jpeg(block, at, steps), _next_other(block, at, anchors, steps)
    while jpeg is not None or other is not None:
        if other is None or (jpeg is not None and jpeg.begin <= other):
            assert jpeg is not None
            found = jpeg
        else:
            end = _end_of_other(block, other) if steps.left > 0 else len(block)
            found = Embedded(other, end, OTHER)
        yield found
        at = found.end
        if jpeg is not None and jpeg.begin < at:
            jpeg = _next_jpeg(block, at, steps)
        if other is not None and other < at:
            other = _next_other(block, at, anchors, steps)


class _Steps:
    """How many segments may still be looked at: blocks are made, too, that begin like a JPEG everywhere."""

    def __init__(self) -> None:
        self.left = _MAX_STEPS


def _next_other(block: bytes, at: int, anchors: list[int | None], steps: _Steps) -> int | None:
    """Where the next picture of another format begins, from ``at`` on. ``anchors``: where each format's next one is, -1
    where there is none, None where nobody has looked; kept from call to call."""
    first: int | None = None
    for index, (anchor, place, around) in enumerate(_OTHERS):
        found = anchors[index]
        if found is None or 0 <= found < at + place:
            found = block.find(anchor, at + place)
            while found >= 0 and not around.match(block, found - place):
                steps.left -= 1
                if steps.left <= 0:
                    break
                found = block.find(anchor, found + 1)
            anchors[index] = found
        if found >= 0 and (first is None or found - place < first):
            first = found - place
    return first


def _next_jpeg(block: bytes, at: int, steps: _Steps) -> Embedded | None:
    while (found := block.find(_JPEG, at)) >= 0:
        begin = max(found - 1, at)
        if steps.left <= 0:
            return Embedded(begin, len(block), OTHER)
        end = jpeg_end(block, found + 1, steps)
        if end is not None:
            return Embedded(begin, end, JPEG)
        at = found + 1
    return None


def jpeg_end(block: bytes, at: int, steps: _Steps | None = None) -> int | None:
    """Where a JPEG ends whose first segment begins at ``at``: behind EOI, or with the block; None for no JPEG."""
    steps = steps or _Steps()
    tables = frame = False
    while at + 4 <= len(block) or (tables and at + 2 <= len(block)):
        steps.left -= 1
        marker = block[at + 1]
        if steps.left < 0 or block[at] != 0xFF or marker < 0xC0:
            return None
        if marker == _EOI:
            return at + 2 if tables else None
        if marker == 0xFF:
            at += 1
            continue
        size = int.from_bytes(block[at + 2 : at + 4], "big")
        if size < 2:
            return None
        end = at + 2 + size
        if marker == _SOS:
            if not frame:
                return None
            following = _AFTER_SCAN.search(block, end)
            end = len(block) if following is None else following.start()
        frame = frame or (marker in _FRAMES and size > 8 and (size - 8) % 3 == 0 and size <= 8 + 3 * 4)
        tables = tables or frame or (marker == _DQT and (size - 2) % 65 in (0, 64)) or (marker == _DHT and size >= 20)
        at = end
    return len(block) if tables else None


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
    """What a run of letters says, from its beginning, and from wherever a picture may begin behind other text."""
    letters = run.translate(_URL_SAFE, _SPACE)
    yield _base64(letters)
    yield from _from_signs(letters)


def _from_broken_base64(text: bytes) -> Iterator[bytes]:
    """What the letters of a text say where a picture may begin, when all that is between them is left out."""
    text = _ESCAPED_LETTER.sub(lambda escaped: bytes.fromhex(escaped[1].decode()), text)
    yield from _from_signs(_BETWEEN_LETTERS.sub(b"", text).translate(_URL_SAFE, _NO_LETTERS.translate(None, b"-_")))


def _from_signs(letters: bytes) -> Iterator[bytes]:
    places = 0
    for sign, before in _BASE64_SIGNS:
        at = letters.find(sign)
        while at >= 0:
            begin = max(at - before, 0)
            yield _base64(letters[begin : begin + _LETTERS_TO_TELL])
            places += 1
            if places > _MOST_PLACES:
                yield b"GIF89a"  # made to be looked at for long: as good as a picture
                return
            at = letters.find(sign, at + 1)


def _base64(letters: bytes) -> bytes:
    return binascii.a2b_base64(letters[: len(letters) // 4 * 4])


def _from_hex(run: bytes) -> Iterator[bytes]:
    digits = run.translate(None, _SPACE)
    for shift in range(2):
        part = digits[shift:]
        yield base64.b16decode(part[: len(part) // 2 * 2], casefold=True)
