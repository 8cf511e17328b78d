"""Picture data is inflated to the size that it needs and no more, and written so that any reader has it back."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from facecloak.errors import FaceCloakError
from facecloak.photos import DEFAULT_LIMITS, png, png_data
from facecloak.photos.errors import PhotoDamaged
from tests.photos.test_png import MAGIC, chunk, header

ROWS = np.random.default_rng(3).integers(0, 256, 300_001, np.uint8).tobytes()


def chunks_of(data: bytes) -> bytes:
    """The zlib stream in IDAT chunks whose checksums are right."""
    found = [*png.png_chunks(MAGIC + header(1, 1) + data + chunk(b"IEND", b""))][1:-1]
    for one in found:
        assert zlib.crc32(one.data[4:-4]) == int.from_bytes(one.data[-4:], "big")
    return b"".join(one.payload for one in found)


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 131_070, 300_001])
def test_stored_rows_are_a_zlib_stream(size: int) -> None:
    stream = chunks_of(b"".join(png_data.stored_chunks(ROWS[:size])))
    assert zlib.decompress(stream) == ROWS[:size]


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("excess", [0, 1, 700])
def test_what_is_inflated_is_the_picture(level: int, excess: int) -> None:
    stream = zlib.compress(ROWS, level)
    assert png_data.inflated(stream, size=len(ROWS) - excess, most_excess=700) == ROWS[: len(ROWS) - excess]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda stream: stream[:-1],
        lambda stream: stream[: len(stream) // 2],
        lambda stream: stream[:-1] + bytes([stream[-1] ^ 1]),
        lambda stream: b"",
        lambda stream: zlib.compress(ROWS[:-1]),
        lambda stream: zlib.compress(ROWS + bytes(701)),
        lambda stream: b"\x78\x01\xff" + stream,
    ],
    ids=["cut", "half", "checksum", "nothing", "short", "long", "damaged"],
)
def test_no_other_stream_is_a_picture(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ValueError, match="zlib stream"):
        png_data.inflated(spoil(zlib.compress(ROWS)), size=len(ROWS), most_excess=700)


@pytest.mark.parametrize("pieces", [1, 7])
def test_a_picture_in_several_chunks_is_one(pieces: int) -> None:
    samples = np.random.default_rng(4).integers(0, 2**16, (40, 30, 3)).astype(np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    stream = zlib.compress(rows)
    parts = [piece.tobytes() for piece in np.array_split(np.frombuffer(stream, np.uint8), pieces)]
    idat = b"".join(chunk(b"IDAT", part) for part in parts)
    data = MAGIC + header(30, 40, 16) + idat + chunk(b"IEND", b"")
    assert np.array_equal(png.decode(data, DEFAULT_LIMITS).encoding.stored_u16, samples)
    with pytest.raises(PhotoDamaged):
        png.decode(MAGIC + header(30, 41, 16) + idat + chunk(b"IEND", b""), DEFAULT_LIMITS)


def test_nobody_who_left_has_a_picture_written() -> None:
    from facecloak.call_context import interrupted_by

    class Left(FaceCloakError):
        pass

    def check() -> None:
        raise Left("nobody waits")

    with interrupted_by(check), pytest.raises(Left):
        list(png_data.deflated_chunks(np.zeros((64, 8, 3), np.uint16)))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (31, 2), (33, 1), (70, 40)])
def test_other_readers_have_it_back(channels: int, height: int, width: int) -> None:
    samples = np.random.default_rng(5).integers(0, 2**16, (height, width, channels)).astype(np.uint16)
    got = cv2.imdecode(np.frombuffer(png._encode(samples), np.uint8), cv2.IMREAD_UNCHANGED)
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    assert np.array_equal(got.reshape(height, width, channels)[:, :, order], samples)
