"""Cloaking: a user's mask, warped to the user's face, added to a photo at the photo's own size.

This is the whole of apply's domain, from a photo's bytes to bytes; the arithmetic on pixels is :mod:`facecloak.adding`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np

from facecloak.adding import add_in_place, add_mask
from facecloak.errors import InvalidInput
from facecloak.faces import ARCFACE_TEMPLATE, Box, Face, aligning_transform
from facecloak.mask import Mask
from facecloak.photos import DEFAULT_LIMITS, Photo, PhotoLimits, decode_photo, encode_photo
from facecloak.placement import place_mask, square_side_px, wants_mesh
from facecloak.stores.errors import MaskNotFound
from facecloak.watch import Watch, unwatched

__all__ = [
    "CloakResult",
    "Cloaker",
    "Finder",
    "InvalidFaceHint",
    "MaskSource",
    "Outcome",
    "Subject",
    "SubjectResult",
    "TooManySubjects",
    "add_mask",
    "square_side_px",
]

SMALLEST_FACE_PX = 24.0
"""Smallest side of the aligned square in photo px that is cloaked: the smallest face that the finder finds."""
DOMINANT_AREA_RATIO = 4.0
"""Without a hint, the largest of several faces is the subject's only where it has this many times every other's
area."""
MAX_SUBJECTS = 64
"""Most subjects a photo: as many faces as the finder returns."""

_SAME_FACE_DISTANCE = 0.3
_HINT_MARGIN = 0.5
# Measured over 310 faces found in LFW and group photos: 0.5-9.6 template px RMS after alignment, 16.5 and more with the
# eyes or x and y swapped; a drawn full profile has 14.1, five points in a row 14.9.
_WORST_HINT_RESIDUAL_PX = 14.5


class InvalidFaceHint(InvalidInput):
    """A face hint that cannot be one: outside the photo, not finite, or five points that form no face."""

    reason = "INVALID_FACE_HINT"


class TooManySubjects(InvalidInput):
    """No subject, or more subjects than a photo may have."""

    reason = "TOO_MANY_SUBJECTS"


@dataclass(frozen=True, eq=False)
class Subject:
    """A user who is in a photo, and where, as far as the caller knows; a given ``landmarks`` goes before a ``box``.

    Attributes:
        user_id: whose mask to add.
        box: a face box in upright px.
        landmarks: (5, 2) upright px: eye on the image's left, eye on its right, nose tip, mouth corners left and right.
    """

    user_id: str
    box: Box | None = None
    landmarks: np.ndarray | None = None


class Outcome(StrEnum):
    """What was done to one subject. Everything but CLOAKED means: this person is not protected in this photo."""

    CLOAKED = "CLOAKED"
    NO_FACE = "NO_FACE"
    """No face in the photo, or none in the given box."""
    NO_MASK = "NO_MASK"
    """The user has not been enrolled."""
    AMBIGUOUS_FACE = "AMBIGUOUS_FACE"
    """Several faces, no hint, and none is dominant: give a hint."""
    FACE_TOO_SMALL = "FACE_TOO_SMALL"
    FACE_ALREADY_TAKEN = "FACE_ALREADY_TAKEN"
    """Another subject of the same call has this face."""


@dataclass(frozen=True)
class SubjectResult:
    """The outcome for one subject, the face it is about (None where there is none) and the mask that was added."""

    user_id: str
    outcome: Outcome
    face: Face | None = None
    mask_id: str | None = None


@dataclass(frozen=True)
class CloakResult:
    """The photo in its own format (the very same bytes where nobody was cloaked) and one result a subject, in order."""

    photo: bytes
    subjects: tuple[SubjectResult, ...]


class Finder(Protocol):
    """What is needed of :class:`facecloak.faces.FaceFinder`."""

    def find(self, srgb_u8: np.ndarray) -> list[Face]: ...

    def landmarks_for(self, srgb_u8: np.ndarray, box: Box) -> Face | None: ...

    def mesh_of(self, srgb_u8: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None: ...


class MaskSource(Protocol):
    """Where masks come from: a store, or a cache before one."""

    def get(self, user_id: str) -> Mask:
        """The user's mask; raises :class:`facecloak.stores.MaskNotFound`."""
        ...


class Cloaker:
    """Photos in, cloaked photos out. Holds no state between calls; as safe to share between threads as its parts."""

    def __init__(
        self,
        finder: Finder,
        masks: MaskSource,
        *,
        limits: PhotoLimits = DEFAULT_LIMITS,
        smallest_face_px: float = SMALLEST_FACE_PX,
        strength: float = 1.0,
        watch: Watch = unwatched,
    ) -> None:
        """``watch`` is told of the steps decode, mask, find, add and encode."""
        self._finder = finder
        self._masks = masks
        self._limits = limits
        self._smallest_face_px = smallest_face_px
        self._strength = strength
        self._watch = watch

    def cloak(
        self, data: bytes, subjects: Sequence[Subject], *, check: Callable[[], None] | None = None
    ) -> CloakResult:
        """Add each subject's mask to the subject's face.

        Subjects with a hint choose first, so that one without does not take a face that another is said to have.

        Args:
            data: a JPEG, PNG or WebP.
            subjects: 1 .. MAX_SUBJECTS of them.
            check: called between steps; what it raises (deadline, cancelled) ends the work.

        Raises:
            TooManySubjects, InvalidFaceHint: before any mask is fetched.
            PhotoRefused: see :func:`facecloak.photos.decode_photo`.
            FaceCloakError: what the mask source raises, other than MaskNotFound.
        """
        if not 1 <= len(subjects) <= MAX_SUBJECTS:
            raise TooManySubjects(
                f"A photo may have 1 to {MAX_SUBJECTS} subjects.", max_subjects=MAX_SUBJECTS, subjects=len(subjects)
            )
        check = check or (lambda: None)
        with self._watch("decode"):
            photo = decode_photo(data, limits=self._limits)
        check()
        for index, subject in enumerate(subjects):
            _check_hint(subject, photo, index=index)
        search = _Search(self._finder, photo)
        cloaked: np.ndarray | None = None
        results: dict[int, SubjectResult] = {}
        for index in sorted(range(len(subjects)), key=lambda index: not _has_hint(subjects[index])):
            result, mask = self._resolve(subjects[index], search)
            if mask is not None and result.face is not None:
                cloaked = photo.srgb_u8.copy() if cloaked is None else cloaked
                with self._watch("add"):
                    mesh = self._finder.mesh_of(photo.srgb_u8, result.face.landmarks) if wants_mesh(mask) else None
                add_in_place(cloaked, place_mask(mask, result.face, mesh=mesh, strength=self._strength))
            results[index] = result
            check()
        answers = tuple(results[index] for index in range(len(subjects)))
        if cloaked is None:
            return CloakResult(photo=data, subjects=answers)
        with self._watch("encode"):
            return CloakResult(photo=encode_photo(photo, cloaked), subjects=answers)

    def _resolve(self, subject: Subject, search: _Search) -> tuple[SubjectResult, Mask | None]:
        """The subject's result, and the mask to add where the outcome is CLOAKED."""
        try:
            with self._watch("mask"):
                mask = self._masks.get(subject.user_id)
        except MaskNotFound:
            return SubjectResult(subject.user_id, Outcome.NO_MASK), None
        with self._watch("find"):
            face, outcome = search.face_of(subject)
        if face is None:
            return SubjectResult(subject.user_id, outcome), None
        if square_side_px(face) < self._smallest_face_px:
            return SubjectResult(subject.user_id, Outcome.FACE_TOO_SMALL, face), None
        if not search.take(face):
            return SubjectResult(subject.user_id, Outcome.FACE_ALREADY_TAKEN, face), None
        return SubjectResult(subject.user_id, Outcome.CLOAKED, face, mask.mask_id), mask


class _Search:
    """The faces of one photo: found at most once, and only when a subject without a hint needs them."""

    def __init__(self, finder: Finder, photo: Photo) -> None:
        self._finder = finder
        self._photo = photo
        self._found: list[Face] | None = None
        self._taken: list[Face] = []

    def face_of(self, subject: Subject) -> tuple[Face | None, Outcome]:
        """The subject's face, or None and why."""
        if subject.landmarks is not None:
            return _face_of_landmarks(subject), Outcome.CLOAKED
        if subject.box is not None:
            return self._finder.landmarks_for(self._photo.srgb_u8, subject.box), Outcome.NO_FACE
        if self._found is None:
            self._found = self._finder.find(self._photo.srgb_u8)
        if not self._found:
            return None, Outcome.NO_FACE
        largest, *others = sorted(self._found, key=lambda face: face.box.area, reverse=True)
        if others and largest.box.area < DOMINANT_AREA_RATIO * others[0].box.area:
            return None, Outcome.AMBIGUOUS_FACE
        return largest, Outcome.CLOAKED

    def take(self, face: Face) -> bool:
        """Claim a face for one subject; False where another has it."""
        if any(_same_face(face, other) for other in self._taken):
            return False
        self._taken.append(face)
        return True


def _same_face(one: Face, other: Face) -> bool:
    distance = np.linalg.norm(one.landmarks.mean(axis=0) - other.landmarks.mean(axis=0))
    return bool(distance < _SAME_FACE_DISTANCE * min(square_side_px(one), square_side_px(other)))


def _has_hint(subject: Subject) -> bool:
    return subject.box is not None or subject.landmarks is not None


def _face_of_landmarks(subject: Subject) -> Face:
    landmarks = np.asarray(subject.landmarks, np.float32)
    box = subject.box
    if box is None:
        low, high = landmarks.min(axis=0), landmarks.max(axis=0)
        # Around five landmarks alone; a detector's box is about twice as large in each direction.
        width, height = np.maximum(high - low, 1e-3)
        box = Box(float(low[0] - width / 2), float(low[1] - height / 2), float(2 * width), float(2 * height))
    return Face(box=box, landmarks=landmarks, score=1.0)


def _check_hint(subject: Subject, photo: Photo, *, index: int) -> None:
    """Raises :class:`InvalidFaceHint`."""
    if subject.landmarks is not None:
        _check_landmarks(np.asarray(subject.landmarks), photo, index=index)
    elif subject.box is not None:
        inside = subject.box.intersection_area(Box(0, 0, photo.width, photo.height))
        if inside < subject.box.area / 2:
            raise InvalidFaceHint("A face box lies outside the photo.", subject=index)


def _check_landmarks(landmarks: np.ndarray, photo: Photo, *, index: int) -> None:
    if landmarks.shape != (5, 2) or not np.isfinite(landmarks).all():
        raise InvalidFaceHint("Five landmarks of two finite numbers each are needed.", subject=index)
    landmarks = landmarks.astype(np.float64)
    spread = np.ptp(landmarks, axis=0).max()
    size = np.array([photo.width, photo.height])
    beyond = np.maximum(-landmarks, landmarks - size).max()
    center = landmarks.mean(axis=0)
    if beyond > _HINT_MARGIN * spread or (center < 0).any() or (center > size).any():
        raise InvalidFaceHint("The landmarks lie outside the photo.", subject=index)
    if spread < 1:
        raise InvalidFaceHint("The landmarks all lie in one place.", subject=index)
    to_crop = aligning_transform(landmarks)
    aligned = landmarks @ to_crop[:, :2].T + to_crop[:, 2]
    residual = float(np.sqrt(((aligned - ARCFACE_TEMPLATE) ** 2).sum(axis=1).mean()))
    if residual > _WORST_HINT_RESIDUAL_PX:
        raise InvalidFaceHint("The five landmarks do not form a face: are they in the stated order?", subject=index)
