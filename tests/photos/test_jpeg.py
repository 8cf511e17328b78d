from __future__ import annotations

import io
import re
import time

import numpy as np
import pytest
from PIL import Image, ImageFile, JpegImagePlugin

from facecloak.photos import (
    DEFAULT_LIMITS,
    PhotoDamaged,
    PhotoFormat,
    PhotoLimits,
    PhotoTooLarge,
    PhotoTruncated,
    UnsupportedColorMode,
    UnsupportedPhoto,
    decode_photo,
    encode_photo,
    encode_reported,
)
from facecloak.photos.jpeg_structure import JpegStructure, read_structure


def structure(data: bytes) -> JpegStructure:
    return read_structure(data, DEFAULT_LIMITS)


def sampling(found: JpegStructure) -> list[tuple[int, int]]:
    return [(component.horizontal, component.vertical) for component in found.components]


def changed(pixels: np.ndarray) -> np.ndarray:
    out = pixels.copy()
    out[10:50, 20:60] = np.clip(out[10:50, 20:60].astype(int) + 9, 0, 255)
    return out


def cloaked(data: bytes) -> bytes:
    photo = decode_photo(data)
    return encode_photo(photo, changed(photo.srgb_u8))


def segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [30, 85, 97])
def test_the_encoding_is_kept(save, scene, quality: int, subsampling: str, progressive: bool) -> None:
    data = save(scene, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
    before, after = structure(data), structure(cloaked(data))
    assert after.tables == before.tables
    assert sampling(after) == sampling(before)
    assert after.progressive is progressive
    assert (after.width, after.height) == (before.width, before.height)


@pytest.mark.parametrize("optimize", [False, True])
def test_huffman_tables_are_optimized_where_they_were(save, scene, optimize: bool) -> None:
    before = save(scene, "JPEG", optimize=optimize)
    standard = structure(save(scene, "JPEG")).huffman_tables
    assert (structure(cloaked(before)).huffman_tables == standard) is not optimize


def test_restart_markers_are_kept(save, scene) -> None:
    data = save(scene, "JPEG", restart_marker_blocks=5)
    assert structure(data).restart_interval == 5
    assert structure(cloaked(data)).restart_interval == 5


def test_pixels_survive_as_well_as_the_quality_allows(save, scene) -> None:
    photo = decode_photo(save(scene, "JPEG", quality=95, subsampling="4:4:4"))
    target = changed(photo.srgb_u8)
    error = np.abs(decode_photo(encode_photo(photo, target)).srgb_u8.astype(int) - target)
    # Measured 0.5 / 6: the second quantization of the same blocks.
    assert error.mean() < 1
    assert error.max() <= 12


def test_unchanged_pixels_give_the_very_same_bytes(save, scene) -> None:
    data = save(scene, "JPEG", quality=60) + b"trailer"
    photo = decode_photo(data)
    assert encode_photo(photo, photo.srgb_u8) is data
    assert encode_photo(photo, photo.srgb_u8.copy()) == data


def test_metadata_is_kept_byte_for_byte(save, scene, exif) -> None:
    plain = save(scene, "JPEG", exif=exif(6), icc_profile=bytes(range(256)) * 400, comment=b"hello", dpi=(300, 300))
    extra = (
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>")
        + segment(0xE2, b"whose\0")
        + segment(0xED, b"Photoshop 3.0\0x")
        + segment(0xEB, b"whatever")
    )
    data = plain[:2] + extra + plain[2:]
    before, after = structure(data).metadata, structure(cloaked(data)).metadata
    assert len(before) == 4 + 1 + 1 + 2 + 1
    assert [s.data for s in after] == [s.data for s in before]
    with Image.open(io.BytesIO(cloaked(plain))) as image:
        assert image.info["icc_profile"] == bytes(range(256)) * 400
        assert image.info["exif"] == exif(6)
        assert image.info["dpi"] == (300, 300)


def test_no_jfif_header_is_added(save, scene, exif) -> None:
    data = save(scene, "JPEG", exif=exif(1))
    bare = data[:2] + data[2 + 18 :]
    assert [s.marker for s in structure(bare).metadata] == [0xE1]
    assert [s.marker for s in structure(cloaked(bare)).metadata] == [0xE1]


def test_further_pictures_are_dropped_with_their_index(save, scene) -> None:
    """They show the same people, and nobody in them was cloaked."""
    plain = save(scene, "JPEG")
    data = plain[:2] + segment(0xE2, b"MPF\0MM\0*") + plain[2:] + plain
    after = cloaked(data)
    assert structure(after).end == len(after)
    assert b"MPF\0" not in after


def test_a_gray_photo_stays_gray(save, scene) -> None:
    gray = np.array(Image.fromarray(scene).convert("L"))
    photo = decode_photo(save(gray, "JPEG", quality=90))
    assert (photo.srgb_u8[:, :, 0] == photo.srgb_u8[:, :, 2]).all()
    target = photo.srgb_u8.astype(int)
    target[20:60, 20:60] += np.array([10, -4, 0])  # a luma of 0.64
    target = np.clip(target, 0, 255).astype(np.uint8)
    data = encode_photo(photo, target)
    assert len(structure(data).components) == 1
    step = decode_photo(data).srgb_u8[25:55, 25:55, 0].astype(float) - photo.srgb_u8[25:55, 25:55, 0]
    assert 0 < step.mean() < 1.5


def test_a_jpeg_of_red_green_and_blue(save, scene) -> None:
    data = save(scene, "JPEG", keep_rgb=True, subsampling="4:4:4", quality=95)
    assert structure(data).rgb
    after = cloaked(data)
    assert structure(after).rgb
    assert np.abs(decode_photo(after).srgb_u8.astype(int) - changed(decode_photo(data).srgb_u8)).max() < 20


def resample(data: bytes, factors: tuple[int, int]) -> bytes:
    """Declare other luma sampling factors: the right number of blocks no longer follows, so only the structure is of
    use."""
    at = data.index(b"\xff\xc0") + 11
    return data[:at] + bytes([factors[0] << 4 | factors[1]]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("factors", "expected"),
    [((1, 2), "4:4:4"), ((4, 1), "4:2:2"), ((2, 2), "4:2:0"), ((2, 1), "4:2:2"), ((4, 2), "4:2:0")],
)
def test_unwritable_sampling_becomes_the_next_finer(save, scene, factors: tuple[int, int], expected: str) -> None:
    from facecloak.photos.jpeg_encoding import _subsampling

    found = structure(resample(save(scene, "JPEG", subsampling="4:4:4"), factors))
    assert _subsampling(found) == expected


def test_noise_at_full_quality_fits(save, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3)).astype(np.uint8)
    tables = [[1] * 64] * 2
    for progressive in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(ImageFile, "MAXBLOCK", 2**20)
            data = save(noise, "JPEG", qtables=tables, subsampling="4:4:4", progressive=progressive)
        after = cloaked(data)
        assert decode_photo(after).srgb_u8.shape == noise.shape
        assert structure(after).tables == structure(data).tables


@pytest.mark.parametrize("progressive", [False, True])
def test_every_cut_is_found(save, scene, progressive: bool) -> None:
    data = save(scene, "JPEG", quality=80, progressive=progressive)
    for length in [*range(3, len(data) - 2, 97), *range(len(data) - 12, len(data) - 2)]:
        with pytest.raises(PhotoTruncated):
            decode_photo(data[:length])


@pytest.mark.parametrize("kind", ["baseline", "progressive", "gray", "restarts"])
def test_a_missing_end_loses_nothing(save, scene, kind: str) -> None:
    """Viewers show such a file whole. Half a marker, and padding, are no end either."""
    options = {"progressive": {"progressive": True}, "restarts": {"restart_marker_blocks": 3}}.get(kind, {})
    pixels = np.array(Image.fromarray(scene).convert("L")) if kind == "gray" else scene
    data = save(pixels, "JPEG", quality=80, **options)
    whole = decode_photo(data)
    for cut in (data[:-2], data[:-1], data[:-1] + b"\xff\xff", data[:-2] + b"\0" * 5):
        photo = decode_photo(cut)
        assert np.array_equal(photo.srgb_u8, whole.srgb_u8)
        after = encode_reported(photo, changed(photo.srgb_u8))
        assert after.data.endswith(b"\xff\xd9")
        assert after.dropped == ()
        assert encode_photo(photo, photo.srgb_u8) is cut


def test_a_progressive_photo_without_its_last_scans_is_truncated(save, scene) -> None:
    """Decoders show a coarser picture and say nothing."""
    data = save(scene, "JPEG", quality=80, progressive=True)
    ends = [at for at in range(len(data)) if data[at : at + 2] in (b"\xff\xc4", b"\xff\xda")]
    for end in ends[3:]:
        with pytest.raises(PhotoTruncated):
            decode_photo(data[:end])


@pytest.mark.parametrize("stray", [b"\0", b"\0" * 7, b"abc", b"\xff\0\xff\0", b"\xff" * 999, b"x" * 4000])
def test_a_few_stray_bytes_between_segments_lose_nothing(save, scene, exif, stray: bytes) -> None:
    data = save(scene, "JPEG", quality=80, exif=exif(6), comment=b"here")
    whole = decode_photo(data)
    for marker in (b"\xff\xe1", b"\xff\xfe", b"\xff\xdb", b"\xff\xc0", b"\xff\xc4", b"\xff\xda"):
        at = data.index(marker)
        if at == 2 and stray[0] != 0xFF:
            continue  # what does not begin like a JPEG is none
        photo = decode_photo(data[:at] + stray + data[at:])
        assert np.array_equal(photo.srgb_u8, whole.srgb_u8)
        assert photo.orientation == 6
        assert stray * 2 not in encode_photo(photo, changed(photo.srgb_u8)) or len(stray) < 4


def test_much_between_segments_is_damage(save, scene) -> None:
    data = save(scene, "JPEG")
    at = data.index(b"\xff\xdb")
    with pytest.raises(PhotoDamaged):
        decode_photo(data[:at] + b"x" * 5000 + data[at:])


def test_fill_is_passed_over_in_no_time(save, scene) -> None:
    data = save(scene, "JPEG")
    at = data.index(b"\xff\xdb")
    start = time.process_time()
    photo = decode_photo(data[:at] + b"\xff" * (31 * 2**20) + data[at:])
    assert time.process_time() - start < 2
    assert np.array_equal(photo.srgb_u8, decode_photo(data).srgb_u8)


def test_a_cut_photo_with_an_end_marker_is_not_filled_with_gray(save, scene) -> None:
    data = save(scene, "JPEG", quality=80)
    with pytest.raises(PhotoDamaged):
        decode_photo(data[: len(data) * 3 // 4] + b"\xff\xd9")


def test_overwritten_picture_data_is_found(save, scene) -> None:
    data = save(scene, "JPEG", quality=80)
    middle = len(data) // 2
    with pytest.raises(PhotoDamaged):
        decode_photo(data[:middle] + b"\xff\x00" * 150 + data[middle + 300 :])


def test_camera_habits_are_no_damage(save, scene) -> None:
    """Padding in front of the end marker, fill bytes between segments."""
    data = save(scene, "JPEG")
    padded = data[:2] + b"\xff\xff\xff" + data[2:-2] + b"\0" * 16 + data[-2:] + b"\0\0"
    assert np.array_equal(decode_photo(padded).srgb_u8, decode_photo(data).srgb_u8)


def test_inks_are_refused(save, scene) -> None:
    with pytest.raises(UnsupportedColorMode, match="to sRGB and save it as an RGB JPEG"):
        decode_photo(save(Image.fromarray(scene).convert("CMYK"), "JPEG"))


def with_frame(data: bytes, *, marker: int = 0xC0, precision: int = 8, width: int | None = None) -> bytes:
    at = data.index(b"\xff\xc0")
    frame = bytearray(data[at : at + 10])
    frame[1], frame[4] = marker, precision
    if width is not None:
        frame[7:9] = width.to_bytes(2, "big")
    return data[:at] + bytes(frame) + data[at + 10 :]


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC9, 0xCA, 0xCF])
def test_unusual_processes_are_refused(save, scene, marker: int) -> None:
    with pytest.raises(UnsupportedPhoto, match="save it as a JPEG of 8 bits, gray or RGB, baseline or progressive"):
        decode_photo(with_frame(save(scene, "JPEG"), marker=marker))


def test_twelve_bits_are_refused(save, scene) -> None:
    with pytest.raises(UnsupportedColorMode) as refusal:
        decode_photo(with_frame(save(scene, "JPEG"), marker=0xC1, precision=12))
    assert refusal.value.metadata["bits"] == "12"


def test_a_frame_of_no_size_is_refused(save, scene) -> None:
    with pytest.raises(UnsupportedPhoto):
        decode_photo(with_frame(save(scene, "JPEG"), width=0))


def test_the_size_is_checked_before_decoding(save, scene) -> None:
    with pytest.raises(PhotoTooLarge) as refusal:
        decode_photo(with_frame(save(scene, "JPEG"), width=65_000))
    assert refusal.value.metadata["limit"] == "max_side"


def test_scans_are_bounded(save, scene) -> None:
    """Thousands of empty scans are a small file that takes minutes."""
    data = save(scene, "JPEG", progressive=True)
    first = data.index(b"\xff\xda")
    second = data.index(b"\xff\xda", first + 2)
    with pytest.raises(PhotoTooLarge) as refusal:
        decode_photo(data[:second] + data[first:second] * 200 + data[second:])
    assert refusal.value.metadata["limit"] == "max_scans"


def test_as_many_scans_as_optimizers_write_are_taken(save, scene) -> None:
    data = save(scene, "JPEG", progressive=True)
    starts = [found.start() for found in re.finditer(b"\xff\xda", data)]
    last = data[starts[-1] : -2]
    for count, is_taken in ((64, True), (65, False)):
        more = data[:-2] + last * (count - len(starts)) + data[-2:]
        if is_taken:
            assert decode_photo(more).srgb_u8.shape == decode_photo(data).srgb_u8.shape
        else:
            with pytest.raises(PhotoTooLarge):
                decode_photo(more)


def test_scans_are_bounded_by_the_pixels_that_they_pass_over(save, scene) -> None:
    data = save(scene, "JPEG", progressive=True)
    with pytest.raises(PhotoTooLarge) as refusal:
        decode_photo(data, limits=PhotoLimits(max_scanned_pixels=5 * 90 * 130))
    assert refusal.value.metadata["limit"] == "max_scanned_pixels"


def test_segments_are_bounded(save, scene) -> None:
    data = save(scene, "JPEG")
    with pytest.raises(PhotoTooLarge) as refusal:
        decode_photo(data[:2] + segment(0xFE, b"") * 20_000 + data[2:])
    assert refusal.value.metadata["limit"] == "max_segments"


def test_a_missing_quantization_table(save, scene) -> None:
    data = save(scene, "JPEG")
    at = data.index(b"\xff\xdb")
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    with pytest.raises(PhotoDamaged):
        decode_photo(data[:at] + data[end:])


def test_the_own_limits_hold(save, scene) -> None:
    data = save(scene, "JPEG")
    assert decode_photo(data, limits=PhotoLimits(max_side=130)).format is PhotoFormat.JPEG
    for limits in (
        PhotoLimits(max_side=129),
        PhotoLimits(max_pixels=90 * 130 - 1),
        PhotoLimits(max_bytes=len(data) - 1),
    ):
        with pytest.raises(PhotoTooLarge):
            decode_photo(data, limits=limits)


def test_sampling_reads_as_pillow_reads_it(save, scene) -> None:
    data = cloaked(save(scene, "JPEG", subsampling="4:2:2"))
    with Image.open(io.BytesIO(data)) as image:
        assert JpegImagePlugin.get_sampling(image) == 1
