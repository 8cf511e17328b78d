"""Animations: every frame gets the same mask, and each face is followed from frame to frame: looked for where the last
one had it, and in all of the frame where it is not there, or where nobody was seen.

A frame that shows faces, and not the subject's as far as can be told, stands in the way: who is uncovered in one frame
is not covered. A frame without any face does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from facecloak.call_context import StepObserver, interruption
from facecloak.cloaking.blend import add_in_place
from facecloak.cloaking.known_frames import KnownFrames
from facecloak.cloaking.photo_session import FAINTEST_KEPT, PhotoSession
from facecloak.cloaking.placement import Placement
from facecloak.cloaking.results import Placed, SubjectResult
from facecloak.cloaking.subject import Outcome, Subject
from facecloak.photos import Encoded, PhotoLimits
from facecloak.photos.animation import Animation, decode_animation, frame_as_png, read_animation
from facecloak.photos.kept_change import kept_along, part_of

Place = Callable[[PhotoSession, Sequence[Subject]], Placed]

_LOST = "Hardly anything of the mask would be left in frame {frame}: send the animation in a better quality."
# Of files just written.
_UNLIMITED = PhotoLimits(max_bytes=2**31, max_pixels=2**31, max_frames=2**31, max_animation_pixels=2**40)
# What is said of a user, and not of a frame.
_OF_USERS = (Outcome.NO_MASK, Outcome.ALREADY_CLOAKED, Outcome.OLDER_CLOAK)


@dataclass(frozen=True)
class CloakedFrames:
    """An animation with masks on its frames; ``encoded`` is None where nobody gets one."""

    placed: Placed
    encoded: Encoded | None = None


def cloak_frames(
    animation: Animation, subjects: Sequence[Subject], place: Place, *, limits: PhotoLimits, observer: StepObserver
) -> CloakedFrames:
    """Places every subject's mask on every frame that shows a face, and encodes the animation with them.

    Args:
        place: finds the subjects on one frame.
    """
    frames = animation.frames
    whole = Placed()
    laid: list[dict[int, Placement]] = []
    followed = list(subjects)
    known = KnownFrames()
    for number, frame in enumerate(frames, 1):
        interruption.get()()
        placed = known.placed_on(frame)
        if placed is None:
            photo = PhotoSession(frame_as_png(frame), limits=limits, observer=observer)
            placed = _with_lost_faces(place(photo, followed), photo, followed, subjects, place)
            known.searched(frame, placed)
        for index, result in placed.results.items():
            whole.masks.setdefault(index, placed.masks[index])
            if result.outcome is Outcome.CLOAKED and result.face is not None:
                whole.masks[index] = placed.masks[index]
                followed[index] = replace(followed[index], box=result.face.box, landmarks=None)
            _remember(whole, index, result, frame=number, frames=len(frames))
        laid.append(placed.placements)
    wanted = [index for index, result in whole.results.items() if result.outcome is Outcome.CLOAKED]
    if not wanted:
        return CloakedFrames(whole)
    cloaked = frames.copy()
    with observer("add"):
        for frame, placements in zip(cloaked, laid, strict=True):
            interruption.get()()
            for index, placement in placements.items():
                if index in wanted:
                    add_in_place(frame, placement)
    interruption.get()()
    with observer("encode"):
        encoded = animation.encode(cloaked)
    interruption.get()()
    lost = _lost(animation, cloaked, encoded.data, laid, wanted)
    for index, number in lost.items():
        was = whole.results[index]
        whole.results[index] = SubjectResult(
            was.user_id, Outcome.MASK_LOST, was.face, advice=_LOST.format(frame=number)
        )
    # Who is left is not worth a second encoding: nobody is cloaked in what goes back as it came.
    if lost:
        for index in wanted:
            if index not in lost:
                was = whole.results[index]
                advice = "Another subject's mask would be lost in the animation: ask without that subject."
                whole.results[index] = SubjectResult(was.user_id, Outcome.MASK_LOST, was.face, advice=advice)
        return CloakedFrames(whole)
    return CloakedFrames(whole, encoded)


def _with_lost_faces(
    placed: Placed, photo: PhotoSession, followed: Sequence[Subject], subjects: Sequence[Subject], place: Place
) -> Placed:
    """Who is not where the last frame had them is the only face there is, where there is one."""
    again = list(followed)
    for index, result in placed.results.items():
        if result.outcome is Outcome.NO_FACE and len(result.faces) == 1 and len(subjects) == 1:
            again[index] = replace(followed[index], box=result.faces[0].box, landmarks=None)
    return place(photo, again) if again != list(followed) else placed


def _remember(whole: Placed, index: int, result: SubjectResult, *, frame: int, frames: int) -> None:
    """What is to be said of a subject after one more frame: what stands in the way stays."""
    known = whole.results.get(index)
    if known is None or known.outcome in (Outcome.CLOAKED, Outcome.NO_FACE):
        if result.outcome is Outcome.CLOAKED:
            if known is None or (known.outcome is Outcome.NO_FACE and not known.faces):
                whole.results[index] = result
        elif result.outcome is Outcome.NO_FACE and not result.faces:
            whole.results.setdefault(index, result)  # nobody is in this frame
        elif known is None or known.outcome is Outcome.CLOAKED or not known.faces:
            where = "" if result.outcome in _OF_USERS else f"In frame {frame} of {frames}: "
            whole.results[index] = replace(result, advice=f"{where}{result.advice}".strip())


def _lost(
    animation: Animation, cloaked: np.ndarray, data: bytes, laid: Sequence[dict[int, Placement]], wanted: Sequence[int]
) -> dict[int, int]:
    """The subjects whose mask the file does not keep, and the first frame of which that is so."""
    header = read_animation(data, _UNLIMITED)
    shown = decode_animation(data, header, limits=_UNLIMITED).frames if header is not None else cloaked[:0]
    lost: dict[int, int] = {}
    height, width = cloaked.shape[1:3]
    at, seen = 0.0, 0
    ends = np.cumsum(header.durations_ms) if header is not None else np.zeros(0)
    for number, placements in enumerate(laid, 1):
        # Writers join frames that are alike: then the one that is shown at that time counts.
        if len(shown) != len(laid):
            seen = min(int(np.searchsorted(ends, at, side="right")), len(shown) - 1)
        else:
            seen = number - 1
        at += animation.header.durations_ms[number - 1]
        for index, placement in placements.items():
            if index not in wanted or index in lost:
                continue
            bounds = placement.bounds(width=width, height=height)
            old = part_of(animation.frames[number - 1], bounds)
            change = part_of(cloaked[number - 1], bounds) - old
            if seen < 0 or kept_along(change, part_of(shown[seen], bounds) - old) < FAINTEST_KEPT:
                lost[index] = number
    return lost
