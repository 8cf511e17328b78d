"""Decoders in processes of their own: the same samples, within limits, and no longer than somebody waits."""

from __future__ import annotations

import io
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facecloak.call_context import interrupted_by
from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.photos import PhotoDamaged, PhotoTruncated, decode_photo, jpeg, webp
from facecloak.photos.decoding import DecoderFailed, DecoderPool, can_isolate, runner
from facecloak.photos.decoding.runner import DecoderLimits, uninstall
from tests.photos.test_memory import png_of_16_bits

pytestmark = pytest.mark.skipif(not can_isolate(), reason="decoders of their own need Linux 5.3 or later")
MEBIBYTE = 2**20
GENEROUS = DecoderLimits(samples_bytes=256 * MEBIBYTE, memory_bytes=1024 * MEBIBYTE, cpu_seconds=60.0)


def file_of(kind: str, *, mode: str = "RGB", **options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(out, kind, **options)
    return out.getvalue()


@cache
def large_webp(side: int = 6000) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), (120, 90, 60)).save(out, "WEBP", lossless=True)
    return out.getvalue()


FILES = {
    "jpeg": lambda: file_of("JPEG"),
    "gray jpeg": lambda: file_of("JPEG", mode="L"),
    "progressive jpeg": lambda: file_of("JPEG", progressive=True),
    "png": lambda: file_of("PNG"),
    "palette": lambda: file_of("PNG", mode="P"),
    "bilevel": lambda: file_of("PNG", mode="1"),
    "png of 16 bits": png_of_16_bits,
    "webp": lambda: file_of("WEBP"),
    "webp with alpha": lambda: file_of("WEBP", mode="RGBA", lossless=True),
}


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    """Not installed."""
    pool = DecoderPool(size=2)
    yield pool
    pool.close()


@pytest.mark.parametrize("name", FILES)
def test_the_same_samples(pool: DecoderPool, name: str) -> None:
    data = FILES[name]()
    here = decode_photo(data)
    pool.start()
    try:
        there = decode_photo(data)
    finally:
        uninstall(pool)
    assert np.array_equal(there.srgb_u8, here.srgb_u8)
    if here.samples_u16 is not None:
        assert there.samples_u16 is not None
        assert np.array_equal(there.samples_u16, here.samples_u16)


def test_one_process_serves_many_photos(pool: DecoderPool) -> None:
    photo = FILES["webp"]()
    pool(webp.decode_pixels, photo, GENEROUS)
    killed, idle = pool.killed, [process.handle for process in pool._idle]
    for _ in range(3):
        with pytest.raises(DecoderFailed, match="UnidentifiedImageError"):
            pool(webp.decode_pixels, b"RIFF....WEBP", GENEROUS)
        assert pool(webp.decode_pixels, photo, GENEROUS).shape == (60, 80, 3)
    assert (pool.killed, [process.handle for process in pool._idle]) == (killed, idle)


def test_refusals_keep_their_names(pool: DecoderPool) -> None:
    cut = FILES["jpeg"]()[:-400]
    with pytest.raises(PhotoTruncated) as refused:
        pool(jpeg.decode_rgb, cut, GENEROUS)
    assert refused.value.public_message == "The JPEG ends before its picture does."


@pytest.mark.parametrize(
    "limits",
    [{"cpu_seconds": 0.02}, {"memory_bytes": MEBIBYTE}, {"samples_bytes": MEBIBYTE}],
    ids=lambda limits: next(iter(limits)),
)
def test_what_needs_more_than_it_may_have_fails(pool: DecoderPool, limits: dict[str, Any]) -> None:
    with pytest.raises(DecoderFailed):
        pool(webp.decode_pixels, large_webp(), replace(GENEROUS, **limits))
    assert pool(webp.decode_pixels, FILES["webp"](), GENEROUS).shape == (60, 80, 3)


def test_what_breaks_down_is_the_photos_fault(pool: DecoderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    pool.start()
    try:
        monkeypatch.setattr(runner, "_SECONDS_BESIDE", 0.001)
        monkeypatch.setattr(runner, "_SECONDS_A_PIXEL", 0.0)
        with pytest.raises(PhotoDamaged):
            decode_photo(large_webp())
    finally:
        uninstall(pool)


class Gone(FaceCloakError):
    """Nobody waits."""

    code = ErrorCode.CANCELLED


def test_it_ends_when_nobody_waits_any_more(pool: DecoderPool) -> None:
    photo = large_webp()
    killed, ends = pool.killed, time.monotonic() + 0.2

    def check() -> None:
        if time.monotonic() > ends:
            raise Gone("nobody waits")

    def again_and_again() -> None:
        for _ in range(1000):
            pool(webp.decode_pixels, photo, GENEROUS)

    with pytest.raises(Gone), interrupted_by(check):
        again_and_again()
    assert time.monotonic() - ends < 1.0
    assert pool.killed == killed + 1
    with pytest.raises(Gone), interrupted_by(check):  # nor is it begun
        pool(webp.decode_pixels, photo, GENEROUS)
    assert pool.killed == killed + 1


def test_processes_that_others_killed_are_replaced(pool: DecoderPool) -> None:
    photo = FILES["webp"]()
    pool(webp.decode_pixels, photo, GENEROUS)
    signal.pidfd_send_signal(pool._idle[-1].handle, signal.SIGKILL)
    time.sleep(0.2)
    assert pool(webp.decode_pixels, photo, GENEROUS).shape == (60, 80, 3)
    assert pool._parent is not None
    pool._parent[0].kill()  # and all of its forks with it
    time.sleep(0.2)
    assert pool(webp.decode_pixels, photo, GENEROUS).shape == (60, 80, 3)


def test_a_photo_whose_decoder_others_kill_is_decoded_all_the_same(pool: DecoderPool) -> None:
    """By the system for lack of memory, or with its parent: that is not the photo's fault."""
    small, large = FILES["webp"](), large_webp()
    for victim in ("decoder", "parent"):
        pool(webp.decode_pixels, small, GENEROUS)  # one is idle, and will have the large one
        assert pool._parent is not None
        kill = partial(signal.pidfd_send_signal, pool._idle[-1].handle, signal.SIGKILL)
        if victim == "parent":
            kill = pool._parent[0].kill
        before = pool.killed
        killer = threading.Timer(0.1, kill)
        killer.start()
        assert pool(webp.decode_pixels, large, GENEROUS).shape == (6000, 6000, 3)
        killer.join()
        assert pool.killed == before + 1


def test_a_photo_is_not_tried_again_by_a_decoder_that_dies_of_the_same(pool: DecoderPool) -> None:
    pool(webp.decode_pixels, FILES["webp"](), GENEROUS)
    doomed, _ = pool._taken()
    idle, _ = pool._taken()
    for process in (idle, doomed):  # the last one that came back is the first to be taken
        pool._put_back(process)
    # Both take a photo still, and end with it unanswered.
    for process in (idle, doomed):
        signal.pidfd_send_signal(process.handle, signal.SIGSTOP)
    killers = [
        threading.Timer(0.1 + 0.5 * number, signal.pidfd_send_signal, (os.dup(process.handle), signal.SIGKILL))
        for number, process in enumerate((doomed, idle))
    ]
    for killer in killers:
        killer.start()
    try:
        assert pool(webp.decode_pixels, FILES["webp"](), GENEROUS).shape == (60, 80, 3)
    finally:
        for killer in killers:
            killer.cancel()
            killer.join()


def test_a_parent_that_is_stopped_is_replaced(pool: DecoderPool) -> None:
    pool(webp.decode_pixels, FILES["webp"](), GENEROUS)
    assert pool._parent is not None
    stopped = pool._parent[0]
    for process in pool._idle:
        process.kill()
    pool._idle.clear()
    os.kill(stopped.pid, signal.SIGSTOP)
    assert pool(webp.decode_pixels, FILES["webp"](), GENEROUS).shape == (60, 80, 3)
    assert stopped.poll() == -signal.SIGKILL
    assert pool._parent[0].pid != stopped.pid


def test_the_process_has_no_secret_and_no_file(pool: DecoderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACECLOAK_APPLY_STORE__MASK_KEY", "secret")
    pool.close()
    pool._closed = False
    pool(webp.decode_pixels, FILES["webp"](), GENEROUS)
    assert pool._parent is not None
    parent = pool._parent[0].pid
    assert b"FACECLOAK" not in Path(f"/proc/{parent}/environ").read_bytes()
    child = int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[-1])
    limits = Path(f"/proc/{child}/limits").read_text()
    assert re.search(r"Max file size +0 +0", limits)
    # Its channel, null and what it writes errors to; the photo's files are closed.
    names = {os.readlink(link) for link in Path(f"/proc/{child}/fd").iterdir()}
    assert not any("memfd" in name for name in names)
