"""Photos are admitted by what they will take once they are decoded, and never two that do not fit together."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from apply_service.photo_admission import PhotoAdmission
from apply_service.settings import ApplySettings
from facecloak.call_context import whole_photo
from facecloak.errors import ErrorCode
from facecloak.photos import DEFAULT_LIMITS, PhotoLimits, PhotoTooLarge
from facecloak.photos.memory import LOSSLESS_WEBP, estimated_first_bytes, estimated_peak_bytes
from facecloak.v1 import apply_pb2
from facecloak_rpc.client import RemoteError, remote_errors, to_remote_error
from facecloak_rpc.errors import Overloaded
from tests.apply_service.test_service import _servicer, apply, numbered, request, stream
from tests.photos.large_jpeg import large_jpeg

MEBIBYTE = 2**20


def small_file(width: int = 3000, height: int = 2000) -> bytes:
    """A lossless WebP of one color: a few hundred bytes for as many pixels as one likes."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), (120, 90, 60)).save(out, "WEBP", lossless=True)
    return out.getvalue()


def admission(*, places: int = 8, mebibytes: int = 400, wait_seconds: float = 0.1) -> PhotoAdmission:
    return PhotoAdmission(
        places=places, memory_bytes=mebibytes * MEBIBYTE, wait_seconds=wait_seconds, limits=DEFAULT_LIMITS
    )


def test_photos_that_do_not_fit_together_go_one_after_the_other() -> None:
    photo = small_file()
    one = estimated_peak_bytes(photo)
    assert len(photo) < 1000
    assert 2 * one > 400 * MEBIBYTE > one > LOSSLESS_WEBP * 6_000_000
    photos = admission()
    lock, at_once, most, memory = threading.Lock(), 0, 0, []

    def work() -> None:
        nonlocal at_once, most
        with photos.place(photo, wait_seconds=10):
            with lock:
                at_once += 1
                most = max(most, at_once)
                memory.append(photos.memory_out)
            time.sleep(0.01)
            with lock:
                at_once -= 1

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (most, len(memory), photos.memory_out) == (1, 12, 0)
    assert max(memory) <= 400 * MEBIBYTE


def test_small_photos_go_beside_each_other_and_those_that_do_not_fit_are_refused_in_time() -> None:
    photos, small, large = admission(places=2), small_file(300, 200), small_file()
    with photos.place(small, wait_seconds=0), photos.place(large, wait_seconds=0):
        started = time.monotonic()
        with pytest.raises(Overloaded) as refused, photos.place(small, wait_seconds=0.1):
            pass
        assert 0.1 <= time.monotonic() - started < 0.5
    assert refused.value.metadata["retry_after_seconds"] == "0.5"
    with photos.place(large, wait_seconds=0), pytest.raises(Overloaded), photos.place(large, wait_seconds=0):
        pass
    assert photos.memory_out == 0


def test_a_photo_that_never_fits_is_refused_by_name() -> None:
    with pytest.raises(PhotoTooLarge) as refused, admission(mebibytes=200).place(small_file(), wait_seconds=5):
        pass
    assert (refused.value.metadata["limit"], refused.value.metadata["memory_mebibytes"]) == ("memory_mebibytes", "200")


def jpeg(width: int = 3200, height: int = 2400) -> bytes:
    return large_jpeg(np.zeros((16, 16, 3), np.uint8), width=width, height=height, top=160)


def test_a_jpeg_takes_the_rest_when_all_of_it_is_decoded() -> None:
    photo, photos = jpeg(), admission(mebibytes=130)
    first, whole = estimated_first_bytes(photo), estimated_peak_bytes(photo)
    assert whole - first == 5 * 3200 * 2400
    with photos.place(photo, wait_seconds=0):
        one = photos.memory_out
        assert 0 <= one - first < 5 * len(photo)
        whole_photo.get()()
        assert photos.memory_out - one == whole - first
        whole_photo.get()()  # it has it
        assert photos.memory_out - one == whole - first
    assert photos.memory_out == 0
    whole_photo.get()()  # nobody's photo any more
    assert photos.memory_out == 0


def test_who_gets_no_more_memory_is_refused_and_keeps_none() -> None:
    photo, photos = jpeg(), admission(mebibytes=130, wait_seconds=0.05)
    with photos.place(photo, wait_seconds=0), photos.place(photo, wait_seconds=0):
        out = photos.memory_out
        with pytest.raises(Overloaded):
            whole_photo.get()()
        assert photos.memory_out == out
    assert photos.memory_out == 0
    small = admission(mebibytes=80)
    with small.place(photo, wait_seconds=0):
        with pytest.raises(PhotoTooLarge) as refused:
            whole_photo.get()()
        assert refused.value.metadata["needed"] == str(-(-(4 * len(photo) + estimated_peak_bytes(photo)) // MEBIBYTE))
    assert small.memory_out == 0


def test_a_photo_in_work_gets_memory_before_those_that_wait_for_a_place() -> None:
    photo, photos = jpeg(), admission(mebibytes=140, wait_seconds=5)
    order: list[str] = []

    def another() -> None:
        with photos.place(photo, wait_seconds=5):
            order.append("another")

    with photos.place(photo, wait_seconds=0) as first, ExitStack() as second:
        second.enter_context(photos.place(photo, wait_seconds=0))
        waiting = threading.Thread(target=another)
        waiting.start()
        while not photos.is_short:
            time.sleep(0.001)
        growing = threading.Thread(target=lambda: (first.is_decoded_whole(), order.append("grown")))
        growing.start()
        time.sleep(0.05)
        second.close()
        growing.join(5)
        assert order == ["grown"]
    waiting.join(5)
    assert order == ["grown", "another"]
    assert photos.memory_out == 0


def test_two_hundred_megapixels_fit_into_what_there_is_by_default() -> None:
    settings = ApplySettings(photo_megapixels_limit=200)
    photos = PhotoAdmission(
        places=1, memory_bytes=settings.memory_mebibytes * MEBIBYTE, wait_seconds=0, limits=settings.photo_limits
    )
    with photos.place(jpeg(16320, 12240), wait_seconds=0):
        assert photos.memory_out < settings.memory_mebibytes * MEBIBYTE
    with pytest.raises(PhotoTooLarge), admission().place(jpeg(16320, 12240), wait_seconds=0):
        pass
    roomy = ApplySettings(photo_megapixels_limit=200, memory_mebibytes=2560)
    limits = PhotoLimits(max_pixels=200 * 10**6)
    assert (
        estimated_peak_bytes(jpeg(16320, 12240), limits=limits) + 4 * 60 * MEBIBYTE < roomy.memory_mebibytes * MEBIBYTE
    )


def test_who_would_wait_too_long_is_refused_at_once() -> None:
    photos, photo = admission(places=1, wait_seconds=0.05), small_file(64, 64)
    for _ in range(30):
        with photos.place(photo, wait_seconds=1):
            time.sleep(0.02)
    with ExitStack() as line:
        count = 0

        def fill() -> None:
            nonlocal count
            for _ in range(10):
                line.enter_context(photos.arriving("ApplyCloak"))
                count += 1

        with pytest.raises(Overloaded) as refused:
            fill()
        # Photos take 20 ms: the third or fourth would wait for more than 50.
        assert 2 <= count <= 4
        assert float(refused.value.metadata["retry_after_seconds"]) == 0.5
    with photos.arriving("ApplyCloak"):
        pass
    # The same before anything of a call is known.
    photos._turn_seconds = 0.02
    assert photos.refusal(1) is None
    refusal = photos.refusal(100)
    assert refusal is not None
    # A hundred of 20 ms: as long as that the caller need not come back.
    assert 1.0 < float(refusal.metadata["retry_after_seconds"]) < 4.0


def test_those_who_are_refused_come_back_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr("apply_service.photo_admission.time", SimpleNamespace(monotonic=lambda: clock))
    photos = admission(places=1, wait_seconds=0.05)
    photos._turn_seconds = 0.02

    def told() -> float:
        refusal = photos.refusal(10)
        assert refusal is not None
        return float(refusal.metadata["retry_after_seconds"])

    times = [told() for _ in range(200)]
    assert times == sorted(times)
    assert times[0] == 0.5
    # The ten before them, and 200 of 20 ms.
    assert times[-1] == pytest.approx(4.2)
    # None is told so long that it would rather give up.
    assert max(told() for _ in range(2000)) == 15.0
    # Once the time has passed that they take, nobody waits for them.
    clock += 60
    assert told() == 0.5


class Blocked:
    """A cloaker that waits before it works."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.entered, self.go_on = threading.Semaphore(0), threading.Event()

    def cloak(self, *arguments: Any, **options: Any) -> Any:
        self.entered.release()
        assert self.go_on.wait(20)
        return self._real.cloak(*arguments, **options)


def test_a_service_admits_what_fits(make_service: Callable[..., Any], astronaut_photo: bytes) -> None:
    service = make_service(in_flight_limit=8, memory_mebibytes=400, admission_seconds=0.2)
    servicer = _servicer(service)
    blocked = servicer._cloaker = Blocked(servicer._cloaker)
    photo = small_file()
    first = service.stub.ApplyCloak.future(request(photo, "alice"), timeout=30)
    assert blocked.entered.acquire(timeout=5)
    second = service.stub.ApplyCloak.future(request(photo, "alice"), timeout=30)
    beside = service.stub.ApplyCloak.future(request(astronaut_photo, "alice"), timeout=30)
    error = to_remote_error(second.exception())
    assert (error.code, error.reason, error.retry_seconds) == (ErrorCode.RESOURCE_EXHAUSTED, "OVERLOADED", 0.5)
    # A stream waits for its turn.
    answers = stream(service, numbered([request(photo, "alice"), request(small_file(4000, 3000), "alice")]))
    time.sleep(0.3)
    blocked.go_on.set()
    assert first.result().subjects[0].outcome == apply_pb2.CLOAK_OUTCOME_NO_FACE
    assert len(beside.result().photo) > 0
    by_sequence = {answer.sequence: answer for answer in answers}
    assert by_sequence[0].response.subjects[0].outcome == apply_pb2.CLOAK_OUTCOME_NO_FACE
    assert "more memory than the service has" in by_sequence[1].error.message
    with pytest.raises(RemoteError) as refused:
        apply(service, small_file(4000, 3000), "alice")
    assert (refused.value.reason, refused.value.metadata["limit"]) == ("PHOTO_TOO_LARGE", "memory_mebibytes")
    assert servicer._photos.memory_out == 0


def test_streams_without_photos_end(make_service: Callable[..., Any], astronaut_photo: bytes) -> None:
    service = make_service(streams_limit=2, message_seconds=0.5, stream_idle_seconds=1.0)
    more = threading.Event()

    def nothing() -> Any:
        more.wait(20)
        yield from ()

    def one() -> Any:
        yield from numbered([request(astronaut_photo, "nobody")])
        more.wait(20)

    idle, used = stream(service, nothing()), stream(service, one())
    assert next(used).response.photo == astronaut_photo
    started = time.monotonic()
    for call in (idle, used):
        with pytest.raises(RemoteError) as ended, remote_errors():
            next(call)
        assert (ended.value.code, ended.value.reason) == (ErrorCode.DEADLINE_EXCEEDED, "REQUEST_INCOMPLETE")
    assert time.monotonic() - started < 3
    more.set()
    assert isinstance(idle.code(), grpc.StatusCode)
    assert next(stream(service, numbered([request(astronaut_photo, "nobody")]))).response.photo == astronaut_photo
