from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from facecloak.photos import (
    AnimatedPhoto,
    PhotoDamaged,
    PhotoTooLarge,
    PhotoTruncated,
    PixelsMismatch,
    UnsupportedPhoto,
    decode_photo,
    encode_photo,
)

MAGIC = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def header(width: int, height: int, depth: int = 8, color: int = 2, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace))


def png(head: bytes, rows: bytes, *between: bytes) -> bytes:
    return MAGIC + head + b"".join(between) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunks_of(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def changed(pixels: np.ndarray) -> np.ndarray:
    out = pixels.copy()
    half = out[: out.shape[0] // 2]
    half[:] = np.clip(half.astype(int) + 9, 0, 255)
    return out


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_pixels_and_alpha_come_back_exactly(save, scene, mode: str) -> None:
    image = Image.fromarray(scene).convert(mode)
    if "A" in mode:
        image.putalpha(Image.fromarray((np.arange(90 * 130) % 256).astype(np.uint8).reshape(90, 130)))
    photo = decode_photo(save(image, "PNG"))
    assert np.array_equal(photo.srgb_u8, np.array(image.convert("RGB")))
    target = changed(photo.srgb_u8)
    with Image.open(io.BytesIO(encode_photo(photo, target))) as back:
        assert back.mode == mode
        assert np.array_equal(np.array(back.convert("RGB")), target)
        if "A" in mode:
            assert np.array_equal(np.array(back.getchannel("A")), np.array(image.getchannel("A")))


@pytest.mark.parametrize(("depth", "mode"), [(1, "1"), (8, "P")])
def test_narrow_pixels_come_back_wider(save, scene, depth: int, mode: str) -> None:
    image = Image.fromarray(scene).convert(mode)
    photo = decode_photo(save(image, "PNG"))
    assert np.array_equal(photo.srgb_u8, np.array(image.convert("RGB")))
    target = changed(photo.srgb_u8)
    with Image.open(io.BytesIO(encode_photo(photo, target))) as back:
        assert back.mode == ("L" if mode == "1" else "RGB")
        assert np.array_equal(np.array(back.convert("RGB")), target)


def test_two_and_four_bit_gray() -> None:
    for depth, row in ((2, b"\0\x1b"), (4, b"\0\x05\xaf")):
        photo = decode_photo(png(header(4, 1, depth, 0), row))
        top = 2**depth - 1
        expected = [0, 1, 2, 3] if depth == 2 else [0, 5, 10, 15]
        assert photo.srgb_u8[0, :, 0].tolist() == [value * 255 // top for value in expected]


def test_a_transparent_color_becomes_alpha(save, scene) -> None:
    data = save(Image.fromarray(scene).convert("P"), "PNG", transparency=3)
    photo = decode_photo(data)
    after = encode_photo(photo, changed(photo.srgb_u8))
    with Image.open(io.BytesIO(data)) as image, Image.open(io.BytesIO(after)) as back:
        assert back.mode == "RGBA"
        assert np.array_equal(np.array(back.getchannel("A")), np.array(image.convert("RGBA").getchannel("A")))
        assert "transparency" not in back.info


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_stay_sixteen_bits(channels: int) -> None:
    rng = np.random.default_rng(1)
    samples = rng.integers(0, 65536, (20, 30, channels)).astype(np.uint16)
    data = cv2.imencode(".png", samples)[1].tobytes()
    photo = decode_photo(data)
    shown = photo.srgb_u8[:, :, 0] if channels == 1 else photo.srgb_u8[:, :, ::-1]
    stored = samples[:, :, 0] if channels == 1 else samples[:, :, :3]
    assert np.array_equal(shown, (stored.astype(np.uint32) + 128) // 257)

    target = photo.srgb_u8.copy()
    target[:10] = np.clip(target[:10].astype(int) + 3, 0, 255)
    back = cv2.imdecode(np.frombuffer(encode_photo(photo, target), np.uint8), cv2.IMREAD_UNCHANGED)
    back = back.reshape(samples.shape)
    assert back.dtype == np.uint16
    # Where nothing was changed, the low byte is as it was; elsewhere a level of 255 is 257 of 65,535.
    assert np.array_equal(back[10:], samples[10:])
    color = slice(0, min(channels, 3))
    step = back[:10, :, color].astype(int) - samples[:10, :, color]
    assert ((step == 3 * 257) | (back[:10, :, color] == 65535) | (samples[:10, :, color] > 65535 - 3 * 257)).all()
    if channels == 4:
        assert np.array_equal(back[:, :, 3], samples[:, :, 3])
    assert np.array_equal(decode_photo(encode_photo(photo, target)).srgb_u8, target)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_are_changed_at_sixteen_bits(channels: int, orientation: int) -> None:
    rng = np.random.default_rng(2)
    stored = rng.integers(0, 65536, (20, 30, channels)).astype(">u2")
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    exif = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in stored)
    photo = decode_photo(png(header(30, 20, 16, kind), rows, chunk(b"eXIf", exif)))
    samples = photo.samples_u16
    assert samples is not None
    assert samples.shape == (*photo.srgb_u8.shape[:2], channels)
    assert encode_photo(photo, samples) == photo.data
    changed = samples.copy()
    changed[2:9, 3:12, 0] ^= 0x0101
    back = decode_photo(encode_photo(photo, changed))
    assert back.orientation == orientation
    assert np.array_equal(back.samples_u16, changed)
    with pytest.raises(PixelsMismatch):
        encode_photo(photo, changed[:, :-1])


def test_eight_bits_have_no_sixteen() -> None:
    photo = decode_photo(png(header(2, 4, 8, 0), b"\0\1\2" * 4))
    assert photo.samples_u16 is None
    with pytest.raises(PixelsMismatch):
        encode_photo(photo, np.zeros((4, 2, 3), np.uint16))


def samples_of(data: bytes) -> tuple[int, int, list[int]]:
    """Depth, color type and all samples of a PNG, unfiltered here by the standard."""
    (head,) = [payload for kind, payload in chunks_of(data) if kind == b"IHDR"]
    width, height, depth, color = struct.unpack(">IIBB", head[:10])
    step = {0: 1, 2: 3, 4: 2, 6: 4}[color] * depth // 8
    rows = zlib.decompress(b"".join(payload for kind, payload in chunks_of(data) if kind == b"IDAT"))
    above, out = [0] * width * step, []
    for y in range(height):
        kind, *row = rows[y * (1 + width * step) : (y + 1) * (1 + width * step)]
        for x in range(width * step):
            left = row[x - step] if x >= step else 0
            corner = above[x - step] if x >= step else 0
            nearest = min((left, above[x], corner), key=lambda value: abs(left + above[x] - corner - value))
            row[x] = (row[x] + (0, left, above[x], (left + above[x]) // 2, nearest)[kind]) % 256
        above = row
        out += row
    if depth == 16:
        out = [256 * high + low for high, low in zip(out[::2], out[1::2], strict=True)]
    return depth, color, out


def test_sixteen_bit_gray_with_alpha_stays_so() -> None:
    rows = b"".join(b"\0" + struct.pack(">4H", 1000 * y, 65535, 30000, 777) for y in range(4))
    photo = decode_photo(png(header(2, 4, 16, 4), rows))
    assert photo.srgb_u8[:, 0, 0].tolist() == [(1000 * y + 128) // 257 for y in range(4)]
    target = photo.srgb_u8.copy()
    target[:2] += 3
    depth, color, samples = samples_of(encode_photo(photo, target))
    assert (depth, color) == (16, 4)
    levels = [[1000 * y + (3 * 257 if y < 2 else 0), 65535, 30000 + (3 * 257 if y < 2 else 0), 777] for y in range(4)]
    assert samples == [value for row in levels for value in row]


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize(
    ("depth", "color", "row", "key", "expected"),
    [
        (1, 0, b"\x40", [1], (8, 4, [0, 255, 255, 0])),
        (2, 0, b"\xc0", [3], (8, 4, [255, 0, 0, 255])),
        (4, 0, b"\x5a", [5], (8, 4, [85, 0, 170, 255])),
        (8, 0, b"\x07\x09", [9], (8, 4, [7, 255, 9, 0])),
        (16, 0, b"\x01\x07\x01\x08", [0x107], (16, 4, [0x107, 0, 0x108, 65535])),
        (8, 2, b"\1\2\3\1\2\4", [1, 2, 3], (8, 6, [1, 2, 3, 0, 1, 2, 4, 255])),
        (16, 2, bytes(range(12)), [1, 0x203, 0x405], (16, 6, [1, 0x203, 0x405, 0, 0x607, 0x809, 0xA0B, 65535])),
    ],
    ids=["gray1", "gray2", "gray4", "gray8", "gray16", "rgb8", "rgb16"],
)  # fmt: skip
def test_a_transparent_color_of_any_depth_becomes_alpha_and_gray_stays_gray(
    depth: int, color: int, row: bytes, key: list[int], expected: tuple[int, int, list[int]], interlace: int
) -> None:
    """Two pixels, one of the transparent color; below them a row that changes."""
    width, blank = 2, bytes(len(row))
    if interlace:
        # Adam7's passes of a picture of 2 x 2: the first pixel, the second one, and the second row.
        bits = len(row) * 8 // 2 if depth >= 8 else depth
        line = int.from_bytes(row, "big") >> (len(row) * 8 - 2 * bits)
        first, second = line >> bits, line & ((1 << bits) - 1)
        size = max(bits // 8, 1)
        shift = 8 - bits if bits < 8 else 0
        parts = ((first << shift).to_bytes(size, "big"), (second << shift).to_bytes(size, "big"), blank)
        rows = b"".join(b"\0" + part for part in parts)
    else:
        rows = b"\0" + row + b"\0" + blank
    data = png(header(width, 2, depth, color, interlace), rows, chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)))
    photo = decode_photo(data)
    target = photo.srgb_u8.copy()
    target[1] += 9
    after = encode_photo(photo, target)
    got_depth, got_color, samples = samples_of(after)
    assert (got_depth, got_color, samples[: len(expected[2])]) == expected
    alpha = {4: 2, 6: 4}[got_color]
    level = 9 * (257 if got_depth == 16 else 1)
    assert samples[len(expected[2]) :] == ([level] * (alpha - 1) + [255 if got_depth == 8 else 65535]) * 2
    assert b"tRNS" not in after


def test_transparency_that_is_not_of_the_pictures_kind_is_passed_over() -> None:
    data = png(header(1, 1), b"\0\1\2\3", chunk(b"tRNS", b"\0\1"))
    photo = decode_photo(data)
    assert samples_of(encode_photo(photo, photo.srgb_u8 + 1))[1:] == (2, [2, 3, 4])


def test_sixteen_bit_data_that_inflates_to_more_than_the_size_needs_is_refused_at_once() -> None:
    bomb = zlib.compress(b"\0" * 100_000_000, 9)
    data = (
        MAGIC + header(8, 8, 16) + chunk(b"IDAT", bomb[:50_000]) + chunk(b"IDAT", bomb[50_000:]) + chunk(b"IEND", b"")
    )
    start = time.process_time()
    with pytest.raises(PhotoDamaged):
        decode_photo(data)
    assert time.process_time() - start < 0.05


@pytest.mark.parametrize("depth", [8, 16])
def test_a_little_too_much_picture_data_is_passed_over(depth: int) -> None:
    data = png(header(2, 2, depth), b"\0" * (2 * (1 + 6 * depth // 8)) + b"\0" * 500)
    assert decode_photo(data).srgb_u8.shape == (2, 2, 3)


def test_interlaced_is_read() -> None:
    """Adam7 (PNG section 8.2), written here by hand since no library at hand writes it."""
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b"".join(b"\0" + row.tobytes() for y, x, dy, dx in passes for row in gray[y::dy, x::dx])
    photo = decode_photo(png(header(8, 8, 8, 0, interlace=1), rows))
    assert np.array_equal(photo.srgb_u8[:, :, 0], gray)
    assert np.array_equal(decode_photo(encode_photo(photo, changed(photo.srgb_u8))).srgb_u8, changed(photo.srgb_u8))


def test_chunks_are_kept_in_place(save, scene, exif) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "somebody")
    text.add_text("Big", "x" * 1000, zip=True)
    text.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta/>")
    data = save(scene, "PNG", pnginfo=text, icc_profile=bytes(range(256)), dpi=(300, 300), exif=exif(3))
    data = data[:-12] + chunk(b"tEXt", b"After\0the picture") + data[-12:]
    photo = decode_photo(data)
    after = encode_photo(photo, changed(photo.srgb_u8))
    picture = (b"IHDR", b"IDAT", b"IEND")
    assert [c for c in chunks_of(after) if c[0] not in picture] == [c for c in chunks_of(data) if c[0] not in picture]
    kinds = [kind for kind, _ in chunks_of(after)]
    assert kinds[0] == b"IHDR"
    assert kinds[-2:] == [b"tEXt", b"IEND"]
    assert kinds.index(b"iCCP") < kinds.index(b"IDAT")


def test_chunks_about_samples_go_with_the_samples_kind(save, scene) -> None:
    data = save(Image.fromarray(scene).convert("P"), "PNG")
    at = data.index(b"IDAT") - 4
    photo = decode_photo(data[:at] + chunk(b"bKGD", b"\1") + chunk(b"tEXt", b"a\0b") + data[at:])
    kinds = {kind for kind, _ in chunks_of(encode_photo(photo, changed(photo.srgb_u8)))}
    assert kinds == {b"IHDR", b"tEXt", b"IDAT", b"IEND"}


def test_animation_is_refused_and_one_frame_is_none(save, scene) -> None:
    frames = [Image.fromarray(scene), Image.fromarray(255 - scene)]
    with pytest.raises(AnimatedPhoto) as refusal:
        decode_photo(save(frames[0], "PNG", save_all=True, append_images=frames[1:]))
    assert refusal.value.metadata["frames"] == "2"
    still = save(scene, "PNG")
    at = still.index(b"IDAT") - 4
    photo = decode_photo(still[:at] + chunk(b"acTL", struct.pack(">II", 1, 0)) + still[at:])
    assert b"acTL" not in encode_photo(photo, changed(photo.srgb_u8))


def test_a_hundred_megapixels_in_a_kilobyte() -> None:
    row = zlib.compress(b"\0" * (10_000 // 8 + 1) * 10_000, 9)
    data = MAGIC + header(10_000, 10_000, 1, 0) + chunk(b"IDAT", row) + chunk(b"IEND", b"")
    tracemalloc.start()
    try:
        with pytest.raises(PhotoTooLarge) as refusal:
            decode_photo(data)
        assert tracemalloc.get_traced_memory()[1] < 10 * len(data) + 100_000
    finally:
        tracemalloc.stop()
    assert refusal.value.metadata == {
        "limit": "max_pixels", "max_pixels": str(64 * 2**20), "width": "10000", "height": "10000",
    }  # fmt: skip


def test_a_text_bomb_is_not_unpacked() -> None:
    bomb = zlib.compress(b"\0" * 200_000_000, 9)
    data = png(header(1, 1), b"\0\1\2\3", chunk(b"zTXt", b"a\0\0" + bomb), chunk(b"iCCP", b"a\0\0" + bomb))
    tracemalloc.start()
    try:
        photo = decode_photo(data)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(data)
    finally:
        tracemalloc.stop()
    assert bomb in encode_photo(photo, changed(photo.srgb_u8))  # the profile's


def test_every_cut_is_found(save, scene) -> None:
    data = save(scene, "PNG")
    for length in [*range(8, len(data), 501), len(data) - 1]:
        with pytest.raises((PhotoTruncated, PhotoDamaged)):
            decode_photo(data[:length])


def test_every_changed_byte_of_the_picture_is_found(save, scene) -> None:
    data = save(scene[:20, :20], "PNG")
    for at in range(8, len(data), 7):
        damaged = data[:at] + bytes([data[at] ^ 64]) + data[at + 1 :]
        with pytest.raises((PhotoTruncated, PhotoDamaged, UnsupportedPhoto, PhotoTooLarge)):
            decode_photo(damaged)


@pytest.mark.parametrize(
    "data",
    [
        MAGIC,
        MAGIC + chunk(b"IEND", b""),
        MAGIC + chunk(b"IDAT", b"") + chunk(b"IEND", b""),
        MAGIC + header(2, 2) + chunk(b"IEND", b""),
        png(header(0, 2), b""),
        png(header(2, 2, 7), b"\0" * 20),
        png(header(2, 2, 8, 5), b"\0" * 20),
        png(header(2, 2, 8, 3), b"\0\0\0" * 2),
        png(header(2, 2), b"\0" * 5),
        png(header(2, 2, 16), b"\0" * 5),
        png(header(2, 2), b"\x09" + b"\0" * 20),
    ],
    ids=[
        "magic",
        "no-header",
        "no-ihdr",
        "no-idat",
        "no-size",
        "depth",
        "color",
        "no-palette",
        "short",
        "short-16",
        "filter",
    ],
)
def test_broken_structure(data: bytes) -> None:
    with pytest.raises((PhotoDamaged, PhotoTruncated)):
        decode_photo(data)
