"""Every kind of WebP chunk with a picture of the uncloaked face in it: none is left, and all else is."""

from __future__ import annotations

import io
import zlib

import pytest
from PIL import Image

from tests.photos.metadata import blocks
from tests.photos.metadata.hidden import encoded, face_colors, picture, reencoded, small
from tests.photos.test_webp import chunk_kinds

HIDING: dict[str, tuple[dict[bytes, bytes], tuple[str, ...]]] = {
    "EXIF": ({b"EXIF": blocks.exif_thumbnail()}, ("exif.thumbnail:redrawn",)),
    "EXIF with a prefix": ({b"EXIF": b"Exif\0\0" + blocks.exif_thumbnail()}, ("exif.thumbnail:redrawn",)),
    "XMP": ({b"XMP ": blocks.xmp(blocks.xmp_thumbnails())}, ("xmp.Thumbnails",)),
    "XMP that is no XML": ({b"XMP ": b"<" + small()}, ("xmp",)),
    "C2PA": ({b"C2PA": blocks.c2pa_content()}, ("c2pa",)),
    "samples": ({b"abcd": blocks.samples()}, ("webp.abcd",)),
    "compressed samples": ({b"abcd": zlib.compress(blocks.samples())}, ("webp.abcd",)),
    "unknown": ({b"abcd": small(kind="PNG")}, ("webp.abcd",)),
}


def with_chunks(webp: bytes, chunks: dict[bytes, bytes]) -> bytes:
    """A file that Pillow wrote in the extended form, with further chunks."""
    body = webp[8:]
    for kind, payload in chunks.items():
        body += kind + len(payload).to_bytes(4, "little") + payload + b"\0" * (len(payload) % 2)
    flags = {b"EXIF": 8, b"XMP ": 4}
    header = bytearray(b"RIFF" + len(body).to_bytes(4, "little") + body)
    assert header[12:16] == b"VP8X"
    for kind in chunks:
        header[20] |= flags.get(kind, 0)
    return bytes(header)


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("name", HIDING)
def test_no_picture_of_the_old_face_is_left_and_all_else_is(name: str, lossless: bool) -> None:
    chunks, dropped = HIDING[name]
    profile = bytes(range(256)) * 3
    data = encoded(picture(), "WEBP", lossless=lossless, quality=90, icc_profile=profile)
    data = with_chunks(data, {b"wxyz": b"someone else's.", **chunks})
    if "samples" not in name:
        assert face_colors(data).count("red") > 1
    out, names = reencoded(data)
    assert names == dropped
    assert set(face_colors(out)) == {"blue"}
    kinds = chunk_kinds(out)
    assert kinds[:3] == [b"VP8X", b"ICCP", b"VP8L" if lossless else b"VP8 "]
    assert b"wxyz" in kinds
    assert b"someone else's." in out
    with Image.open(io.BytesIO(out)) as image:
        assert image.info["icc_profile"] == profile
        assert ("exif" in image.info) == ("EXIF" in name)


def test_what_follows_the_file_goes() -> None:
    out, names = reencoded(encoded(picture(), "WEBP", quality=90) + small())
    assert names == ("trailer",)
    assert face_colors(out) == ["blue"]


@pytest.mark.parametrize("lossless", [False, True])
def test_a_profile_that_holds_a_picture_goes(lossless: bool) -> None:
    data = encoded(picture(), "WEBP", lossless=lossless, quality=90, icc_profile=b"\0" * 36 + b"acsp" + small())
    out, names = reencoded(data)
    assert names == ("icc",)
    assert set(face_colors(out)) == {"blue"}
    with Image.open(io.BytesIO(out)) as image:
        assert "icc_profile" not in image.info
