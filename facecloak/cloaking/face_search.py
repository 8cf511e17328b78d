"""Whose face is where in one photo: by the caller's hints, else by searching, on the cheapest look that shows it.

A hint is never believed unseen. A photo of several people is nobody's without one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from facecloak.call_context import StepObserver, interrupted_by, interruption, unobserved
from facecloak.cloaking.hint_advice import advice_on
from facecloak.cloaking.photo_session import PhotoSession
from facecloak.cloaking.placement import square_side_px
from facecloak.cloaking.subject import InvalidFaceHint, Outcome, Subject, box_of_landmarks, check_hint
from facecloak.faces import WORKING_SIDE_PX, Box, Face, WorkingCopy, longest_looked_at, main_face
from facecloak.photos import PhotoLimits
from facecloak.photos.animation import still_of
from facecloak.photos.splice import Look

_CHOOSE = "The photo shows several faces: send one of them as the hint."
_NOT_THERE = "No face that is seen is where the hint says."

# In a photo of 64 faces it takes 80 ms; whoever errs for some subjects errs for all of them in the same way.
_MOST_ADVICE = 4

_SAME_FACE_DISTANCE = 0.3
# What the finest of the finder's networks sees of a face (192 px about 1.7 faces). Measured on faces of 740 to 2090
# px: landmarks from looks of 120, 160 and 320 px are within 0.08 px of the crop of those from the whole photo; over 53
# faces of all sizes, looks of 104, 112 and 128 px do not differ.
_SIDE_PX = 112.0
# Half the side of the part that is looked at, in sides of the box: what the finder's own looks reach.
_REACH = 1.0
# Of a detector's square, which may lie further off.
_WIDE_REACH = 1.5
# What share of that a look must show around a face to be used again.
_LEAST_REACH = 0.8
# What share of the scale that a face wants it must have.
_LEAST_SCALE = 0.75
# Up to this side, decoding a face's surroundings once at full size costs less than once small and its middle again.
_KEPT_SIDE_PX = 256.0
# From 2560 px on, looking at all of a photo at 3/8 or less costs less than decoding and shrinking it.
_LARGEST_SMALL_SCALE = 3 / 8


class FaceLocator(Protocol):
    """What is needed of :class:`facecloak.faces.FaceFinder`."""

    def find(self, srgb_u8: np.ndarray) -> list[Face]: ...

    def find_by_looks(self, small: WorkingCopy, *, look: Callable[[Box], WorkingCopy | None]) -> list[Face] | None: ...

    def find_main(self, small: WorkingCopy, *, look: Callable[[Box], WorkingCopy | None]) -> Face | None: ...

    @property
    def glance_side_px(self) -> int | None: ...

    def landmarks_for(self, srgb_u8: np.ndarray, box: Box) -> Face | None: ...

    def face_at(self, srgb_u8: np.ndarray, landmarks: np.ndarray) -> Face | None: ...

    def mesh_of(self, srgb_u8: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None: ...


@dataclass(frozen=True)
class Sought:
    """A subject's face, or why there is none.

    Attributes:
        face: None unless ``outcome`` is CLOAKED.
        outcome: what is to be said of the subject where nothing else comes up.
        advice: a sentence on what to do about it; may be empty.
        faces: those that the photo shows, largest first, where the caller must choose.
    """

    face: Face | None
    outcome: Outcome = Outcome.CLOAKED
    advice: str = ""
    faces: tuple[Face, ...] = ()


@dataclass(frozen=True)
class FoundFaces:
    """The faces of an upright photo of ``width`` x ``height`` px, largest first."""

    width: int
    height: int
    faces: tuple[Face, ...]


class FaceSearch:
    """The faces of one photo: found at most once, and only when a hint does not lead to one, or there is none."""

    def __init__(self, finder: FaceLocator, photo: PhotoSession) -> None:
        self._finder = finder
        self._photo = photo
        self._found: tuple[Face, ...] | None = None
        self._taken: list[Face] = []
        self._advised = 0
        self._look: Look | None = None

    def check_hint(self, subject: Subject, *, index: int) -> None:
        """Raises :class:`InvalidFaceHint` for a hint that cannot be one; ``index`` names the subject."""
        try:
            check_hint(subject, width=self._photo.width, height=self._photo.height, index=index)
        except InvalidFaceHint as error:
            advice = self._advice_on(subject) if subject.is_finite else ""
            if advice:
                raise InvalidFaceHint(f"{error.public_message} {advice}", **error.metadata) from error
            raise

    def face_of(self, subject: Subject) -> Sought:
        """The subject's face, or None and why."""
        if subject.has_hint:
            face = self._hinted(subject)
            if face is not None:
                return Sought(face)
            return Sought(None, Outcome.NO_FACE, self._advice_on(subject) or _NOT_THERE, self.faces)
        if self._main_at_a_glance is not None:
            return Sought(self._main_at_a_glance)
        if not self.faces:
            return Sought(None, Outcome.NO_FACE)
        face = main_face(self.faces, width=self._photo.width, height=self._photo.height)
        return Sought(face) if face is not None else Sought(None, Outcome.AMBIGUOUS_FACE, _CHOOSE, self.faces)

    @property
    def faces(self) -> tuple[Face, ...]:
        """All faces of the photo, largest first."""
        if self._found is None:
            self._found = tuple(self._all_faces())
        return self._found

    def _hinted(self, subject: Subject) -> Face | None:
        if subject.landmarks is not None:
            return self._face_at(np.asarray(subject.landmarks, np.float64))
        assert subject.box is not None
        return self._face_in(subject.box)

    def _advice_on(self, subject: Subject) -> str:
        photo = self._photo
        self._advised += 1
        if self._advised > _MOST_ADVICE:
            return ""
        return advice_on(subject, self.faces, orientation=photo.orientation, width=photo.width, height=photo.height)

    def take(self, face: Face) -> bool:
        """Claim a face for one subject; False where another has it."""
        if any(_same_face(face, other) for other in self._taken):
            return False
        self._taken.append(face)
        return True

    def mesh_of(self, face: Face) -> np.ndarray | None:
        """(468, 3) the mesh of a face in upright photo px; None where the finder sees none."""
        if face.mesh is not None:
            return face.mesh
        look = self._look_around(face.box)
        if look is None:
            return self._finder.mesh_of(self._photo.srgb_u8, face.landmarks)
        offset = np.array([look.left, look.top])
        mesh = self._finder.mesh_of(look.srgb_u8, (face.landmarks - offset + 0.5) * look.scale - 0.5)
        return None if mesh is None else _placed_mesh(mesh, look)

    def _all_faces(self) -> list[Face]:
        """All faces of the photo. The detector sees at most 960 px of it: where it has many more, these are decoded
        alone, and what is around each face."""
        width, height = self._photo.width, self._photo.height
        scale = WORKING_SIDE_PX / longest_looked_at(width=width, height=height)
        if scale <= _LARGEST_SMALL_SCALE:
            small = self._photo.look((0, 0, width, height), smallest_scale=scale)
            if small is not None:
                faces = self._finder.find_by_looks(_copy(small), look=self._wide_look)
                if faces is not None:
                    return faces
        return self._finder.find(self._photo.srgb_u8)

    @cached_property
    def _main_at_a_glance(self) -> Face | None:
        """The face that the photo is of, where that is plain in a small copy of it."""
        side = None if self._found is not None else self._finder.glance_side_px
        width, height = self._photo.width, self._photo.height
        if side is None or longest_looked_at(width=width, height=height) < max(width, height):
            return None
        small = self._photo.look((0, 0, width, height), smallest_scale=side / max(width, height))
        if small is not None:
            return self._finder.find_main(_copy(small), look=self._near_look)
        whole = WorkingCopy(self._photo.srgb_u8, np.eye(2, 3))
        return self._finder.find_main(whole, look=lambda _: whole)

    def _near_look(self, box: Box) -> WorkingCopy | None:
        look = self._look_around(box)
        return None if look is None else _copy(look)

    def _wide_look(self, box: Box) -> WorkingCopy | None:
        look = self._look_around(box, reach=_WIDE_REACH)
        return None if look is None else _copy(look)

    def _face_at(self, landmarks: np.ndarray) -> Face | None:
        """The face whose landmarks a hint says these are."""
        look = self._look_around(box_of_landmarks(landmarks))
        if look is not None:
            offset = np.array([look.left, look.top])
            face = self._finder.face_at(look.srgb_u8, (landmarks - offset + 0.5) * look.scale - 0.5)
            if face is not None:
                return placed(face, look)
        # As with a box: what a part does not show, the whole may.
        return self._finder.face_at(self._photo.srgb_u8, landmarks)

    def _face_in(self, box: Box) -> Face | None:
        # What a part does not show, the whole may: nobody goes uncloaked for having been looked at cheaply.
        return self.face_near(box) or self._finder.landmarks_for(self._photo.srgb_u8, box)

    def face_near(self, box: Box) -> Face | None:
        """The face in a box, as the box's surroundings alone show it."""
        look = self._look_around(box)
        if look is None:
            return None
        face = self._finder.landmarks_for(look.srgb_u8, _seen(box, look))
        return None if face is None else placed(face, look)

    def _look_around(self, box: Box, *, reach: float = _REACH) -> Look | None:
        """A box's surroundings; the latest one again where it shows them."""
        side = float(np.sqrt(box.width * box.height))
        x, y = box.center
        # Not one that was made for a larger face beside this one, and shows this one too small.
        fine = self._look is not None and self._look.scale >= _LEAST_SCALE * min(1.0, _SIDE_PX / side)
        if self._look is not None and fine and _shows(self._look, x, y, reach=_LEAST_REACH * reach * side):
            return self._look
        reach *= side
        part = (
            max(int(x - reach), 0), max(int(y - reach), 0),
            min(int(x + reach) + 1, self._photo.width), min(int(y + reach) + 1, self._photo.height),
        )  # fmt: skip
        if part[0] >= part[2] or part[1] >= part[3]:
            return None
        # A mask that moves a small face wants it at full size anyway.
        self._look = self._photo.look(part, smallest_scale=_SIDE_PX / side, keep=side <= _KEPT_SIDE_PX)
        return self._look


def faces_of(
    data: bytes,
    *,
    finder: FaceLocator,
    limits: PhotoLimits,
    observer: StepObserver = unobserved,
    check: Callable[[], None] | None = None,
) -> FoundFaces:
    """The faces of a photo file, or of an animation's first frame, where a hint is to tell whose they are. Raises
    :class:`PhotoRefused`, and what ``check``, called between steps, raises."""
    limits.check_bytes(len(data))
    check = check or interruption.get()
    with interrupted_by(check):
        photo = PhotoSession(still_of(data, limits=limits), limits=limits, observer=observer)
        check()
        with observer("find"):
            return FoundFaces(photo.width, photo.height, FaceSearch(finder, photo).faces)


def _copy(look: Look) -> WorkingCopy:
    size = 1 / look.scale
    # Pixel centers are whole numbers, in both.
    offset = np.array([look.left, look.top]) + (size - 1) / 2
    return WorkingCopy(look.srgb_u8, np.hstack([np.eye(2) * size, offset[:, None]]))


def _shows(look: Look, x: float, y: float, *, reach: float) -> bool:
    """Whether a look holds the square of ``2 * reach`` px about a place of the photo."""
    height, width = look.srgb_u8.shape[:2]
    return (
        look.left <= x - reach
        and look.top <= y - reach
        and x + reach <= look.left + width / look.scale
        and y + reach <= look.top + height / look.scale
    )


def _seen(box: Box, look: Look) -> Box:
    """A box of the photo in px of a look."""
    scale = look.scale
    return Box((box.x - look.left) * scale, (box.y - look.top) * scale, box.width * scale, box.height * scale)


def placed(face: Face, look: Look) -> Face:
    """A face in px of a look as a face of the photo. Pixel centers are whole numbers, in both."""
    scale = look.scale
    landmarks = (face.landmarks + 0.5) / scale - 0.5 + (look.left, look.top)
    box = face.box
    return Face(
        Box(box.x / scale + look.left, box.y / scale + look.top, box.width / scale, box.height / scale),
        landmarks.astype(np.float32),
        face.score,
        None if face.mesh is None else _placed_mesh(face.mesh, look),
    )


def _placed_mesh(mesh: np.ndarray, look: Look) -> np.ndarray:
    placed = mesh / look.scale
    placed[:, :2] = (mesh[:, :2] + 0.5) / look.scale - 0.5 + (look.left, look.top)
    return placed


def _same_face(one: Face, other: Face) -> bool:
    distance = np.linalg.norm(one.landmarks.mean(axis=0) - other.landmarks.mean(axis=0))
    return bool(distance < _SAME_FACE_DISTANCE * min(square_side_px(one), square_side_px(other)))
