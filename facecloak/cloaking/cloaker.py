"""Cloaking: a user's mask, warped to the user's face, added to a photo at the photo's own size.

This is the whole of apply's domain, from a photo's bytes to bytes. Where faces are is
:mod:`facecloak.cloaking.face_search`'s, how a photo is looked at and changed
:mod:`facecloak.cloaking.photo_session`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from facecloak.call_context import Watch, unwatched
from facecloak.cloaking.blend import add_mask
from facecloak.cloaking.face_search import DOMINANT_AREA_RATIO, Finder, Search
from facecloak.cloaking.outcome import Outcome
from facecloak.cloaking.photo_session import OpenedPhoto, Way
from facecloak.cloaking.placement import Laid, Placement, laid_by, place_mask, square_side_px, wants_mesh
from facecloak.cloaking.subject import InvalidFaceHint, Subject, check_hint
from facecloak.errors import InvalidInput
from facecloak.faces import Face
from facecloak.masks.bank import StoredMask
from facecloak.masks.cloak_tag import bears, payload_for
from facecloak.masks.mask import Mask
from facecloak.photos import DEFAULT_LIMITS, PhotoLimits
from facecloak.photos.file_tag import Buffers, marked, payload_of, picture_of, without_marker
from facecloak.photos.pieces import Pieces
from facecloak.stores.errors import MaskNotFound

__all__ = [
    "DOMINANT_AREA_RATIO",
    "CloakResult",
    "Cloaker",
    "Finder",
    "InvalidFaceHint",
    "Laid",
    "MaskSource",
    "Outcome",
    "Subject",
    "SubjectResult",
    "TooManySubjects",
    "Way",
    "add_mask",
    "square_side_px",
]

SMALLEST_FACE_PX = 24.0
"""Smallest side of the aligned square in photo px that is cloaked: the smallest face that the finder finds."""
MAX_SUBJECTS = 64
"""Most subjects a photo: as many faces as the finder returns."""


class TooManySubjects(InvalidInput):
    """No subject, or more subjects than a photo may have."""

    reason = "TOO_MANY_SUBJECTS"


@dataclass(frozen=True)
class SubjectResult:
    """The outcome for one subject, the face it is about (None where there is none), the mask that was added, and by
    what it was laid (None where none was added)."""

    user_id: str
    outcome: Outcome
    face: Face | None = None
    mask_id: str | None = None
    laid: Laid | None = None


@dataclass(frozen=True)
class CloakResult:
    """The photo in its own format (the very same bytes where nobody was cloaked) and one result a subject, in order.

    Attributes:
        way: how the photo was changed.
        why_full: why it could not be spliced, a word for statistics; empty where it could or need not.
    """

    photo: bytes
    subjects: tuple[SubjectResult, ...]
    way: Way = Way.UNCHANGED
    why_full: str = ""


class MaskSource(Protocol):
    """Where masks come from: a store, or a cache before one."""

    def get(self, user_id: str) -> StoredMask:
        """The user's mask or masks; raises :class:`facecloak.stores.MaskNotFound`."""
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
        mark: bool = True,
        watch: Watch = unwatched,
    ) -> None:
        """``mark``: whether cloaked photos say that they are. ``watch`` is told of the steps decode, mask, find, add
        and encode; a photo that is spliced knows no decode and no encode."""
        self._finder = finder
        self._masks = masks
        self._limits = limits
        self._smallest_face_px = smallest_face_px
        self._strength = strength
        self._mark = mark
        self._watch = watch

    def cloak(
        self, data: bytes, subjects: Sequence[Subject], *, check: Callable[[], None] | None = None
    ) -> CloakResult:
        """Add each subject's mask to the subject's face, unless the photo says that it is there.

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
        self._limits.check_bytes(len(data))
        marker = _Marker(data)
        photo = OpenedPhoto(marker.bare, limits=self._limits, watch=self._watch)
        check()
        for index, subject in enumerate(subjects):
            check_hint(subject, width=photo.width, height=photo.height, index=index)
        search = Search(self._finder, photo)
        placements: list[Placement] = []
        borne: list[Mask] = []
        results: dict[int, SubjectResult] = {}
        for index in sorted(range(len(subjects)), key=lambda index: not subjects[index].has_hint):
            result, mask = self._resolve(subjects[index], search, marker)
            if mask is not None:
                borne.append(mask)
                if result.outcome is Outcome.CLOAKED and result.face is not None:
                    mesh = self._mesh_of(result.face, search) if wants_mesh(mask) else None
                    placements.append(place_mask(mask, result.face, mesh=mesh, strength=self._strength))
                    result = replace(result, laid=laid_by(mask, mesh=mesh))
            results[index] = result
            check()
        answers = tuple(results[index] for index in range(len(subjects)))
        if not placements:
            return CloakResult(photo=data, subjects=answers)
        changed, way = photo.added(placements)
        if way is Way.UNCHANGED:
            return CloakResult(photo=data, subjects=answers, way=way, why_full=photo.why_full)
        return CloakResult(photo=self._marked(changed, borne), subjects=answers, way=way, why_full=photo.why_full)

    def _resolve(self, subject: Subject, search: Search, marker: _Marker) -> tuple[SubjectResult, Mask | None]:
        """The subject's result, and the mask that the photo bears or is to bear."""
        try:
            with self._watch("mask"):
                mask = self._masks.get(subject.user_id)
        except MaskNotFound:
            return SubjectResult(subject.user_id, Outcome.NO_MASK), None
        if (borne := marker.borne_of(mask)) is not None:
            return SubjectResult(subject.user_id, Outcome.ALREADY_CLOAKED, mask_id=mask.mask_id), borne
        with self._watch("find"):
            face, outcome = search.face_of(subject)
        if face is None:
            return SubjectResult(subject.user_id, outcome), None
        if square_side_px(face) < self._smallest_face_px:
            return SubjectResult(subject.user_id, Outcome.FACE_TOO_SMALL, face), None
        if not search.take(face):
            return SubjectResult(subject.user_id, Outcome.FACE_ALREADY_TAKEN, face), None
        return SubjectResult(subject.user_id, Outcome.CLOAKED, face, mask.mask_id), marker.chosen_of(mask)

    def _mesh_of(self, face: Face, search: Search) -> np.ndarray | None:
        if face.mesh is not None:
            return face.mesh
        with self._watch("find"):
            return search.mesh_of(face)

    def _marked(self, changed: bytes | Pieces, masks: Sequence[Mask]) -> bytes:
        if not self._mark:
            return changed.joined() if isinstance(changed, Pieces) else changed
        picture = changed.picture if isinstance(changed, Pieces) else picture_of(changed)
        return marked(changed, payload_for(masks, picture))


class _Marker:
    """What a photo says about itself when it comes: which masks it bears, and which it is to bear."""

    def __init__(self, data: bytes) -> None:
        self._payload = payload_of(data)
        self.bare = data if self._payload is None else without_marker(data)
        self._picture: Buffers = () if self._payload is None else picture_of(self.bare)

    def borne_of(self, stored: StoredMask) -> Mask | None:
        """The one of a user's masks that the photo bears, if it bears one."""
        if self._payload is None:
            return None
        return next((mask for mask in stored.masks if bears(self._payload, mask, self._picture)), None)

    def chosen_of(self, stored: StoredMask) -> Mask:
        """The one of a user's masks that the photo is to bear."""
        return stored if isinstance(stored, Mask) else stored.pick(self._bare_sha256)

    @cached_property
    def _bare_sha256(self) -> bytes:
        """Computed at most once, and only where somebody has several masks."""
        return hashlib.sha256(self.bare).digest()
