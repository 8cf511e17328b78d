"""What stands behind a JPEG's picture: kept truly, or gone with all that announces it."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
import simplejpeg

from benchmarks.mutations import mutated
from facecloak.photos import DEFAULT_LIMITS, PhotoLimits, PhotoRefused, decode_photo, encode_reported
from facecloak.photos.companions.trailer import read_trailer
from facecloak.photos.file_tag import with_tag
from facecloak.photos.jpeg_structure import read_structure
from facecloak.photos.native_splice import is_available
from facecloak.photos.splice import JpegSplice
from tests.photos import companion_files as files
from tests.photos.exiftool import tags_of
from tests.photos.test_splice import Spot

KEEP_MOTION = PhotoLimits(keep_motion=True)
FACE = (150, 20, 330, 240)


@pytest.fixture(scope="module")
def photo_pixels(astronaut_srgb_u8: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(astronaut_srgb_u8[:384])


def changed(
    data: bytes, *, limits: PhotoLimits = DEFAULT_LIMITS, tag: bytes = b"a tag"
) -> tuple[bytes, tuple[str, ...]]:
    """The file with another face, tagged, and what was dropped."""
    photo = decode_photo(data, limits=limits)
    pixels = photo.srgb_u8.copy()
    left, top, right, bottom = FACE
    pixels[top:bottom, left:right] = np.clip(pixels[top:bottom, left:right].astype(int) + 9, 0, 255)
    out = encode_reported(photo, pixels, faces=[FACE])
    return with_tag(out.data, tag), out.dropped


def parts_of(data: bytes) -> list[bytes]:
    """The JPEGs in a file, one behind the other, and what follows them."""
    parts, rest = [], data
    while rest.startswith(b"\xff\xd8\xff"):
        end = read_structure(rest, PhotoLimits()).end
        parts.append(rest[:end])
        rest = rest[end:]
    return [*parts, rest]


def listed(data: bytes) -> list[tuple[int, int]]:
    """(begin, size) of the pictures by the file's index."""
    (tags,) = tags_of([data], ".jpg")
    pictures = sorted(
        {name.split(":")[0] + ":" + name.split(":")[1] for name in tags if name.endswith(":MPImageStart")}
    )
    return [
        (int(next(v for n, v in tags.items() if n.startswith(p) and n.endswith("MPImageStart"))),  # type: ignore[call-overload]
         int(next(v for n, v in tags.items() if n.startswith(p) and n.endswith("MPImageLength"))))  # type: ignore[call-overload]
        for p in pictures
    ]  # fmt: skip


def detail_of(pixels: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """What is finer than a twentieth of the face in a part of a picture, without its mean."""
    left, top, right, bottom = box
    part = pixels[top:bottom, left:right].astype(np.float32)
    fine = part - cv2.GaussianBlur(part, (0, 0), (right - left) / 20)
    return fine - fine.mean()


@pytest.mark.parametrize("says", ["hdrgm", "iso", "apple"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_gain_map_is_kept_and_shows_nobody(photo_pixels, says: str, progressive: bool) -> None:
    data = files.ultra_hdr(photo_pixels, says=says, progressive=progressive)
    out, dropped = changed(data)
    assert dropped == ("gain_map:redrawn",)
    primary, beside, rest = parts_of(out)
    assert rest == b""
    assert b"hdrgm:Version" in primary
    assert files.ISO + b"\0\0\0\0" in primary
    assert b'Item:Semantic="GainMap" Item:Mime="image/jpeg" Item:Length="%d"' % len(beside) in primary
    before = parts_of(data)[1]
    # What the levels mean stays byte for byte.
    own = [segment.data for segment in read_structure(before, PhotoLimits()).metadata]
    assert own == [segment.data for segment in read_structure(beside, PhotoLimits()).metadata]
    old, new = (simplejpeg.decode_jpeg(part, "GRAY")[:, :, 0] for part in (before, beside))
    assert old.shape == new.shape
    inside = tuple(side // 2 for side in FACE)
    was, left = detail_of(old, inside), detail_of(new, inside)
    assert np.std(left) < 0.1 * np.std(was)
    # Elsewhere it is what one more coding by the same tables makes of it.
    assert np.abs(new[:, 220:].astype(int) - old[:, 220:]).mean() < 0.5


def test_the_index_says_where_the_pictures_are(photo_pixels) -> None:
    data = files.ultra_hdr(photo_pixels)
    out, _ = changed(data, tag=b"t" * 700)
    primary, beside, _ = parts_of(out)
    assert listed(out)[-1] == (len(primary), len(beside))
    assert listed(data)[-1] == (len(parts_of(data)[0]), len(parts_of(data)[1]))


@pytest.mark.skipif(not is_available(), reason="the splice codec was not built: no Rust compiler here")
def test_a_spliced_photo_keeps_its_gain_map_too(photo_pixels) -> None:
    data = files.ultra_hdr(photo_pixels)
    pieces = JpegSplice(data, limits=PhotoLimits()).added(
        [Spot(150, 20, np.full((200, 160, 3), 9, np.float32))], faces=[FACE]
    )
    assert pieces is not None
    assert pieces.dropped == ("gain_map:redrawn",)
    out = with_tag(pieces, b"tag")
    primary, beside, rest = parts_of(out)
    assert rest == b""
    assert listed(out)[-1] == (len(primary), len(beside))


def test_a_gain_map_of_another_shape_or_size_goes_with_all_that_announces_it(photo_pixels) -> None:
    wide = files.gain_map(photo_pixels[:100])
    large = files.gain_map(np.tile(photo_pixels, (2, 2, 1)), scale=1)
    true = files.ultra_hdr(photo_pixels)
    for beside in (wide, large):
        out, dropped = changed(parts_of(true)[0] + beside)
        assert {"gain_map", "mpf", "iso21496", "xmp.hdrgm", "xmp.Container"} <= set(dropped)
        assert parts_of(out)[1:] == [b""]
        assert not re.search(rb"MPF\0|hdrgm:Version|21496|\"GainMap\"", out)
        assert b'GCamera:Kept="yes"' in out


def test_a_video_goes_by_default_and_the_gain_map_stays(photo_pixels) -> None:
    out, dropped = changed(files.ultra_hdr(photo_pixels, video=files.VIDEO))
    assert set(dropped) == {"gain_map:redrawn", "trailer.video", "xmp.MotionPhoto"}
    assert len(parts_of(out)) == 3
    assert parts_of(out)[2] == b""
    assert not re.search(rb"MotionPhoto|MicroVideo|ftyp", out)


def test_a_video_is_kept_where_that_is_set_and_said(photo_pixels) -> None:
    data = files.ultra_hdr(photo_pixels, video=files.VIDEO)
    out, dropped = changed(data, limits=KEEP_MOTION)
    assert dropped == ("gain_map:redrawn", "trailer.video:kept")
    primary, _, rest = parts_of(out)
    assert rest == files.VIDEO
    assert b'GCamera:MotionPhoto="1"' in primary
    assert b'Item:Semantic="MotionPhoto" Item:Mime="video/mp4" Item:Length="%d"' % len(files.VIDEO) in primary


@pytest.mark.parametrize("limits", [PhotoLimits(), KEEP_MOTION])
def test_micro_video_of_older_phones(photo_pixels, limits: PhotoLimits) -> None:
    plain = files.jpeg(photo_pixels)
    said = files.xmp(f'GCamera:MicroVideo="1" GCamera:MicroVideoOffset="{len(files.VIDEO)}"')
    data = plain[:2] + said + plain[2:] + files.VIDEO + b"padding"
    out, dropped = changed(data, limits=limits)
    if limits.keep_motion:
        assert dropped == ("trailer.video:kept",)
        offset = int(re.search(rb'MicroVideoOffset="(\d+)"', out)[1])  # type: ignore[index]
        assert out[len(out) - offset :] == files.VIDEO
    else:
        assert dropped == ("trailer.video", "xmp.MotionPhoto")
        assert not re.search(rb"MicroVideo|ftyp", out)


@pytest.mark.parametrize("limits", [PhotoLimits(), KEEP_MOTION])
def test_samsungs_trailer(photo_pixels, limits: PhotoLimits) -> None:
    original = files.jpeg(photo_pixels, quality=50)
    trailer = files.samsung_trailer(
        (0x0A01, b"Image_UTC_Data", b"1700000000000"),
        (0x0A30, b"MotionPhoto_Data", files.VIDEO),
        (0x0A31, b"MotionPhoto_Version", b"mpv3"),
        (0x0C61, b"Original_Path", original),
    )
    out, dropped = changed(files.jpeg(photo_pixels) + trailer, limits=limits)
    rest = parts_of(out)[-1]
    assert original not in out
    if limits.keep_motion:
        assert dropped == ("trailer.video:kept", "trailer.samsung")
        blocks = read_trailer(rest, PhotoLimits()).blocks
        assert [(block.kind, block.name) for block in blocks] == [
            (0x0A30, b"MotionPhoto_Data"), (0x0A31, b"MotionPhoto_Version"),
        ]  # fmt: skip
        assert blocks[0].whole.endswith(files.VIDEO)
    else:
        assert set(dropped) == {"trailer.video", "trailer.samsung", "trailer.pictures"}
        assert rest == b""


def test_further_pictures_of_a_burst_go(photo_pixels) -> None:
    data = files.ultra_hdr(photo_pixels) + files.jpeg(photo_pixels)
    out, dropped = changed(data)
    assert dropped == ("gain_map:redrawn", "trailer.pictures")
    assert len(parts_of(out)) == 3


def test_damaged_companions_end_in_a_photo_or_a_refusal(photo_pixels) -> None:
    small = cv2.resize(photo_pixels, (96, 72))
    whole = files.ultra_hdr(small, video=files.VIDEO)
    primary = parts_of(whole)[0]
    blocks = files.samsung_trailer((0x0A30, b"MotionPhoto_Data", files.VIDEO), (1, b"x", b"y"))
    seeds = [whole[len(primary) :], blocks, whole[len(primary) :] + blocks]
    for run in range(1500):
        trailer = mutated(np.random.default_rng(run), seeds)
        try:
            photo = decode_photo(primary + trailer, limits=KEEP_MOTION)
            out = encode_reported(photo, photo.srgb_u8 ^ 1)
        except PhotoRefused:
            continue
        again = decode_photo(with_tag(out.data, b"tag"), limits=KEEP_MOTION)
        assert again.srgb_u8.shape == photo.srgb_u8.shape
