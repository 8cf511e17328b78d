"""Headers that state another size, or another number of frames, than the data has: what is done follows the header, and
the answer is a refusal or a picture of the header's size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.lying_headers import lying_files, webp_frames_on_canvas
from facecloak.photos import DEFAULT_LIMITS, PhotoRefused, decode_photo
from facecloak.photos.animation import decode_animation, read_animation
from facecloak.photos.decoding import DecoderPool, can_isolate, runner
from facecloak.photos.memory import estimated_peak_bytes, pixels_of

pytestmark = pytest.mark.skipif(not can_isolate(), reason="decoders of their own need Linux 5.3 or later")
FILES = {name: make for name, make in lying_files().items() if "200 frames, 66 MP" not in name}
# Decoders that find less, or more, than was stated. A JPEG may have more data behind its picture.
TAKEN = frozenset(name for name in FILES if name.startswith("JPEG whose header states 64 x 64"))


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    with DecoderPool(size=1) as made:
        yield made


@pytest.mark.parametrize("name", FILES)
def test_what_is_done_follows_the_header(pool: DecoderPool, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    data = FILES[name]()
    pixels = pixels_of(data)
    asked: list[runner.DecoderLimits] = []

    def run(decoder: runner.Decoder, file: bytes, limits: runner.DecoderLimits) -> np.ndarray:
        asked.append(limits)
        return pool(decoder, file, limits)

    monkeypatch.setattr(runner, "_runner", run)
    killed = pool.killed
    try:
        header = read_animation(data, DEFAULT_LIMITS)
        if header is not None:
            got = decode_animation(data, header, limits=DEFAULT_LIMITS).frames.size // 4
        else:
            got = decode_photo(data).srgb_u8.size // 3
    except PhotoRefused:
        got = None
    assert got in (None, pixels)
    assert (got is None) == (name not in TAKEN)
    assert pool.killed == killed, "a decoder ended of it"
    for limits in asked:
        assert limits.samples_bytes <= 8 * pixels
        assert limits.memory_bytes <= 64 * pixels


def test_all_frames_that_are_taken_are_decoded_within_what_they_may_have(pool: DecoderPool) -> None:
    data = webp_frames_on_canvas(579, 579, side=16)
    header = read_animation(data, DEFAULT_LIMITS)
    assert header is not None
    killed = pool.killed
    frames = decode_animation(data, header, limits=DEFAULT_LIMITS).frames
    assert frames.shape == (200, header.height, header.width, 4)
    assert pool.killed == killed
    assert frames.nbytes < estimated_peak_bytes(data)
