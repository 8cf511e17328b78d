from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from facecloak.photos import (
    Photo,
    PhotoRefused,
    PhotoTruncated,
    PixelsMismatch,
    UnsupportedPhoto,
    decode_photo,
    encode_photo,
)
from facecloak.photos.orientation import orientation_of, to_stored, to_upright

OPTIONS = {"JPEG": {"quality": 95, "subsampling": "4:4:4"}, "PNG": {}, "WEBP": {"lossless": True}}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", OPTIONS)
def test_orientation_is_seen_upright_and_written_stored(save, scene, exif, kind: str, orientation: int) -> None:
    data = save(scene, kind, exif=exif(orientation), **OPTIONS[kind])
    photo = decode_photo(data)
    with Image.open(io.BytesIO(data)) as image:
        upright = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    assert photo.orientation == orientation
    assert photo.srgb_u8.shape == upright.shape
    assert np.abs(photo.srgb_u8.astype(int) - upright).max() <= 2

    target = photo.srgb_u8.copy()
    target[5:30, 10:25] = 255 - target[5:30, 10:25]
    again = decode_photo(encode_photo(photo, target))
    assert again.orientation == orientation
    assert np.abs(again.srgb_u8.astype(int) - target).mean() < 1.5
    with Image.open(io.BytesIO(encode_photo(photo, target))) as image:
        assert image.size == (130, 90)
        assert image.getexif()[0x010F] == "Maker"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_stored_is_the_inverse_of_upright(scene, orientation: int) -> None:
    assert np.array_equal(to_stored(to_upright(scene, orientation), orientation), scene)


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II*\0",
        b"XX*\0\x08\0\0\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x09\0\0\0",
        b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\0\0\0\0",
        b"II*\0\x08\0\0\0\1\0\x12\1\4\0\1\0\0\0\6\0\0\0",
    ],
)
def test_broken_exif_is_upright(exif: bytes) -> None:
    assert orientation_of(exif) == 1
    assert orientation_of(b"Exif\0\0" + exif) == 1


@given(exif=st.binary(max_size=200))
def test_exif_never_raises(exif: bytes) -> None:
    assert 1 <= orientation_of(b"II*\0\x08\0\0\0" + exif) <= 8


def test_an_empty_file() -> None:
    with pytest.raises(PhotoTruncated):
        decode_photo(b"")


@pytest.mark.parametrize("data", [b"\n", b"hello", b"GIF89a", b"%PDF-1.7", b"\xff\xd8", b"<svg/>", b"BM" + b"\0" * 60])
def test_not_a_photo(data: bytes) -> None:
    with pytest.raises(UnsupportedPhoto):
        decode_photo(data)


def test_pixels_of_another_photo_are_refused(save, scene) -> None:
    photo = decode_photo(save(scene, "PNG"))
    for pixels in (photo.srgb_u8[1:], photo.srgb_u8.astype(np.float32), photo.srgb_u8[:, :, 0]):
        with pytest.raises(PixelsMismatch):
            encode_photo(photo, pixels)


def test_a_photos_pixels_are_read_only(save, scene) -> None:
    with pytest.raises(ValueError, match="read-only"):
        decode_photo(save(scene, "PNG")).srgb_u8[0, 0] = 0


def test_no_pixels_in_the_repr(save, scene, exif) -> None:
    assert repr(decode_photo(save(scene, "JPEG", exif=exif(6)))) == "Photo(JPEG, 90x130, orientation=6)"


def survive(data: bytes) -> Photo | None:
    """Decode hostile bytes: a photo or a refusal, nothing else; and what decodes can be encoded again."""
    try:
        photo = decode_photo(data)
    except PhotoRefused:
        return None
    decode_photo(encode_photo(photo, 255 - photo.srgb_u8))
    return photo


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(kind=st.sampled_from(list(OPTIONS)), noise=st.binary(max_size=300))
def test_noise_behind_a_signature(kind: str, noise: bytes) -> None:
    survive({"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "WEBP": b"RIFF\xff\0\0\0WEBP"}[kind] + noise)


@FUZZ
@given(
    kind=st.sampled_from(["JPEG", "JPEG progressive", "PNG", "WEBP", "WEBP lossy"]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4),
    early=st.booleans(),
)
def test_changed_bytes(save, scene, exif, kind: str, changes: list[tuple[float, int]], early: bool) -> None:
    name, _, variant = kind.partition(" ")
    options = OPTIONS[name] | {"progressive": {"progressive": True}, "lossy": {"lossless": False}}.get(variant, {})
    data = bytearray(save(scene[:40, :48], name, exif=exif(6), icc_profile=b"x" * 40, **options))
    for place, value in changes:
        data[int(place * (min(len(data), 700) if early else len(data)) * 0.999)] = value
    survive(bytes(data))
