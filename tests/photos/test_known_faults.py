"""Files that were once answered wrongly, each with the right answer. Ones like them, made here, are in other tests."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facecloak.photos import DEFAULT_LIMITS, decode_photo, encode_reported
from facecloak.photos.native_splice import is_available
from facecloak.photos.splice import JpegSplice
from tests.photos.test_png import samples_of


@pytest.fixture
def fault(shared_dir: Path):
    def read(name: str) -> bytes:
        return (shared_dir / "photos" / "faults" / name).read_bytes()

    return read


def test_sixteen_bit_gray_keeps_its_transparency(fault) -> None:
    data = fault("grey16_trns.png")
    photo = decode_photo(data)
    target = photo.srgb_u8.copy()
    target[:8] ^= 1
    out = encode_reported(photo, target)
    with Image.open(io.BytesIO(data)) as image:
        key, before = image.info["transparency"], np.array(image).astype(int)
    assert (before == key).any()
    depth, color, samples = samples_of(out.data)
    assert (depth, color, out.dropped) == (16, 4, ())
    after = np.array(samples).reshape(*before.shape, 2)
    assert np.array_equal(after[:, :, 1], np.where(before == key, 0, 65535))
    assert np.array_equal(after[8:, :, 0], before[8:])


def test_a_jpeg_without_its_end_is_taken(fault) -> None:
    data = fault("no_eoi.jpg")
    with Image.open(io.BytesIO(data + b"\xff\xd9")) as image:
        whole = np.array(image.convert("RGB"))
    assert np.abs(decode_photo(data).srgb_u8.astype(int) - whole).max() <= 2
    if is_available():
        assert JpegSplice(data, limits=DEFAULT_LIMITS).width == whole.shape[1]


def test_fifty_megapixels_of_a_phone_are_taken(fault) -> None:
    assert decode_photo(fault("pixel_50mp_8160x6144.jpg")).srgb_u8.shape == (6144, 8160, 3)


@pytest.mark.parametrize("size", [(8160, 6120), (8160, 6144), (8192, 6144)])
def test_the_sizes_of_fifty_megapixel_phones_are_within_the_limits(size: tuple[int, int]) -> None:
    DEFAULT_LIMITS.check_size(*size)


def test_a_neutral_photo_stays_neutral(fault) -> None:
    """Equal channels in, equal channels out: no color comes from encoding."""
    photo = decode_photo(fault("black_and_white.jpeg"))
    spread = np.ptp(photo.srgb_u8.astype(int), axis=2).max()
    target = photo.srgb_u8.copy()
    part = target[100:300, 100:300].astype(int).mean(axis=2, keepdims=True) + 9
    target[100:300, 100:300] = np.clip(part, 0, 255).astype(np.uint8)
    out = decode_photo(encode_reported(photo, target).data).srgb_u8.astype(int)
    assert np.ptp(out, axis=2).max() <= spread + 1
