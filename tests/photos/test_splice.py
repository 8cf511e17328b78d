"""The splice codec against libjpeg: every coefficient, every pixel beside the change, every byte around it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.fuzz import fuzz_parser
from facecloak.cloaking.blend import add_in_place
from facecloak.photos import DEFAULT_LIMITS, PhotoLimits, PhotoTooLarge, decode_photo
from facecloak.photos.jpeg_structure import read_structure
from facecloak.photos.native_splice import CannotSplice, Change, Fault, NativeScan, Replacement, is_available
from facecloak.photos.splice import JpegSplice
from tests.photos.coefficients import coefficients, expected, transformed

pytestmark = pytest.mark.skipif(not is_available(), reason="the splice codec was not built: no Rust compiler here")

Save = Callable[..., bytes]


class Spot:
    """Levels of one rectangle of the upright photo, as a placement gives them, and how far it is moved."""

    def __init__(self, left: int, top: int, levels: np.ndarray, *, shift: tuple[float, float] = (0, 0)) -> None:
        self.left, self.top, self.levels = left, top, levels.astype(np.float32)
        self.shift = np.array(shift, np.float32)
        self.reach_px = float(np.abs(self.shift).max())
        self.overreach_px = self.reach_px or None

    def bounds(self, *, width: int, height: int) -> tuple[int, int, int, int]:
        rows, columns = self.levels.shape[:2]
        return self.left, self.top, min(self.left + columns, width), min(self.top + rows, height)

    def change(
        self,
        *,
        left: int,
        top: int,
        width: int,
        height: int,
        step: tuple[int, int] = (1, 1),
        colors: np.ndarray | None = None,
    ) -> np.ndarray:
        """The levels on a wide margin of zeros, the mean over each ``step``, in ``colors``."""
        margin = 64
        rows, columns = self.levels.shape[:2]
        canvas = np.zeros((self.top + rows + 2 * margin + 200, self.left + columns + 2 * margin + 400, 3), np.float32)
        canvas[margin + self.top :, margin + self.left :][:rows, :columns] = self.levels
        part = canvas[margin + top :, margin + left :][: height * step[1], : width * step[0]]
        means = part.reshape(height, step[1], width, step[0], 3).mean(axis=(1, 3))
        mixed = means if colors is None else means @ colors.T
        return np.ascontiguousarray(mixed, np.float32)

    def nodes(self, *, step: tuple[int, int], colors: np.ndarray) -> None:
        """Told for each sample."""
        return None

    def displacement(
        self, *, left: int, top: int, width: int, height: int, step: tuple[int, int] = (1, 1)
    ) -> np.ndarray | None:
        """The same for all samples whose center is in the rectangle."""
        if not self.reach_px:
            return None
        x = left + (np.arange(width) + 0.5) * step[0]
        y = top + (np.arange(height) + 0.5) * step[1]
        rows, columns = self.levels.shape[:2]
        inside = np.outer((y > self.top) & (y < self.top + rows), (x > self.left) & (x < self.left + columns))
        return inside[:, :, None] * (self.shift / np.array(step, np.float32))


def soft(rng: np.random.Generator, height: int, width: int, channels: int = 3, *, levels: float = 12) -> np.ndarray:
    noise = cv2.GaussianBlur(rng.normal(0, 1, (height, width, channels)), (0, 0), 1.5).reshape(height, width, channels)
    return (noise * levels / max(float(np.abs(noise).max()), 1e-6)).astype(np.float32)


def planes(scan: NativeScan, levels: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Levels of each px, as planes of each component's samples: the mean of those that there are."""
    found = []
    widest, highest = scan.factors[0]
    for channel, (across, down) in enumerate(scan.factors):
        step = (widest // across, highest // down)
        padding = ((0, -levels.shape[0] % step[1]), (0, -levels.shape[1] % step[0]))
        whole = np.pad(levels[:, :, channel], padding, mode="edge")
        shape = (whole.shape[0] // step[1], step[1], whole.shape[1] // step[0], step[0])
        found.append((np.ascontiguousarray(whole.reshape(shape).mean(axis=(1, 3))[:, :, None]), 0))
    return found


def patched(data: bytes, replacements: list[Replacement]) -> bytes:
    out, at = [], 0
    for replacement in replacements:
        assert replacement.begin >= at
        out += [data[at : replacement.begin], replacement.content]
        at = replacement.end
    return b"".join([*out, data[at:]])


def encoded(pixels: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **options)
    return out.getvalue()


TABLES = st.sampled_from(
    [{}, {"optimize": True}, {"restart_marker_blocks": 1}, {"restart_marker_blocks": 5, "optimize": True},
     {"restart_marker_rows": 1}, {"restart_marker_blocks": 200}]
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(
    width=st.integers(1, 150), height=st.integers(1, 150), quality=st.integers(5, 100), tables=TABLES,
    kind=st.sampled_from(["4:4:4", "4:2:2", "4:2:0", "gray"]), seed=st.integers(0, 10**6),
    levels=st.sampled_from([1.0, 12.0, 300.0]),
)  # fmt: skip
def test_every_coefficient_is_the_sum_inside_and_the_same_outside(
    width: int, height: int, quality: int, tables: dict, kind: str, seed: int, levels: float
) -> None:
    rng = np.random.default_rng(seed)
    pixels = np.clip(soft(rng, height, width, levels=120) + rng.normal(128, 6, (height, width, 3)), 0, 255)
    picture = pixels.astype(np.uint8)
    if kind == "gray":
        data = encoded(picture[:, :, 0], quality=quality, **tables)
    else:
        data = encoded(picture, quality=quality, subsampling=kind, **tables)
    scan = NativeScan(data)
    left, top = int(rng.integers(scan.mcus_across)), int(rng.integers(scan.mcus_down))
    across, down = int(rng.integers(1, scan.mcus_across - left + 1)), int(rng.integers(1, scan.mcus_down - top + 1))
    size = (
        min(down * scan.mcu_height, height - top * scan.mcu_height),
        min(across * scan.mcu_width, width - left * scan.mcu_width),
    )
    change = Change(left, top, across, down, planes(scan, soft(rng, *size, len(scan.factors), levels=levels)))
    out = patched(data, scan.apply([change]))
    simplejpeg.decode_jpeg(out, "GRAY" if kind == "gray" else "RGB")  # strict: a warning of libjpeg's is an error
    wanted = expected(coefficients(data), scan.deltas(change), (left, top), scan.factors)
    for plane, want in zip(coefficients(out), wanted, strict=True):
        assert np.array_equal(plane, want)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_what_is_added_is_the_rounded_transform_of_the_levels(scene: np.ndarray, save: Save, subsampling: str) -> None:
    data = save(scene, "JPEG", quality=88, subsampling=subsampling)
    scan = NativeScan(data)
    levels = soft(np.random.default_rng(5), scan.height, scan.width)
    deltas = scan.deltas(Change(0, 0, scan.mcus_across, scan.mcus_down, planes(scan, levels)))
    structure = read_structure(data, DEFAULT_LIMITS)
    samples = planes(scan, levels)
    for component, (plane, _), delta in zip(structure.components, samples, deltas, strict=True):
        missing = np.array(delta.shape[:2]) * 8 - plane.shape[:2]
        means = np.pad(plane[:, :, 0], ((0, missing[0]), (0, missing[1])), mode="edge")
        exact = transformed(means, np.array(structure.tables[component.table]))
        # Rounded to the nearest; float32 may see a tie on the other side.
        assert np.abs(delta - exact).max() <= 0.5 + 1e-4
        assert (delta == np.round(exact)).mean() > 0.999


def test_nothing_added_is_no_change(scene: np.ndarray, save: Save) -> None:
    splice = JpegSplice(save(scene, "JPEG", quality=90), limits=DEFAULT_LIMITS)
    assert splice.added([Spot(10, 10, np.zeros((40, 40, 3)))]) is None
    assert splice.added([Spot(500, 10, np.ones((40, 40, 3)))]) is None
    assert splice.added([]) is None


def test_all_bytes_before_and_behind_the_face_are_the_originals(astronaut_photo: bytes) -> None:
    scan = NativeScan(astronaut_photo)
    levels = soft(np.random.default_rng(1), 6 * scan.mcu_height, 6 * scan.mcu_width)
    change = Change(8, 8, 6, 6, planes(scan, levels))
    (replacement,) = scan.apply([change])
    out = patched(astronaut_photo, [replacement])
    assert len(astronaut_photo) // 16 < replacement.begin < replacement.end < len(astronaut_photo) // 2
    assert out[: replacement.begin] == astronaut_photo[: replacement.begin]
    assert out.endswith(astronaut_photo[replacement.end :])


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_decoded_pixels_change_in_the_touched_blocks_alone(scene: np.ndarray, save: Save, subsampling: str) -> None:
    data = save(scene, "JPEG", quality=92, subsampling=subsampling)
    # Gray levels: of colored ones, a coarser chroma keeps the mean alone.
    spot = Spot(37, 22, np.repeat(soft(np.random.default_rng(2), 30, 40, 1), 3, axis=2))
    pieces = JpegSplice(data, limits=DEFAULT_LIMITS).added([spot])
    assert pieces is not None
    before, after = decode_photo(data).srgb_u8, decode_photo(pieces.joined()).srgb_u8
    mcu = 8 if subsampling == "4:4:4" else 16
    # Decoders smooth chroma over one sample (two pixels) into the blocks beside.
    ring = 0 if subsampling == "4:4:4" else 2
    left, top = 37 // mcu * mcu - ring, 22 // mcu * mcu - ring
    right, bottom = -(-77 // mcu) * mcu + ring, -(-52 // mcu) * mcu + ring
    outside = np.ones(before.shape[:2], bool)
    outside[top:bottom, left:right] = False
    assert np.array_equal(after[outside], before[outside])
    inside = (slice(22, 52), slice(37, 77))
    change = after[inside].astype(float) - before[inside]
    assert np.corrcoef(change.ravel(), spot.levels.ravel())[0, 1] > 0.85


@pytest.mark.parametrize("orientation", range(1, 9))
def test_levels_are_upright_whatever_the_file_stores(
    scene: np.ndarray, save: Save, exif: Callable[[int], bytes], orientation: int
) -> None:
    data = save(scene, "JPEG", quality=95, subsampling="4:4:4", exif=exif(orientation))
    before = decode_photo(data)
    splice = JpegSplice(data, limits=DEFAULT_LIMITS)
    assert (splice.width, splice.height, splice.orientation) == (before.width, before.height, orientation)
    levels = soft(np.random.default_rng(3), 28, 52)
    pieces = splice.added([Spot(20, 31, levels)])
    assert pieces is not None
    change = decode_photo(pieces.joined()).srgb_u8.astype(float) - before.srgb_u8
    assert np.corrcoef(change[31:59, 20:72].ravel(), levels.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_what_is_moved_is_the_photos_own(
    scene: np.ndarray, save: Save, exif: Callable[[int], bytes], orientation: int, subsampling: str
) -> None:
    """Whole blocks of whole samples, so that bicubic interpolation has nothing to round."""
    picture = cv2.resize(scene, (256, 192), interpolation=cv2.INTER_CUBIC)
    data = save(picture, "JPEG", quality=95, subsampling=subsampling, exif=exif(orientation))
    before = decode_photo(data).srgb_u8
    spot = Spot(64, 48, np.zeros((64, 64, 3)), shift=(12, -8))
    pieces = JpegSplice(data, limits=DEFAULT_LIMITS).added([spot])
    assert pieces is not None
    after = decode_photo(pieces.joined()).srgb_u8.astype(int)
    # What a decoder smooths of the chroma at the edges is left out.
    wanted = before[42:102, 78:138].astype(int)
    moved = after[50:110, 66:126]
    luma = np.array([0.299, 0.587, 0.114])
    assert np.abs((moved - wanted) @ luma).mean() < 1.2
    assert np.abs(moved - wanted).mean() < (1.5 if subsampling == "4:4:4" else 3)
    assert np.abs(after[50:110, 66:126] - before[50:110, 66:126]).mean() > 8
    outside = np.ones(before.shape[:2], bool)
    outside[46:114, 62:130] = False
    assert np.array_equal(after[outside], before[outside])


def test_what_is_moved_half_a_pixel_is_as_sharp_as_bicubic_interpolation(scene: np.ndarray, save: Save) -> None:
    picture = cv2.resize(scene, (256, 192), interpolation=cv2.INTER_CUBIC)
    data = save(picture, "JPEG", quality=98, subsampling="4:4:4")
    before = decode_photo(data).srgb_u8
    pieces = JpegSplice(data, limits=DEFAULT_LIMITS).added([Spot(64, 48, np.zeros((64, 64, 3)), shift=(0.5, 0))])
    assert pieces is not None
    after = decode_photo(pieces.joined()).srgb_u8[48:112, 64:128].astype(float)
    x, y = np.meshgrid(np.arange(64, 128, dtype=np.float32) + 0.5, np.arange(48, 112, dtype=np.float32))
    wanted = cv2.remap(before, x, y, cv2.INTER_CUBIC).astype(float)
    assert np.abs(after - wanted).mean() < 1


def test_blocks_whose_samples_do_not_change_keep_their_coefficients(scene: np.ndarray, save: Save) -> None:
    """Blocks that are decoded because something is moved near them are not coded again."""
    flat = cv2.resize(scene, (256, 192), interpolation=cv2.INTER_CUBIC)
    flat[:, 128:] = 90
    data = save(flat, "JPEG", quality=90, subsampling="4:2:0")
    pieces = JpegSplice(data, limits=DEFAULT_LIMITS).added([Spot(16, 16, np.zeros((160, 224, 3)), shift=(3, 2))])
    assert pieces is not None
    changed = [
        (one != other).any(axis=(2, 3))
        for one, other in zip(coefficients(data), coefficients(pieces.joined()), strict=True)
    ]
    assert changed[0][2:22, 2:15].mean() > 0.9
    # One block beside the edge rings.
    assert not changed[0][:, 18:].any()
    assert not changed[0][:2].any()
    assert not changed[0][:, :2].any()


def test_one_face_after_the_other_is_moved_and_added_to(scene: np.ndarray, save: Save) -> None:
    picture = cv2.resize(scene, (256, 192), interpolation=cv2.INTER_CUBIC)
    data = save(picture, "JPEG", quality=95, subsampling="4:4:4")
    rng = np.random.default_rng(5)
    spots = [
        Spot(32, 32, soft(rng, 64, 64), shift=(4, 0)),
        Spot(64, 56, soft(rng, 64, 64), shift=(0, -3)),
        Spot(180, 20, soft(rng, 40, 40)),
    ]
    pieces = JpegSplice(data, limits=DEFAULT_LIMITS).added(spots)
    assert pieces is not None
    after = decode_photo(pieces.joined()).srgb_u8.astype(float)
    wanted = decode_photo(data).srgb_u8.copy()
    for spot in spots:
        add_in_place(wanted, spot)
    assert np.sqrt(np.square(after - wanted).mean()) < 1.0


def test_several_and_overlapping_faces_add_up(scene: np.ndarray, save: Save) -> None:
    data = save(scene, "JPEG", quality=90, restart_marker_blocks=3)
    rng = np.random.default_rng(4)
    spots = [Spot(0, 0, soft(rng, 30, 30)), Spot(20, 18, soft(rng, 30, 40)), Spot(100, 60, soft(rng, 40, 40))]
    together = JpegSplice(data, limits=DEFAULT_LIMITS).added(spots)
    whole = sum(spot.change(left=0, top=0, width=130, height=90) for spot in spots)
    at_once = JpegSplice(data, limits=DEFAULT_LIMITS).added([Spot(0, 0, np.asarray(whole))])
    assert together is not None
    assert at_once is not None
    for one, other in zip(coefficients(together.joined()), coefficients(at_once.joined()), strict=True):
        assert np.array_equal(one, other)


def test_metadata_stays_and_what_lies_behind_the_picture_goes(scene: np.ndarray, save: Save, exif: Callable) -> None:
    data = save(scene, "JPEG", quality=90, exif=exif(1), icc_profile=b"profile" * 99, comment=b"a comment")
    index = b"\xff\xe2\x00\x0aMPF\0 abc"
    with_index = data[:2] + index + data[2:]
    spot = Spot(37, 22, soft(np.random.default_rng(2), 30, 40))

    def spliced(content: bytes) -> bytes:
        pieces = JpegSplice(content, limits=DEFAULT_LIMITS).added([spot])
        assert pieces is not None
        return pieces.joined()

    def metadata(content: bytes) -> list[bytes]:
        return [segment.data for segment in read_structure(content, DEFAULT_LIMITS).metadata]

    assert metadata(spliced(data)) == metadata(data)
    assert metadata(spliced(with_index)) == metadata(data)  # the sizes in an index are not true either
    assert spliced(with_index + b"another picture") == spliced(data)


@pytest.mark.parametrize("stray", [b"", b"abc", b"\xff" * 20])
@pytest.mark.parametrize("end", [0, 1, 2])
def test_a_missing_end_and_stray_bytes_are_put_right(scene: np.ndarray, save: Save, stray: bytes, end: int) -> None:
    data = save(scene, "JPEG", quality=90)
    at = data.index(b"\xff\xdb")
    spot = Spot(37, 22, soft(np.random.default_rng(2), 30, 40))
    whole, odd = (
        JpegSplice(content, limits=DEFAULT_LIMITS).added([spot])
        for content in (data, data[:at] + stray + data[at : len(data) - end])
    )
    assert whole is not None
    assert odd is not None
    assert odd.joined() == whole.joined()


@pytest.mark.parametrize("missing", [3, 4, 9, 50, 1000])
def test_a_cut_scan_is_not_spliced(scene: np.ndarray, save: Save, missing: int) -> None:
    with pytest.raises(CannotSplice):
        JpegSplice(save(scene, "JPEG", quality=90)[:-missing], limits=DEFAULT_LIMITS)


def test_rgb_jpegs_are_changed_in_their_own_colors(scene: np.ndarray, save: Save) -> None:
    data = save(scene, "JPEG", quality=95, keep_rgb=True)
    levels = np.zeros((32, 32, 3))
    levels[:, :, 0] = 9
    pieces = JpegSplice(data, limits=DEFAULT_LIMITS).added([Spot(32, 32, levels)])
    assert pieces is not None
    change = decode_photo(pieces.joined()).srgb_u8.astype(int) - decode_photo(data).srgb_u8
    assert abs(float(change[36:60, 36:60, 0].mean()) - 9) < 1
    assert np.array_equal(change[:, :, 1:], np.zeros_like(change[:, :, 1:]))


def test_a_table_without_the_needed_codes_is_extended() -> None:
    flat = encoded(np.full((64, 64, 3), 130, np.uint8), quality=90, optimize=True)
    scan = NativeScan(flat)
    levels = soft(np.random.default_rng(6), 2 * scan.mcu_height, 2 * scan.mcu_width, levels=60)
    change = Change(1, 1, 2, 2, planes(scan, levels))
    replacements = scan.apply([change])
    assert len(replacements) > 1  # the header's tables too
    out = patched(flat, replacements)
    wanted = expected(coefficients(flat), scan.deltas(change), (1, 1), scan.factors)
    assert all(np.array_equal(*pair) for pair in zip(coefficients(out), wanted, strict=True))
    simplejpeg.decode_jpeg(out)


@pytest.mark.parametrize("tables", [{}, {"restart_marker_blocks": 7}, {"restart_marker_rows": 1}], ids=str)
@pytest.mark.parametrize("kind", ["4:2:0", "4:4:4", "gray"])
def test_a_table_without_room_for_the_needed_codes_is_made_anew(kind: str, tables: dict) -> None:
    """Smooth for the most part, so that rare symbols have the longest codes there are."""
    rng = np.random.default_rng(7)
    pixels = soft(rng, 480, 640, levels=120) + 128
    pixels[:120, :120] += rng.normal(0, 20, (120, 120, 3))
    picture = np.clip(pixels, 0, 255).astype(np.uint8)
    options = {"quality": 90, "optimize": True, **tables}
    data = encoded(picture[:, :, 0], **options) if kind == "gray" else encoded(picture, subsampling=kind, **options)
    full = read_structure(data, DEFAULT_LIMITS).huffman_tables
    assert any(table[15] for table in full.values())
    scan = NativeScan(data)
    left, top, across, down = scan.mcus_across // 2, scan.mcus_down // 2, 6, 5
    levels = soft(rng, down * scan.mcu_height, across * scan.mcu_width, len(scan.factors), levels=300)
    change = Change(left, top, across, down, planes(scan, levels))
    replacements = scan.apply([change])
    assert any(one.end < scan.end and len(one.content) < 200 for one in replacements)  # the header's tables
    assert replacements[-1].end == scan.end
    out = patched(data, replacements)
    assert len(out) < 1.05 * len(data)
    simplejpeg.decode_jpeg(out, "GRAY" if kind == "gray" else "RGB")
    wanted = expected(coefficients(data), scan.deltas(change), (left, top), scan.factors)
    assert all(np.array_equal(*pair) for pair in zip(coefficients(out), wanted, strict=True))
    new = read_structure(out, DEFAULT_LIMITS).huffman_tables
    assert new != full
    # Of each, codes of 16 bits at most, not all of which may be taken: that of all ones stays free.
    for table in new.values():
        assert sum(count << (15 - place) for place, count in enumerate(table[:16])) < 1 << 16


@pytest.mark.parametrize("scale", [1.0, 0.625, 0.5, 0.25, 0.125])
@pytest.mark.parametrize("orientation", [1, 6, 7])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_a_look_shows_what_decoding_everything_does(
    scene: np.ndarray, save: Save, exif: Callable[[int], bytes], scale: float, orientation: int, subsampling: str
) -> None:
    picture = cv2.resize(scene, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    data = save(picture, "JPEG", quality=95, subsampling=subsampling, exif=exif(orientation))
    whole = decode_photo(data).srgb_u8
    look = JpegSplice(data, limits=DEFAULT_LIMITS).look((60, 50, 140, 120), smallest_scale=scale)
    height, width = look.srgb_u8.shape[:2]
    assert look.scale == scale
    assert look.left <= 60
    assert look.top <= 50
    assert look.left + width / scale >= 140
    assert look.top + height / scale >= 120
    part = whole[look.top : look.top + round(height / scale), look.left : look.left + round(width / scale)]
    small = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
    luma = [cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(int) for pixels in (small, look.srgb_u8)]
    assert np.abs(luma[0] - luma[1]).mean() < 1.5
    # Colors are shown as finely as the file has them at that scale.
    assert np.abs(small.astype(int) - look.srgb_u8).mean() < (2 if subsampling == "4:4:4" else 8)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_the_thumbnail_is_the_mean_of_blocks(scene: np.ndarray, save: Save, subsampling: str) -> None:
    data = save(scene[:88, :128], "JPEG", quality=95, subsampling=subsampling)
    gray = cv2.cvtColor(decode_photo(data).srgb_u8, cv2.COLOR_RGB2GRAY)
    look = JpegSplice(data, limits=DEFAULT_LIMITS).thumbnail()
    means = cv2.resize(gray, (16, 11), interpolation=cv2.INTER_AREA).astype(int)
    assert look.srgb_u8.shape == (11, 16, 3)
    assert np.abs(look.srgb_u8[:, :, 0] - means).max() <= 3


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda data: encoded(np.zeros((40, 40, 3), np.uint8), progressive=True), Fault.UNSUPPORTED),
        (lambda data: data[:-40], Fault.DAMAGED),
        (lambda data: b"\x89PNG\r\n", Fault.NOT_A_JPEG),
    ],
    ids=["progressive", "truncated", "no JPEG"],
)
def test_what_cannot_be_spliced_says_why(scene: np.ndarray, save: Save, make: Callable, fault: Fault) -> None:
    with pytest.raises(CannotSplice) as caught:
        JpegSplice(make(save(scene, "JPEG")), limits=DEFAULT_LIMITS)
    assert caught.value.fault is fault


def test_the_size_is_refused_from_the_header(scene: np.ndarray, save: Save) -> None:
    with pytest.raises(PhotoTooLarge):
        JpegSplice(save(scene, "JPEG"), limits=PhotoLimits(max_pixels=100))
    with pytest.raises(PhotoTooLarge):
        JpegSplice(save(scene, "JPEG"), limits=PhotoLimits(max_bytes=100))


def test_wrong_levels_and_regions_are_refused(scene: np.ndarray, save: Save) -> None:
    scan = NativeScan(save(scene, "JPEG"))
    good = planes(scan, np.ones((scan.mcu_height, scan.mcu_width, 3), np.float32) * 9)
    (luma, _), chroma = good[0], good[1:]
    wrong = [
        Change(0, 0, 1, 1, [(luma[:-1].copy(), 0), *chroma]),
        Change(0, 0, 1, 1, [(luma.astype(np.float64), 0), *chroma]),
        Change(0, 0, 1, 1, [(luma, 1), *chroma]),
        Change(0, 0, 1, 1, [(luma[:, :, 0], 0), *chroma]),
        Change(0, 0, 1, 1, good[:2]),
        Change(scan.mcus_across, 0, 1, 1, good),
        Change(0, 0, 2**31, 2**31, good),
        Change(0, 0, 0, 1, good),
    ]
    for change in wrong:
        with pytest.raises(CannotSplice) as caught:
            scan.apply([change])
        assert caught.value.fault is Fault.BAD_REGION
    with pytest.raises(CannotSplice):
        scan.apply([Change(0, 0, 1, 1, good), Change(0, 0, 1, 1, good)])
    assert len(scan.apply([Change(0, 0, 1, 1, good)])) == 1


@pytest.mark.parametrize("folder", ["phones", "groups", "odd"])
def test_real_photos(shared_dir: Path, folder: str) -> None:
    """Each is spliced exactly, or says why not; the latter are few."""
    spliced = refused = 0
    for path in sorted((shared_dir / "photos" / folder).glob("*.jpg")):
        data = path.read_bytes()
        rng = np.random.default_rng(len(data))
        try:
            splice = JpegSplice(data, limits=DEFAULT_LIMITS)
            scan = NativeScan(data)
            across, down = min(9, scan.mcus_across), min(9, scan.mcus_down)
            left, top = (scan.mcus_across - across) // 2, (scan.mcus_down - down) // 2
            size = (
                min(down * scan.mcu_height, scan.height - top * scan.mcu_height),
                min(across * scan.mcu_width, scan.width - left * scan.mcu_width),
            )
            change = Change(left, top, across, down, planes(scan, soft(rng, *size, len(scan.factors))))
            out = patched(data, scan.apply([change]))
        except (CannotSplice, PhotoTooLarge):
            refused += 1
            continue
        spliced += 1
        wanted = expected(coefficients(data), scan.deltas(change), (left, top), scan.factors)
        assert all(np.array_equal(*pair) for pair in zip(coefficients(out), wanted, strict=True)), path.name
        decode_photo(out)
        assert splice.width * splice.height == scan.width * scan.height
    # In odd/: truncated, CMYK (4), too large, no JPEG, a step of zero. Anywhere: optimized tables without room for a
    # code.
    assert refused <= {"odd": 11, "phones": 1, "groups": 0}[folder]
    assert spliced > refused


def test_mutated_photos_do_no_harm() -> None:
    result = fuzz_parser(runs=4000, first=10**7)
    assert result["defects"] == []
    assert result["outcomes"]["spliced"] > 200
    assert result["slowest_cpu_seconds"] < 1
