"""What is changed without being decoded whole is changed in this process: its work is bounded by the file's size and
by what its header states, whatever stands in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest

from benchmarks import hostile
from facecloak.call_context import unobserved
from facecloak.cloaking.photo_session import PhotoSession
from facecloak.photos import DEFAULT_LIMITS, PhotoRefused, png
from facecloak.photos.decoding import runner
from facecloak.photos.native_splice import CannotSplice
from facecloak.photos.splice import JpegSplice

MEBIBYTE = 2**20
# Generous: measured are 0.01 to 0.1 s a MiB, and 0.02 s a megapixel.
SECONDS_A_MEBIBYTE, SECONDS_A_MEGAPIXEL, SECONDS = 0.3, 0.1, 0.3
SIZE = 4 * MEBIBYTE
FILES: dict[str, Callable[[], bytes]] = {
    "fill bytes between segments": lambda: hostile.with_segment(b"\xff" * SIZE),
    "fill bytes in the data": lambda: hostile.in_scan(b"\xff" * SIZE),
    "restart markers": lambda: hostile.in_scan(b"\xff\xd0\xff\xd1" * (SIZE // 4)),
    "zeros in the data": lambda: hostile.in_scan(bytes(SIZE)),
    "ones in the data": lambda: hostile.in_scan(b"\xff\x00" * (SIZE // 2)),
    "stray bytes between segments": lambda: hostile.with_segment(bytes(SIZE)),
    "Huffman tables": lambda: hostile.with_segment(hostile._table(b"\xff\xc4") * 9000),
    "quantization tables": lambda: hostile.with_segment(hostile._table(b"\xff\xdb") * 9000),
    "a directory that follows itself": lambda: hostile.with_segment(hostile._exif_loop()),
    "entries that are each their own directory": lambda: hostile.with_segment(hostile._exif_fan()),
    "entities that grow": lambda: hostile.with_segment(hostile._xmp_laughs()),
    "a header of 67 megapixels": lambda: hostile.restated(hostile.saved(hostile.flat(64, 64), "JPEG"), 16384, 4096),
    "a restart marker for each block": lambda: hostile.saved(hostile.flat(2000, 1500), "JPEG", restart_marker_blocks=1),
    "one column": lambda: hostile.saved(hostile.flat(1, 16384), "JPEG"),
    "one row": lambda: hostile.saved(hostile.flat(16384, 1), "JPEG"),
}


class Everywhere:
    """A change of the whole photo."""

    reach_px = 0.0
    overreach_px = None

    def bounds(self, *, width: int, height: int) -> tuple[int, int, int, int]:
        return 0, 0, width, height

    def change(
        self, *, left: int, top: int, width: int, height: int, step: tuple[int, int] = (1, 1), colors: object = None
    ) -> np.ndarray:
        return np.full((height, width, 3 if colors is None else len(colors)), 8.0, np.float32)  # type: ignore[arg-type]

    def nodes(self, *, step: tuple[int, int], colors: np.ndarray) -> None:
        return None

    def displacement(self, **_place: object) -> None:
        return None


@pytest.mark.parametrize("name", FILES)
def test_a_jpeg_is_spliced_or_refused_in_time(name: str) -> None:
    data = FILES[name]()
    began, megapixels = time.thread_time(), 0.0
    with suppress(CannotSplice, PhotoRefused):
        splice = JpegSplice(data, limits=DEFAULT_LIMITS)
        megapixels = splice.width * splice.height / 1e6
        splice.thumbnail()
        if megapixels < 4:
            splice.added([Everywhere()])
    allowed = SECONDS + SECONDS_A_MEBIBYTE * len(data) / MEBIBYTE + SECONDS_A_MEGAPIXEL * megapixels
    assert time.thread_time() - began < allowed


@pytest.mark.parametrize("depth", [8, 16])
def test_a_png_inflates_no_more_than_its_header_states(depth: int) -> None:
    data = hostile.inflating_png(depth=depth)
    began = time.thread_time()
    with suppress(PhotoRefused):  # of 8 bits the rest is left where it is
        assert png.decode(data, DEFAULT_LIMITS).stored_srgb_u8.shape == (8, 8, 3)
    assert time.thread_time() - began < 1.0


def test_whole_decoding_is_handed_to_whoever_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not spliced: every format goes where decoders run."""
    asked = []

    def run(decoder: Callable[[bytes], np.ndarray], data: bytes, limits: runner.DecoderLimits) -> np.ndarray:
        asked.append((decoder.__name__, limits.samples_bytes > 0, limits.cpu_seconds < 60))
        return decoder(data)

    monkeypatch.setattr(runner, "_runner", run)
    pixels = hostile.picture(320, 240)
    for data in (
        hostile.saved(pixels, "PNG"),
        hostile.saved(pixels, "WEBP"),
        hostile.saved(pixels, "JPEG", progressive=True),
        hostile.flat_png(64, 48, depth=16, color=6),
    ):
        assert PhotoSession(data, limits=DEFAULT_LIMITS, observer=unobserved).srgb_u8.shape[2] == 3
    assert asked == [(name, True, True) for name in ("decode_u8", "decode_pixels", "decode_rgb", "decode_u16")]
