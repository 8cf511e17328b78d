"""Nobody waits for a photo any more: the work on it ends at the next step, while it is encoded, too."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from facecloak.call_context import interrupted_by
from facecloak.cloaking.cloaker import Cloaker, Outcome, Subject
from facecloak.masks.mask import Mask
from facecloak.photos import DEFAULT_LIMITS, png
from facecloak.photos.native_splice import CannotSplice, Fault
from tests.photos.test_animation import KINDS, animation
from tests.photos.test_splice import soft

MASK = Mask.new(soft(np.random.default_rng(1), 112, 112, levels=20).round().astype(np.int8), seed=1)
FRAMES = 4


class Gone(Exception):
    pass


class Events:
    """The steps of a call and its checks, as they come; from the end of the step ``until`` on nobody waits."""

    def __init__(self, until: str = "") -> None:
        self.seen: list[str] = []
        self.until = until
        self.is_over = False

    @contextmanager
    def observe(self, step: str) -> Iterator[None]:
        self.seen.append(step)
        yield
        self.seen.append(f"/{step}")
        self.is_over = self.is_over or step == self.until

    def check(self) -> None:
        self.seen.append("check")
        if self.is_over:
            raise Gone


@pytest.fixture(scope="module")
def face(astronaut_srgb_u8: np.ndarray) -> np.ndarray:
    return cv2.resize(astronaut_srgb_u8, (256, 256), interpolation=cv2.INTER_AREA)


def photo(face: np.ndarray, kind: str) -> bytes:
    if kind.startswith("animated "):
        return animation([np.roll(face, 4 * step, axis=1) for step in range(FRAMES)], kind.removeprefix("animated "))
    out = io.BytesIO()
    options = {"quality": 92} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(face).save(out, kind, **options)
    return out.getvalue()


def cloak(events: Events, data: bytes, model_repository: Path) -> Outcome:
    made = Cloaker.load({"alice": MASK}, model_repository=model_repository, observer=events.observe)
    return made.cloak(data, [Subject("alice")], check=events.check).subjects[0].outcome


STILLS = ("JPEG", "PNG", "WEBP")
ANIMATED = tuple(f"animated {kind}" for kind in KINDS)


@pytest.mark.parametrize("kind", [*STILLS, *ANIMATED])
def test_it_is_asked_between_all_steps(face: np.ndarray, model_repository: Path, kind: str) -> None:
    events = Events()
    assert cloak(events, photo(face, kind), model_repository) is Outcome.CLOAKED
    steps = [event for event in events.seen if event not in ("mask", "/mask")]
    assert "add" in steps
    for one, following in itertools.pairwise(steps):
        assert not (one.startswith("/") and following in ("find", "add", "encode")), (one, following)


@pytest.mark.parametrize("kind", [*STILLS[1:], *ANIMATED])
def test_what_nobody_waits_for_is_not_encoded(face: np.ndarray, model_repository: Path, kind: str) -> None:
    events = Events(until="add")
    with pytest.raises(Gone):
        cloak(events, photo(face, kind), model_repository)
    assert "/add" in events.seen
    assert "encode" not in events.seen


@pytest.mark.parametrize("kind", STILLS[1:])
def test_what_nobody_waits_for_is_not_looked_at_again(face: np.ndarray, model_repository: Path, kind: str) -> None:
    events = Events(until="encode")
    with pytest.raises(Gone):
        cloak(events, photo(face, kind), model_repository)
    assert events.seen[-2:] == ["/encode", "check"]


@pytest.mark.parametrize("kind", ANIMATED)
def test_it_is_asked_at_each_frame_that_is_encoded(face: np.ndarray, model_repository: Path, kind: str) -> None:
    events = Events()
    cloak(events, photo(face, kind), model_repository)
    while_encoding = events.seen[events.seen.index("encode") : events.seen.index("/encode")]
    assert while_encoding.count("check") >= FRAMES


@pytest.mark.parametrize("step", ["decode", "find", "add"])
def test_a_jpeg_that_cannot_be_spliced_ends_at_each_step(
    face: np.ndarray, model_repository: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr("facecloak.cloaking.photo_session.JpegSplice", _no_splice)
    events = Events(until=step)
    with pytest.raises(Gone):
        cloak(events, photo(face, "JPEG"), model_repository)
    assert events.seen[-2:] == [f"/{step}", "check"]


def _no_splice(*_args: object, **_options: object) -> None:
    raise CannotSplice(Fault.UNSUPPORTED)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_are_written_in_strips(channels: int) -> None:
    """So that encoding ends soon after the call, however large the photo."""
    samples = np.random.default_rng(0).integers(0, 2**16, (200, 90, channels)).astype(np.uint16)
    asked: list[int] = []
    with interrupted_by(lambda: asked.append(1)):
        data = png._encode(samples)
    assert len(asked) >= 200 // 64
    np.testing.assert_array_equal(png.decode(data, DEFAULT_LIMITS).encoding.stored_u16, samples)
    got = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).reshape(200, 90, -1)
    # OpenCV has gray with alpha as four channels, and colors from blue to red.
    order = {1: [0], 2: [2, 3], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    np.testing.assert_array_equal(got[:, :, order], samples)
