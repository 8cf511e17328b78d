"""Every kind of PNG chunk with a picture of the uncloaked face in it: none is left, and all else is."""

from __future__ import annotations

import base64
import struct
import zlib

import pytest

from facecloak.photos.metadata.png_chunks import png_chunk
from tests.photos.metadata import blocks
from tests.photos.metadata.hidden import encoded, face_colors, picture, reencoded, small
from tests.photos.test_png import chunks_of

KEPT = [
    (b"gAMA", struct.pack(">I", 45455)), (b"cICP", b"\1\r\0\1"), (b"pHYs", struct.pack(">IIB", 3000, 3000, 1)),
    (b"iCCP", b"p\0\0" + zlib.compress(b"a profile" * 20)), (b"tEXt", b"Author\0somebody"),
    (b"zTXt", b"parameters\0\0" + zlib.compress(b"a long prompt " * 90)), (b"iTXt", b"Title\0\0\0en\0\0a title"),
    (b"meTa", b"<meta/>"),
]  # fmt: skip


def profile(name: bytes, data: bytes) -> bytes:
    digits = data.hex().encode()
    lines = b"\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return b"\n%s\n%8d\n%s\n" % (name, len(data), lines)


def itxt_xmp(packet: bytes, *, compressed: bool = False) -> bytes:
    head = b"XML:com.adobe.xmp\0" + bytes((compressed, 0)) + b"\0\0"
    return head + (zlib.compress(packet) if compressed else packet)


XMP = blocks.xmp(blocks.xmp_thumbnails())
HIDING: dict[str, tuple[bytes, bytes, tuple[str, ...]]] = {
    "EXIF": (b"eXIf", blocks.exif_thumbnail(), ("exif.thumbnail:redrawn",)),
    "XMP": (b"iTXt", itxt_xmp(XMP), ("xmp.Thumbnails",)),
    "compressed XMP": (b"iTXt", itxt_xmp(XMP, compressed=True), ("xmp.Thumbnails",)),
    "XMP as plain text": (b"tEXt", b"XML:com.adobe.xmp\0" + XMP, ("xmp.Thumbnails",)),
    "raw EXIF": (
        b"zTXt",
        b"Raw profile type exif\0\0" + zlib.compress(profile(b"exif", b"Exif\0\0" + blocks.exif_thumbnail())),
        ("exif.thumbnail:redrawn",),
    ),
    "raw APP1": (
        b"tEXt",
        b"Raw profile type APP1\0" + profile(b"generic profile", b"http://ns.adobe.com/xap/1.0/\0" + XMP)[1:].replace(
            b"generic profile", b"\nAPP1"),
        ("xmp.Thumbnails",),
    ),
    "raw XMP": (b"tEXt", b"Raw profile type xmp\0" + profile(b"xmp", XMP), ("xmp.Thumbnails",)),
    "raw 8BIM": (
        b"zTXt",
        b"Raw profile type 8bim\0\0" + zlib.compress(profile(b"8bim", blocks.photoshop_thumbnail())),
        ("photoshop.thumbnail",),
    ),
    "raw IPTC": (b"tEXt", b"Raw profile type iptc\0" + profile(b"iptc", blocks.iptc_preview()), ("iptc.preview",)),
    "raw of no known kind": (b"tEXt", b"Raw profile type x\0" + profile(b"x", small()), ("png.profile",)),
    "text": (b"tEXt", b"Thumbnail\0data:image/jpeg;base64," + base64.b64encode(small()), ("png.tEXt",)),
    "compressed text": (b"zTXt", b"Thumb\0\0" + zlib.compress(base64.b64encode(small())), ("png.zTXt",)),
    "samples as white point": (b"cHRM", blocks.samples(), ("png.cHRM",)),
    "samples": (b"abcd", blocks.samples(), ("png.abcd",)),
    "compressed samples": (b"abcd", zlib.compress(blocks.samples()), ("png.abcd",)),
    "samples as a text": (b"tEXt", b"Face\0" + blocks.samples(), ("png.tEXt",)),
    "samples as a compressed text": (b"zTXt", b"Face\0\0" + zlib.compress(blocks.samples()), ("png.zTXt",)),
    "base64 of samples": (b"iTXt", b"Face\0\0\0\0\0" + base64.b64encode(blocks.samples()), ("png.iTXt",)),
    "C2PA": (b"caBX", blocks.c2pa_content(), ("c2pa",)),
    "safe to copy, with a picture": (b"skRf", small(kind="PNG"), ("png.skRf",)),
    "unsafe to copy": (b"prVW", small(), ("png.prVW",)),
    "Apple's index": (b"iDOT", b"\0" * 28, ("png.iDOT",)),
    "gain map": (b"gdAT", small(), ("png.gdAT",)),
    "digital signature": (b"dSIG", b"signed", ("png.dSIG",)),
    "another signature": (b"seAl", b"<seal/>", ("seal",)),
    "time of change": (b"tIME", b"\7\xe8\1\2\3\4\5", ("png.tIME",)),
}  # fmt: skip
ANNOUNCING = {
    "samples as white point",
    "samples",
    "compressed samples",
    "samples as a text",
    "samples as a compressed text",
    "base64 of samples",
    "Apple's index",
    "digital signature",
    "another signature",
    "time of change",
}


def with_chunks(png: bytes, before: list[bytes], after: list[bytes]) -> bytes:
    at = png.index(b"IDAT") - 4
    return png[:at] + b"".join(before) + png[at:-12] + b"".join(after) + png[-12:]


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("name", HIDING)
def test_no_picture_of_the_old_face_is_left_and_all_else_is(name: str, behind: bool) -> None:
    kind, payload, dropped = HIDING[name]
    kept = [png_chunk(*chunk) for chunk in KEPT]
    hiding = [png_chunk(kind, payload)]
    data = with_chunks(encoded(picture(), "PNG"), kept + ([] if behind else hiding), hiding if behind else [])
    if name not in ANNOUNCING:
        assert face_colors(data).count("red") > 1
    out, names = reencoded(data)
    assert names == dropped
    assert set(face_colors(out)) == {"blue"}
    assert [chunk for chunk in chunks_of(out) if chunk in KEPT] == KEPT
    left = [chunk[0] for chunk in chunks_of(out) if chunk not in KEPT and chunk[0] not in (b"IHDR", b"IDAT", b"IEND")]
    assert len(left) == (dropped[0].startswith(("exif", "xmp", "photoshop", "iptc")))


def test_raw_profiles_stay_readable() -> None:
    """What is left of a profile is a profile again: ExifTool's and ImageMagick's form, with the right length."""
    kind, payload, _ = HIDING["raw 8BIM"]
    out, _ = reencoded(with_chunks(encoded(picture(), "PNG"), [png_chunk(kind, payload)], []))
    (chunk,) = [payload for kind, payload in chunks_of(out) if kind == b"zTXt"]
    name, size, *digits = zlib.decompress(chunk.split(b"\0\0", 1)[1]).split()
    assert name == b"8bim"
    resources = bytes.fromhex(b"".join(digits).decode())
    assert len(resources) == int(size)
    assert resources[:6] == b"8BIM\x03\xed"


def test_a_text_that_cannot_be_looked_into_goes() -> None:
    bomb = b"a\0\0" + zlib.compress(b"\0" * 200_000_000, 9)
    for payload in (bomb, b"a\0\0no zlib"):
        out, names = reencoded(with_chunks(encoded(picture(), "PNG"), [png_chunk(b"zTXt", payload)], []))
        assert names == ("png.zTXt",)
        assert payload not in out


def test_what_follows_the_end_goes() -> None:
    out, names = reencoded(encoded(picture(), "PNG") + small())
    assert names == ("trailer",)
    assert face_colors(out) == ["blue"]


@pytest.mark.parametrize(
    "profile",
    [
        b"p\0\0" + zlib.compress(b"\0" * 36 + b"acsp" + small()),
        b"p" + base64.b64encode(small()) + b"\0\0" + zlib.compress(b"a profile" * 20),
        b"p\0\0" + zlib.compress(b"\0" * (9 << 20)),
        b"p\0\0no zlib",
    ],
    ids=["with a picture", "with a picture's name", "a bomb", "damaged"],
)
def test_a_profile_that_is_more_than_that_goes(profile: bytes) -> None:
    out, names = reencoded(with_chunks(encoded(picture(), "PNG"), [png_chunk(b"iCCP", profile)], []))
    assert names == ("icc",)
    assert set(face_colors(out)) == {"blue"}
    assert b"iCCP" not in [chunk[0] for chunk in chunks_of(out)]
