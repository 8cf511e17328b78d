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
from facecloak.faces import ARCFACE_TEMPLATE, Box, Face
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


def test_the_same_frame_is_known_and_a_small_change_in_one_without_anybody() -> None:
    known, empty = KnownFrames(), found(Outcome.NO_FACE)
    assert known.placed_on(GRAY) is None
    known.searched(GRAY, empty)
    assert known.placed_on(GRAY.copy()) is empty
    assert known.placed_on(with_box(5, 7, 12, 12)) is empty
    assert known.placed_on(with_box(5, 7, 13, 1)) is None
    assert known.placed_on(with_box(5, 7, 1, 13)) is None
    two = with_box(0, 0, 1, 1)
    two[-1, -1] += 1
    assert known.placed_on(two) is None


def test_small_changes_do_not_add_up() -> None:
    """Each is compared with what was searched, not with the frame before it."""
    known = KnownFrames()
    known.searched(GRAY, found(Outcome.NO_FACE))
    frames = [with_box(20, 20, 4 * step, 4 * step) for step in range(1, 6)]
    assert [known.placed_on(frame) is not None for frame in frames] == [True, True, True, False, False]


@pytest.mark.parametrize(
    "placed",
    [found(Outcome.NO_FACE, [FACE]), found(Outcome.CLOAKED), found(Outcome.AMBIGUOUS_FACE, [FACE, FACE])],
    ids=["others", "cloaked", "ambiguous"],
)
def test_where_somebody_was_seen_only_the_same_pixels_are_known(placed: Placed) -> None:
    known = KnownFrames()
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
    assert len(looked) == 3
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
