"""A photo whose face is a red square, turned blue; and every picture in a file, found without the codec's help."""

from __future__ import annotations

import binascii
import io
import re
import zlib
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from PIL import Image

from facecloak.photos import DEFAULT_LIMITS, decode_photo, encode_reported
from facecloak.photos.splice import JpegSplice
from tests.photos.test_splice import Spot

WIDTH, HEIGHT = 320, 224
FACE = (slice(64, 160), slice(96, 224))
_RED, _BLUE = (220, 40, 30), (20, 60, 230)


def picture(color: tuple[int, int, int] = _RED) -> np.ndarray:
    """(224, 320, 3) uint8 RGB: soft green ground, and the face."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    pixels = np.dstack([x // 4, 120 + y // 4, (x + y) // 8]).astype(np.uint8)
    pixels[FACE] = color
    return pixels


def encoded(pixels: np.ndarray, kind: str = "JPEG", **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def small(width: int = 160, height: int = 112, kind: str = "JPEG", **options: object) -> bytes:
    """The uncloaked photo as a thumbnail."""
    return encoded(cv2.resize(picture(), (width, height), interpolation=cv2.INTER_AREA), kind, **options)


def spliced(data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """The photo with a blue face, by the splice path."""
    levels = np.zeros((96, 128, 3)) + np.array(_BLUE) - np.array(_RED)
    pieces = JpegSplice(data, limits=DEFAULT_LIMITS).added([Spot(96, 64, levels)])
    assert pieces is not None
    return pieces.joined(), pieces.dropped


def reencoded(data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """The photo with a blue face, decoded and encoded again."""
    photo = decode_photo(data)
    changed = photo.srgb_u8.copy()
    changed[FACE] = _BLUE
    done = encode_reported(photo, changed)
    return done.data, done.dropped


WAYS: dict[str, Callable[[bytes], tuple[bytes, tuple[str, ...]]]] = {"spliced": spliced, "reencoded": reencoded}


def face_colors(data: bytes) -> list[str]:
    """Of each picture anywhere in a file, the photo itself included: whether its face is red, blue or neither."""
    colors = []
    for pixels in pictures(data):
        grown = cv2.resize(pixels, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        red, _, blue = grown[80:144, 120:200].reshape(-1, 3).mean(axis=0)
        colors.append("red" if red > blue + 60 else "blue" if blue > red + 60 else "neither")
    return colors


def pictures(data: bytes) -> Iterator[np.ndarray]:
    """Whatever Pillow can open from any place of a file, of what is compressed in it, or written as base64 or hex."""
    blocks = new = [data]
    for _ in range(3):
        new = [unpacked for block in new for unpacked in _unpacked(block)]
        blocks = [*blocks, *new]
    for block in blocks:
        for match in re.finditer(rb".\xd8\xff[\xc0-\xfe]|\x89PNG\r\n|RIFF....WEBP", block, re.DOTALL):
            content = block[match.start() :]
            if content[1:3] == b"\xd8\xff":
                content = b"\xff" + content[1:]
            try:
                with Image.open(io.BytesIO(content)) as image:
                    yield np.array(image.convert("RGB"))
            except (OSError, ValueError, SyntaxError):
                continue


def _unpacked(block: bytes) -> Iterator[bytes]:
    for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", block):
        try:
            yield zlib.decompressobj().decompress(block[match.start() :], 10_000_000)
        except zlib.error:
            continue
    for run in re.findall(rb"(?:[A-Za-z0-9+/=\s]|&#xA;){400,}", block + b"\0" + re.sub(rb"<[^<>]{0,80}>", b"", block)):
        bare = re.sub(rb"&#xA;|[\s=]", b"", run) + b"AAA"
        for shift in range(4):
            yield binascii.a2b_base64(bare[shift : shift + (len(bare) - shift) // 4 * 4])
    for run in re.findall(rb"[0-9a-fA-F\s]{400,}", block):
        bare = re.sub(rb"\s", b"", run)
        for shift in range(2):
            yield bytes.fromhex(bare[shift : shift + (len(bare) - shift) // 2 * 2].decode())
