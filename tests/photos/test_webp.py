from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from facecloak.photos import (
    AnimatedPhoto,
    PhotoDamaged,
    PhotoLimits,
    PhotoTooLarge,
    PhotoTruncated,
    decode_photo,
    encode_photo,
)
from facecloak.photos.webp import WebpEncoding
from facecloak.photos.webp_quality import lossy_quality


def changed(pixels: np.ndarray) -> np.ndarray:
    out = pixels.copy()
    out[10:50, 20:60] = np.clip(out[10:50, 20:60].astype(int) + 9, 0, 255)
    return out


def chunk_kinds(data: bytes) -> list[bytes]:
    kinds, at = [], 12
    while at < len(data):
        kinds.append(data[at : at + 4])
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return kinds


def test_lossless_stays_lossless(save, scene) -> None:
    photo = decode_photo(save(scene, "WEBP", lossless=True))
    assert np.array_equal(photo.srgb_u8, scene)
    data = encode_photo(photo, changed(scene))
    assert chunk_kinds(data) == [b"VP8L"]
    assert np.array_equal(decode_photo(data).srgb_u8, changed(scene))


@pytest.mark.parametrize("quality", [10, 30, 50, 75, 85, 95, 100])
def test_quality_is_estimated(save, scene, quality: int) -> None:
    data = save(scene, "WEBP", quality=quality)
    photo = decode_photo(data)
    assert isinstance(photo.encoding, WebpEncoding)
    assert photo.encoding.quality is not None
    assert abs(photo.encoding.quality - quality) <= 6
    after = encode_photo(photo, changed(photo.srgb_u8))
    assert chunk_kinds(after) == [b"VP8 "]
    assert 0.75 < len(after) / len(data) < 1.5


def test_metadata_and_alpha_are_kept(save, scene, exif) -> None:
    image = Image.fromarray(scene).convert("RGBA")
    image.putalpha(Image.fromarray((np.arange(90 * 130) % 256).astype(np.uint8).reshape(90, 130)))
    profile = bytes(range(256)) * 3
    data = save(image, "WEBP", quality=90, exif=exif(6), icc_profile=profile, xmp=b"<x:xmpmeta/>", exact=True)
    photo = decode_photo(data)
    assert (photo.width, photo.height, photo.orientation) == (90, 130, 6)
    after = encode_photo(photo, changed(photo.srgb_u8))
    with Image.open(io.BytesIO(after)) as back, Image.open(io.BytesIO(data)) as image:
        for name in ("exif", "icc_profile", "xmp"):
            assert back.info[name] == image.info[name], name
        assert np.array_equal(np.array(back.getchannel("A")), np.array(image.getchannel("A")))


def test_colors_under_full_transparency_stay(save, scene) -> None:
    image = Image.fromarray(np.dstack([scene, np.zeros((90, 130), np.uint8)]))
    photo = decode_photo(save(image, "WEBP", lossless=True, exact=True))
    data = encode_photo(photo, changed(photo.srgb_u8))
    assert np.array_equal(decode_photo(data).srgb_u8, changed(scene))


def test_animation_is_refused_and_one_frame_is_none(save, scene) -> None:
    first, second = Image.fromarray(scene), Image.fromarray(255 - scene)
    with pytest.raises(AnimatedPhoto) as refusal:
        decode_photo(save(first, "WEBP", save_all=True, append_images=[second], duration=100))
    assert refusal.value.metadata["frames"] == "2"


def as_animation(still: bytes, width: int, height: int) -> bytes:
    """A still's picture as the only frame of an animation (RFC 9649 section 2.7.1.1)."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    frame = b"\0" * 6 + size + (100).to_bytes(3, "little") + b"\0" + still[12:]
    body = b"WEBP"
    for kind, payload in ((b"VP8X", b"\2\0\0\0" + size), (b"ANIM", b"\0" * 6), (b"ANMF", frame)):
        body += kind + len(payload).to_bytes(4, "little") + payload + b"\0" * (len(payload) % 2)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def test_an_animation_of_one_frame_is_a_still(save, scene) -> None:
    still = save(scene, "WEBP", lossless=True)
    photo = decode_photo(as_animation(still, 130, 90))
    assert np.array_equal(photo.srgb_u8, scene)
    assert chunk_kinds(encode_photo(photo, changed(scene))) == [b"VP8L"]


@pytest.mark.parametrize("lossless", [False, True])
def test_every_cut_is_found(save, scene, lossless: bool) -> None:
    data = save(scene, "WEBP", lossless=lossless)
    for length in [*range(12, len(data), 211), len(data) - 1]:
        with pytest.raises(PhotoTruncated):
            decode_photo(data[:length])
        shorter = data[:4] + (length - 8).to_bytes(4, "little") + data[8:length]
        with pytest.raises((PhotoTruncated, PhotoDamaged)):
            decode_photo(shorter)


def test_the_size_is_checked_before_decoding(save, scene) -> None:
    for options in ({"quality": 80}, {"lossless": True}, {"quality": 80, "xmp": b"x"}):
        with pytest.raises(PhotoTooLarge):
            decode_photo(save(scene, "WEBP", **options), limits=PhotoLimits(max_side=129))


def test_a_picture_larger_than_its_canvas_is_refused(save, scene) -> None:
    data = bytearray(save(scene, "WEBP", quality=80, xmp=b"x"))
    assert data[12:16] == b"VP8X"
    data[24:27] = (9).to_bytes(3, "little")
    with pytest.raises(PhotoDamaged):
        decode_photo(bytes(data))


@pytest.mark.parametrize("data", [b"", b"\0" * 11, b"\x30\1\0\x9d\1\2" + b"\0" * 10])
def test_no_frame_header(data: bytes) -> None:
    with pytest.raises(PhotoDamaged):
        lossy_quality(data)
