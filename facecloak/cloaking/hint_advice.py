"""What a hint that fits no face was meant to be: the usual mistakes, tried on the faces that the photo shows.

The mistakes: coordinates of the stored pixels where EXIF turns the photo, of a copy in another size, shares or percent
of the sides, of the mirrored picture; and two of these at once. It is only advice: no face is ever chosen by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from facecloak.cloaking.subject import Subject
from facecloak.faces import Box, Face, InvalidBox
from facecloak.faces.hints import are_of, fits
from facecloak.faces.landmarks import distance_px
from facecloak.photos.orientation import inverse_of, turned_points

# Eyes and mouth corners change sides where a picture is mirrored or upside down, and for who names them by the person.
_SWAPPED = [1, 0, 2, 4, 3]
_ORDERS = ([0, 1, 2, 3, 4], _SWAPPED)
# Coordinates that differ by less than this are of the same size.
_SAME_SIZE = 0.03
# Among many faces, a hint fits one of them in some size by chance.
_FACES_TO_SCALE_ONTO = 8
# EXIF orientations that mirror; the first mirrors and does nothing else.
_MIRRORED = 2
_MIRRORING = (2, 4, 5, 7)


@dataclass(frozen=True)
class _Frame:
    """A picture that a hint's coordinates may be of: the photo turned back by ``orientation``, and its size, px."""

    name: str
    orientation: int
    width: int
    height: int

    def seen(self, points: np.ndarray) -> np.ndarray:
        """Places of the upright photo in this picture."""
        back = inverse_of(self.orientation)
        width, height = (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)
        return turned_points(points, back, width=width, height=height)

    def seen_landmarks(self, face: Face) -> np.ndarray:
        """A face's five landmarks in this picture, left and right as they are there."""
        seen = self.seen(face.landmarks)
        return seen[_SWAPPED] if self.orientation in _MIRRORING else seen


def advice_on(subject: Subject, faces: Sequence[Face], *, orientation: int, width: int, height: int) -> str:
    """A sentence on what a subject's hint fits best, given the faces of the upright photo of ``width`` x ``height`` px;
    empty where it fits nothing in any way that is tried."""
    points = _points_of(subject)
    upright = _Frame("the photo", 1, width, height)
    frames = [upright]
    if orientation != 1:
        stored = (height, width) if orientation >= 5 else (width, height)
        frames.append(_Frame("the photo before its EXIF rotation", orientation, *stored))
    fits_best = min((reading for frame in frames for reading in _readings(points, faces, frame)), default=None)
    if fits_best is None:
        mirrored = replace(upright, name="the mirrored photo", orientation=_MIRRORED)
        fits_best = min(_same_size(points, faces, mirrored, mirrored.name), default=None)
    return "" if fits_best is None else f"The hint fits {fits_best[1]}: give pixels of the upright photo that is sent."


def _readings(points: np.ndarray, faces: Sequence[Face], frame: _Frame) -> Iterator[tuple[float, str]]:
    """How far a hint is from a face, and as what it was read then."""
    sides = np.array([frame.width, frame.height], np.float64)
    yield from _same_size(points, faces, frame, frame.name)
    yield from _same_size(points * sides, faces, frame, f"{frame.name} as shares of its sides")
    yield from _same_size(points * sides / 100, faces, frame, f"{frame.name} as percent of its sides")
    for face in faces if len(faces) <= _FACES_TO_SCALE_ONTO else ():
        for scale, apart in _scales_onto(points, face, frame):
            size = f"{round(frame.width / scale)} x {round(frame.height / scale)} pixels"
            yield apart, f"{frame.name} in the size {size}"


def _same_size(points: np.ndarray, faces: Sequence[Face], frame: _Frame, name: str) -> Iterator[tuple[float, str]]:
    for face in faces:
        apart = _apart(points, face, frame)
        if apart is not None:
            yield apart, name


def _points_of(subject: Subject) -> np.ndarray:
    """(5, 2) landmarks, or (2, 2) two corners of the box."""
    if subject.landmarks is not None:
        return np.asarray(subject.landmarks, np.float64)
    assert subject.box is not None
    return _corners(subject.box)


def _apart(points: np.ndarray, face: Face, frame: _Frame) -> float | None:
    """How far places in a picture are from this face of the upright photo; None where they are not its."""
    if len(points) == 2:
        box, hint = _box(frame.seen(_corners(face.box))), _box(points)
        return 1 - box.iou(hint) if box is not None and hint is not None and fits(box, hint) else None
    seen = replace(face, landmarks=frame.seen_landmarks(face), mesh=None)
    own = [points[order] for order in _ORDERS if are_of(seen, points[order])]
    return min((distance_px(given, seen.landmarks.astype(np.float64)) for given in own), default=None)


def _scales_onto(points: np.ndarray, face: Face, frame: _Frame) -> Iterator[tuple[float, float]]:
    """By what the places must be multiplied to be this face, and how far they are from it then."""
    if len(points) == 2:
        corners = frame.seen(_corners(face.box))
        pairs = [(points, np.stack([corners.min(axis=0), corners.max(axis=0)]))]
    else:
        pairs = [(points[order], frame.seen_landmarks(face)) for order in _ORDERS]
    for given, seen in pairs:
        scale = float((given * seen).sum() / max((given**2).sum(), 1e-12))
        if scale > 0 and abs(scale - 1) > _SAME_SIZE:
            apart = _apart(given * scale, face, frame)
            if apart is not None:
                yield scale, apart


def _corners(box: Box) -> np.ndarray:
    return np.array([[box.x, box.y], [box.x + box.width, box.y + box.height]], np.float64)


def _box(corners: np.ndarray) -> Box | None:
    (left, top), (right, bottom) = np.min(corners, axis=0).tolist(), np.max(corners, axis=0).tolist()
    try:
        return Box(left, top, right - left, bottom - top)
    except InvalidBox:
        return None
