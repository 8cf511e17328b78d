"""Metadata made to cost: a small photo whose segments and chunks are as large as a file may be."""

from __future__ import annotations

import base64
import struct
import time
import zlib

import numpy as np
import pytest

from facecloak.photos.metadata.png_chunks import png_chunk
from tests.photos.metadata import blocks
from tests.photos.metadata.hidden import encoded, picture, reencoded
from tests.photos.metadata.test_png_chunks import with_chunks

SIZE = 31 * 2**20
XMP = b"http://ns.adobe.com/xap/1.0/\0"


def text() -> bytes:
    return np.random.default_rng(0).integers(97, 122, SIZE, dtype=np.uint8).tobytes()


def jpeg(marker: int, data: bytes, head: bytes = b"") -> bytes:
    parts = [blocks.segment(marker, head + data[at : at + 65_000]) for at in range(0, len(data), 65_000)]
    return blocks.with_segments(encoded(picture(), quality=92), *parts)


def extended(packet: bytes) -> bytes:
    return blocks.with_segments(encoded(picture(), quality=92), *blocks.extended_xmp(packet, room=65_000)[1])


def png(kind: bytes, payload: bytes, times: int = 1) -> bytes:
    return with_chunks(encoded(picture(), "PNG"), [png_chunk(kind, payload)] * times, [])


def circling_exif() -> bytes:
    """64 directories that lead to the same XMP, again and again."""
    block = bytearray(b"<a>" + b" " * (SIZE - 3))
    block[:8] = b"MM\0*\0\0\0\x08"
    for index in range(64):
        at, following = 8 + 18 * index, 8 + 18 * (index + 1) if index < 63 else 0
        places = SIZE - 3000 - index * 16, 2500 - index * 16, following
        struct.pack_into(">HHHIII", block, at, 1, 0x02BC, 1, *places)
    return bytes(block)


HOSTILE = {
    "comments": lambda: jpeg(0xFE, text()),
    "hex comments": lambda: jpeg(0xFE, b"ab" * (SIZE // 2)),
    "segments": lambda: jpeg(0xE5, text()),
    "beginnings of JPEGs": lambda: jpeg(0xE5, b"\xd8\xff\xe0\0\3" * (SIZE // 5)),
    "EXIF of beginnings of JPEGs": lambda: jpeg(
        0xE1, b"MM\0*\0\0\0\x08\0\0" + b"\xff\xd8\xff\xe0\0\6\xff\xd8" * (SIZE // 8), b"Exif\0\0"
    ),
    "EXIF of tiny JPEGs": lambda: jpeg(
        0xE1, b"MM\0*\0\0\0\x08\0\0" + b"\xff\xd8\xff\xdb\0\x43" + (b"a" * 65 + b"\xff\xd9") * (SIZE // 67), b"Exif\0\0"
    ),
    "thousands of EXIF blocks": lambda: blocks.with_segments(
        encoded(picture(), quality=92), *[blocks.segment(0xE1, b"Exif\0\0" + blocks.exif_thumbnail(size=60))] * 9900
    ),
    "thousands of XMP packets": lambda: blocks.with_segments(
        encoded(picture(), quality=92), *[blocks.segment(0xE1, XMP + b"<a>" + b"<b/>" * 750 + b"</a>")] * 9900
    ),
    "runs that are nearly long enough": lambda: png(b"eXIf", b"MM\0*\0\0\0\x08" + (b"a" * 199 + b"~") * (SIZE // 200)),
    "Photoshop resources": lambda: jpeg(0xED, b"8BIM\3\xed\0\0\0\0\0\0" * (SIZE // 12), b"Photoshop 3.0\0"),
    "IPTC": lambda: jpeg(
        0xED, blocks.resources(0x0404, b"\x1c\2\x78\0\0" * (SIZE // 5)), b"Photoshop 3.0\0"
    ),
    "XMP elements": lambda: extended(b"<a>" + b"<b/>" * (SIZE // 4) + b"</a>"),
    "deep XMP": lambda: extended(b"<a>" * (SIZE // 7) + b"</a>" * (SIZE // 7)),
    "an XMP value": lambda: extended(b"<a xmlns:g='g'><g:b>" + base64.b64encode(text()[: SIZE // 2]) + b"</g:b></a>"),
    "PNG text": lambda: png(b"tEXt", b"a\0" + text()),
    "texts that inflate": lambda: png(b"zTXt", b"a\0\0" + zlib.compress(b"a" * 2_000_000, 9), 9900),
    "PNG EXIF": lambda: png(b"eXIf", circling_exif()),
    "raw profile": lambda: png(b"tEXt", b"Raw profile type exif\0\nexif\n 9\n4d4d002a00000008" + b"00" * (SIZE // 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_work_is_bounded(name: str) -> None:
    data = HOSTILE[name]()
    start = time.process_time()
    reencoded(data)
    assert time.process_time() - start < 8  # measured: 2.8 at most on a slow core
