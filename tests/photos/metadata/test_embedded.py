"""Pictures are found wherever they lie in a block; noise holds none; and no block takes long."""

from __future__ import annotations

import base64
import io
import json
import time
import urllib.parse

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facecloak.photos.metadata.embedded import holds_picture, pictures_in
from tests.photos.metadata.hidden import encoded, picture, small

ISO = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 300
FORMATS: dict[str, bytes] = {
    "jpeg": small(),
    "progressive": small(progressive=True),
    "gray jpeg": encoded(picture()[:, :, 0]),
    "png": small(kind="PNG"),
    "webp": small(kind="WEBP"),
    "gif": small(kind="GIF"),
    "bmp": small(kind="BMP"),
    "dib": small(kind="DIB"),
    "jpeg 2000": small(kind="JPEG2000"),
    "jpeg 2000 codestream": small(kind="JPEG2000", no_jp2=True),
    "heic": ISO,
    "avif": ISO.replace(b"heic", b"avif"),
    "mp4": b"\0\0\0\x1cftypmp42\0\0\0\0mp42isom" + b"\0" * 300,
    "psd": b"8BPS\0\1" + b"\0" * 300,
    "jpeg xl": b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 300,
}


@pytest.mark.parametrize("before", [b"", b"x", b"some text ", b"\0" * 77, bytes(range(256))])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_is_found_at_any_place_and_in_any_writing(kind: str, before: bytes) -> None:
    data = FORMATS[kind]
    found = list(pictures_in(before + data + b" behind"))
    assert found
    assert abs(found[0].begin - len(before)) <= 1
    text = base64.b64encode(data)
    lines = b"\r\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    digits = data.hex()
    for written in (text, lines, base64.urlsafe_b64encode(data), b"prose in front of it: " * 300 + text,
                    b"words " * 999 + b"and one " + text, digits.encode(), b"1" + digits.upper().encode()):  # fmt: skip
        assert holds_picture(before + written + b"."), written[:30]


def _wrapped(text: bytes) -> dict[str, bytes]:
    plain = text.decode()
    lines = [plain[at : at + 76] for at in range(0, len(plain), 76)]
    quoted = urllib.parse.quote(plain, safe="").encode()
    return {
        "JSON of a program that escapes slashes": json.dumps({"image": plain}).replace("/", "\\/").encode(),
        "JSON of lines": json.dumps({"image": "\n".join(lines)}).encode(),
        "a list of lines": json.dumps(lines).encode(),
        "quoted lines": "\n> ".join(lines).encode(),
        "continued lines": "\\\n".join(lines).encode(),
        "a URL": b"data:image/jpeg;base64," + quoted,
        "XML's references": "&#xA;".join(lines).encode(),
        "UTF-16": plain.encode("utf-16-le"),
        "UTF-16, big-endian": plain.encode("utf-16-be"),
        "base64 again": base64.b64encode(json.dumps({"image": plain}).encode()),
    }


@pytest.mark.parametrize("kind", ["jpeg", "progressive", "png", "webp", "gif", "bmp"])
def test_base64_is_found_in_whatever_programs_wrap_it(kind: str) -> None:
    for name, written in _wrapped(base64.b64encode(FORMATS[kind])).items():
        assert holds_picture(written), name
        assert holds_picture(b"\0\1\2 text before it: " + written + b"\0\3\4"), name


def test_wrapped_texts_that_hold_none() -> None:
    noise = base64.b64encode(np.random.default_rng(3).bytes(20_000))
    for name, written in _wrapped(noise).items():
        assert not holds_picture(written), name


def test_the_end_of_a_jpeg_is_behind_its_last_scan() -> None:
    for data in (FORMATS["jpeg"], FORMATS["progressive"]):
        found = list(pictures_in(b"abc" + data + b"xyz" + data))
        assert [(one.begin, one.end) for one in found] == [
            (3, 3 + len(data)), (6 + len(data), 6 + 2 * len(data))
        ]  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_noise_holds_no_picture(seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, 100_000, dtype=np.uint8).tobytes()
    assert not holds_picture(noise)
    assert not holds_picture(base64.b64encode(noise))
    assert not holds_picture(noise.hex().encode())


@given(noise=st.binary(max_size=400))
def test_nothing_is_raised(noise: bytes) -> None:
    for begin in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"):
        list(pictures_in(begin + noise))


@pytest.mark.parametrize(
    "unit",
    [b"\xd8\xff\xe0\0\3", b"\xff\xd8\xff\xe0\0\6\xff\xd8", b"\xff\xd8\xff\xdb\0\4ab\xff\xd9", b"\x89PNG\r\n\x1a\n",
     b"\x28\0\0\0", b"ftyp", b"WEBP", b"\0", b"/9j/A", b"x", b"ab ", b"\xff\xda\0\2\xff\xd8"],
)  # fmt: skip
def test_no_block_takes_long(unit: bytes) -> None:
    block = unit * (8 * 2**20 // len(unit))
    start = time.process_time()
    holds_picture(block)
    assert time.process_time() - start < 2  # measured: 0.6 at most


def test_a_picture_that_pillow_writes_by_default_is_one() -> None:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "JPEG")
    assert holds_picture(out.getvalue())
