"""A face in an animation: covered in every frame that shows it, or not called covered."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from facecloak.cloaking.cloaker import Cloaker, Outcome, Subject
from facecloak.masks.mask import Mask
from facecloak.photos import PhotoLimits
from facecloak.photos.animation import decode_animation, read_animation
from tests.photos.test_animation import KINDS, animation, seen
from tests.photos.test_splice import soft

MASK = Mask.new(soft(np.random.default_rng(1), 112, 112, levels=20).round().astype(np.int8), seed=1)
LIMITS = PhotoLimits()


@pytest.fixture(scope="module")
def cloaker(model_repository: Path) -> Cloaker:
    return Cloaker.load({"alice": MASK}, model_repository=model_repository)


@pytest.fixture(scope="module")
def walk(astronaut_srgb_u8: np.ndarray) -> list[np.ndarray]:
    """The face, moving a little from frame to frame."""
    small = cv2.resize(astronaut_srgb_u8, (256, 256), interpolation=cv2.INTER_AREA)
    return [np.ascontiguousarray(np.roll(small, 6 * step, axis=1)) for step in range(4)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_is_covered_and_the_timing_stays(cloaker: Cloaker, walk: list[np.ndarray], kind: str) -> None:
    data = animation(walk, kind)
    result = cloaker.cloak(data, [Subject("alice")])
    assert result.subjects[0].outcome is Outcome.CLOAKED
    before, after = seen(data), seen(result.photo)
    assert after[1:] == before[1:]
    for old, new in zip(before[0], after[0], strict=True):
        change = np.abs(new.astype(int) - old)
        assert change[20:110, 60:200].mean() > 1
        if kind != "GIF":
            assert change[200:].max() == 0
    again = cloaker.cloak(result.photo, [Subject("alice")])
    assert (again.subjects[0].outcome, again.photo) == (Outcome.ALREADY_CLOAKED, result.photo)


def test_frames_without_anybody_do_not_stand_in_the_way(cloaker: Cloaker, walk: list[np.ndarray]) -> None:
    frames = [np.full_like(walk[0], 90), walk[0], walk[1], np.full_like(walk[0], 80)]
    data = animation(frames, "WEBP")
    result = cloaker.cloak(data, [Subject("alice")])
    assert result.subjects[0].outcome is Outcome.CLOAKED
    header = read_animation(result.photo, LIMITS)
    assert header is not None
    shown = decode_animation(result.photo, header, limits=LIMITS).frames[:, :, :, :3]
    assert [bool((new != old).any()) for new, old in zip(shown, frames, strict=True)] == [False, True, True, False]


def test_a_frame_that_cannot_be_covered_leaves_all_as_it_came(cloaker: Cloaker, walk: list[np.ndarray]) -> None:
    """Two faces from the start: nobody knows which is alice's."""
    data = animation([two_faces(walk[0]), walk[1]], "PNG")
    result = cloaker.cloak(data, [Subject("alice")])
    assert result.subjects[0].outcome is Outcome.AMBIGUOUS_FACE
    assert result.subjects[0].advice.startswith("In frame 1 of 2")
    assert result.photo == data


def two_faces(frame: np.ndarray) -> np.ndarray:
    half = cv2.resize(frame, (128, 128), interpolation=cv2.INTER_AREA)
    out = np.full_like(frame, 127)
    out[64:192, :128], out[64:192, 128:] = half, half
    return out


def test_who_is_in_no_frame_is_not_covered(cloaker: Cloaker) -> None:
    frames = [np.full((64, 64, 3), level, np.uint8) for level in (60, 90, 120)]
    data = animation(frames, "WEBP")
    result = cloaker.cloak(data, [Subject("alice"), Subject("bob")])
    assert [subject.outcome for subject in result.subjects] == [Outcome.NO_FACE, Outcome.NO_MASK]
    assert result.photo == data
    still = io.BytesIO()
    Image.fromarray(frames[0]).save(still, "GIF")
    assert cloaker.cloak(still.getvalue(), [Subject("alice")]).subjects[0].outcome is Outcome.NO_FACE
