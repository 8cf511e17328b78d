"""Frames that show the same are searched once, and none in which a face may be new goes unsearched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from facecloak.cloaking import animated
from facecloak.cloaking.cloaker import Cloaker, Outcome, Subject, SubjectResult
from facecloak.cloaking.known_frames import KnownFrames
from facecloak.cloaking.results import Placed
from facecloak.faces import ARCFACE_TEMPLATE, Box, Face, FaceFinder
from tests.cloaking.test_animated import MASK
from tests.photos.test_animation import animation, seen

GRAY = np.full((96, 128, 4), 90, np.uint8)
FACE = Face(Box(1, 1, 50, 50), ARCFACE_TEMPLATE, 1.0)


def found(outcome: Outcome, faces: Sequence[Face] = ()) -> Placed:
    placed = Placed()
    placed.results[0] = SubjectResult("alice", outcome, faces=tuple(faces))
    return placed


def with_box(left: int, top: int, width: int, height: int) -> np.ndarray:
    frame = GRAY.copy()
    frame[top : top + height, left : left + width, :3] += 1
    return frame


@pytest.mark.parametrize(
    "placed",
    [
        found(Outcome.NO_FACE),
        found(Outcome.NO_FACE, [FACE]),
        found(Outcome.CLOAKED),
        found(Outcome.AMBIGUOUS_FACE, [FACE, FACE]),
    ],
    ids=["nobody", "others", "cloaked", "ambiguous"],
)
def test_only_the_same_pixels_are_known(placed: Placed) -> None:
    known = KnownFrames()
    assert known.placed_on(GRAY) is None
    known.searched(GRAY, placed)
    assert known.placed_on(GRAY.copy()) is placed
    assert known.placed_on(with_box(5, 7, 1, 1)) is None


def test_held_frames_are_searched_once_and_all_are_covered(
    astronaut_srgb_u8: np.ndarray, model_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    face = cv2.resize(astronaut_srgb_u8, (256, 256), interpolation=cv2.INTER_AREA)
    moved, nobody = np.roll(face, 6, axis=1), np.full_like(face, 90)
    blink = nobody.copy()
    blink[200:206, 3:9] = 250
    # What is shown twice in a row is one frame for longer: writers join such frames.
    frames = [face, moved, face, moved, face, nobody, blink, nobody]
    looked: list[int] = []
    real = animated.PhotoSession

    def counted(*args: Any, **options: Any) -> Any:
        looked.append(1)
        return real(*args, **options)

    monkeypatch.setattr(animated, "PhotoSession", counted)
    data = animation(frames, "WEBP", duration=100)
    result = Cloaker.load({"alice": MASK}, model_repository=model_repository).cloak(data, [Subject("alice")])
    assert result.subjects[0].outcome is Outcome.CLOAKED
    assert len(looked) == 4
    before, after = seen(data)[0], seen(result.photo)[0]
    changed = [
        bool(np.abs(new.astype(int) - old)[20:110, 60:200].mean() > 1) for new, old in zip(after, before, strict=True)
    ]
    assert changed == [True] * 5 + [False] * 3


def test_a_face_that_appears_is_searched_for(astronaut_srgb_u8: np.ndarray, model_repository: Path) -> None:
    """After frames without anybody, be it in a corner of one."""
    small = cv2.resize(astronaut_srgb_u8, (128, 128), interpolation=cv2.INTER_AREA)
    nobody = np.full((256, 256, 3), 127, np.uint8)
    late = nobody.copy()
    late[100:228, 100:228] = small
    data = animation([nobody, nobody + 1, nobody, late], "WEBP")
    result = Cloaker.load({"alice": MASK}, model_repository=model_repository).cloak(data, [Subject("alice")])
    assert result.subjects[0].outcome is Outcome.CLOAKED
    assert (seen(result.photo)[0][-1] != seen(data)[0][-1]).any()


def test_a_small_face_behind_a_small_patch_is_found_when_the_patch_is_gone(
    astronaut_srgb_u8: np.ndarray, model_repository: Path
) -> None:
    """Frames that differ in a few px only, and one of them shows nobody as far as can be seen."""
    small = cv2.resize(astronaut_srgb_u8, None, fx=0.3, fy=0.3, interpolation=cv2.INTER_AREA)
    shown = np.full((480, 640, 3), 128, np.uint8)
    shown[100 : 100 + small.shape[0], 100 : 100 + small.shape[1]] = small
    finder = FaceFinder.load(model_repository)
    (face,) = finder.find(shown)
    x, y = np.round(face.landmarks[2]).astype(int)
    hidden = shown.copy()
    hidden[y - 6 : y + 6, x - 6 : x + 6] = 0
    assert not finder.find(hidden)
    data = animation([hidden, shown], "WEBP", lossless=True)
    result = Cloaker.load({"alice": MASK}, model_repository=model_repository).cloak(data, [Subject("alice")])
    assert result.subjects[0].outcome is Outcome.CLOAKED
    before, after = seen(data)[0], seen(result.photo)[0]
    place = slice(y - 12, y + 12), slice(x - 12, x + 12)
    assert np.abs(after[1][place].astype(int) - before[1][place]).mean() > 1
