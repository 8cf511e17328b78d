"""Cloaking: a user's mask, warped to the user's face, added to a photo at the photo's own size.

This is the whole of apply's domain, from a photo's bytes to bytes. Where faces are is
:mod:`facecloak.cloaking.face_search`'s, how a photo is looked at and changed
:mod:`facecloak.cloaking.photo_session`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from facecloak.call_context import StepObserver, interrupted_by, interruption, unobserved
from facecloak.cloaking.animated import cloak_frames
from facecloak.cloaking.blend import add_mask
from facecloak.cloaking.face_search import FaceLocator, FaceSearch, FoundFaces, faces_of
from facecloak.cloaking.photo_session import FAINTEST_KEPT, EncodingPath, PhotoSession
from facecloak.cloaking.placement import (
    Placement,
    PlacementMethod,
    placement_method,
    square_side_px,
    wants_mesh,
)
from facecloak.cloaking.results import CloakResult, PhotoNotCloaked, Placed, SubjectResult
from facecloak.cloaking.subject import InvalidFaceHint, Outcome, Subject
from facecloak.errors import InvalidInput
from facecloak.faces import Face, FaceFinder
from facecloak.limits import MAX_SUBJECTS
from facecloak.masks.bank import StoredMask
from facecloak.masks.cloak_tag import contains, contains_any_of, payload_for
from facecloak.masks.mask import Mask
from facecloak.models.repository import default_folder
from facecloak.photos import DEFAULT_LIMITS, PhotoLimits
from facecloak.photos.animation import AnimationHeader, decode_animation, read_animation
from facecloak.photos.credentials import PhotoSigner
from facecloak.photos.file_tag import Buffers, payload_of, picture_of, with_tag, without_tag
from facecloak.photos.pieces import Pieces
from facecloak.stores.errors import MaskNotFound
from facecloak.users import DEFAULT_TENANT, User

__all__ = [
    "CloakResult",
    "Cloaker",
    "FaceLocator",
    "FoundFaces",
    "InvalidFaceHint",
    "PhotoNotCloaked",
    "PlacementMethod",
    "MaskSource",
    "Outcome",
    "Subject",
    "SubjectResult",
    "TooManySubjects",
    "EncodingPath",
    "add_mask",
    "square_side_px",
]

SMALLEST_FACE_PX = 24.0
"""Smallest side of the aligned square in photo px that is cloaked: the smallest face that the finder finds."""
_OLDER = "The photo contains a mask from before the user's last enrollment: cloak the original, or ask to recloak it."
_LOST = (
    "Hardly anything of the mask would be left in the photo, which is compressed too strongly, or the mask does too "
    "little: send the photo in a better quality."
)


class TooManySubjects(InvalidInput):
    """No subject, or more subjects than a photo may have."""

    reason = "TOO_MANY_SUBJECTS"


class MaskSource(Protocol):
    """Where masks come from: a store, or a cache before one."""

    def get(self, user: User) -> StoredMask:
        """The user's mask or masks; raises :class:`facecloak.stores.MaskNotFound`."""
        ...


class MasksInMemory:
    """A :class:`MaskSource` of masks that a program holds, by user id; all are of the default tenant."""

    def __init__(self, masks: Mapping[str, StoredMask]) -> None:
        self._masks = masks

    def get(self, user: User) -> StoredMask:
        """See :class:`MaskSource`."""
        if user.tenant != DEFAULT_TENANT or user.user_id not in self._masks:
            raise MaskNotFound("The user has no mask.")
        return self._masks[user.user_id]


class Cloaker:
    """Photos in, cloaked photos out. Holds no state between calls; as safe to share between threads as its parts."""

    @classmethod
    def load(
        cls,
        masks: MaskSource | Mapping[str, StoredMask],
        *,
        model_repository: Path | str | None = None,
        threads: int = 1,
        **options: Any,
    ) -> Self:
        """A cloaker with the face finder that the services have.

        Args:
            masks: a store, or masks by user id.
            model_repository: the folder of models; by default :func:`facecloak.models.repository.default_folder`'s.
            threads: CPU threads that finding one face uses.
            options: see :class:`Cloaker`.

        Raises:
            FinderModelMissing: run ``facecloak models pull``.
        """
        folder = default_folder() if model_repository is None else Path(model_repository)
        source = MasksInMemory(masks) if isinstance(masks, Mapping) else masks
        return cls(FaceFinder.load(folder, threads=threads), source, **options)

    def __init__(
        self,
        finder: FaceLocator,
        masks: MaskSource,
        *,
        limits: PhotoLimits = DEFAULT_LIMITS,
        smallest_face_px: float = SMALLEST_FACE_PX,
        strength: float = 1.0,
        tag: bool = True,
        user_key: Callable[[User], bytes] | None = None,
        observer: StepObserver = unobserved,
        signer: PhotoSigner | None = None,
    ) -> None:
        """``tag``: whether cloaked photos say that they are. ``user_key``: a secret of each user, by which photos with
        an older mask of theirs are recognized; without it they are not. ``observer`` is told of the steps decode, mask,
        find, add, encode and sign; a photo that is spliced knows no decode and no encode. ``signer`` gives cloaked
        photos a C2PA manifest; without one they have none."""
        self._finder = finder
        self._masks = masks
        self._limits = limits
        self._smallest_face_px = smallest_face_px
        self._strength = strength
        self._tag = tag
        self._user_key = user_key
        self._observer = observer
        self._signer = signer

    def cloak(
        self,
        data: bytes,
        subjects: Sequence[Subject],
        *,
        recloak: bool = False,
        check: Callable[[], None] | None = None,
    ) -> CloakResult:
        """Add each subject's mask to the subject's face, unless the photo says that it is there.

        Subjects with a hint choose first, so that one without does not take a face that another is said to have.

        Args:
            data: a JPEG, PNG, WebP or GIF, animated or not, or what else the limits have.
            subjects: 1 .. MAX_SUBJECTS of them.
            recloak: add a user's present mask over an older one of theirs, too, which the photo says it contains.
            check: called between steps, and while a photo is decoded; what it raises (deadline, cancelled) ends the
                work.

        Raises:
            TooManySubjects, InvalidFaceHint: before any mask is fetched.
            PhotoRefused: see :func:`facecloak.photos.decode_photo`.
            SigningFailed: the signer cannot sign the cloaked photo.
            FaceCloakError: what the mask source raises, other than MaskNotFound.
        """
        if not 1 <= len(subjects) <= MAX_SUBJECTS:
            raise TooManySubjects(
                f"A photo may have 1 to {MAX_SUBJECTS} subjects.", max_subjects=MAX_SUBJECTS, subjects=len(subjects)
            )
        with interrupted_by(check or interruption.get()):
            return self._cloaked(data, subjects, recloak=recloak)

    def _cloaked(self, data: bytes, subjects: Sequence[Subject], *, recloak: bool) -> CloakResult:
        self._limits.check_bytes(len(data))
        tag = _PhotoTag(data)
        header = read_animation(tag.bare, self._limits)
        if header is not None:
            return self._animation_cloaked(data, tag, header, subjects, recloak=recloak)
        photo = PhotoSession(tag.bare, limits=self._limits, observer=self._observer)
        interruption.get()()
        placed = self._placed(photo, subjects, tag, recloak=recloak)
        changed, path = self._added(photo, placed.placements, placed.results)
        answers = placed.answers
        if path is EncodingPath.UNCHANGED:
            return CloakResult(
                photo=data, subjects=answers, fallback_reason=photo.fallback_reason if placed.placements else ""
            )
        finished, is_signed = self._finished(changed, self._contained(placed, subjects), parent=data)
        return CloakResult(
            photo=finished,
            subjects=answers,
            encoding_path=path,
            fallback_reason=photo.fallback_reason,
            dropped=photo.dropped,
            c2pa_signed=is_signed,
        )

    def _animation_cloaked(
        self, data: bytes, tag: _PhotoTag, header: AnimationHeader, subjects: Sequence[Subject], *, recloak: bool
    ) -> CloakResult:
        with self._observer("decode"):
            animation = decode_animation(tag.bare, header, limits=self._limits)

        def place(photo: PhotoSession, followed: Sequence[Subject]) -> Placed:
            return self._placed(photo, followed, tag, recloak=recloak)

        done = cloak_frames(animation, subjects, place, limits=self._limits, observer=self._observer)
        answers = done.placed.answers
        if done.encoded is None:
            return CloakResult(photo=data, subjects=answers)
        finished, is_signed = self._finished(done.encoded.data, self._contained(done.placed, subjects), parent=data)
        return CloakResult(
            photo=finished,
            subjects=answers,
            encoding_path=EncodingPath.REENCODED,
            fallback_reason="ANIMATION",
            dropped=done.encoded.dropped,
            c2pa_signed=is_signed,
        )

    def _placed(self, photo: PhotoSession, subjects: Sequence[Subject], tag: _PhotoTag, *, recloak: bool) -> Placed:
        """Where each subject's mask is to lie on a photo, and what is to be said of those who get none."""
        search = FaceSearch(self._finder, photo)
        for index, subject in enumerate(subjects):
            search.check_hint(subject, index=index)
        placed = Placed()
        for index in sorted(range(len(subjects)), key=lambda index: not subjects[index].has_hint):
            result, mask = self._resolve(subjects[index], search, tag, recloak=recloak)
            if result.outcome is Outcome.CLOAKED and result.face is not None and mask is not None:
                mesh = self._mesh_of(result.face, search) if wants_mesh(mask) else None
                placement = photo.place(mask, result.face, mesh=mesh, strength=self._strength)
                placed.placements[index] = placement
                method = placement_method(mask, mesh=mesh)
                result = replace(result, placement_method=method, strength=placement.strength)
            placed.results[index], placed.masks[index] = result, mask
            interruption.get()()
        return placed

    def _contained(self, placed: Placed, subjects: Sequence[Subject]) -> _Contained:
        contained = _Contained()
        for index, result in placed.results.items():
            if result.outcome.is_cloaked:
                contained.add(placed.masks[index], user_key=self._key_of(subjects[index].user))
        return contained

    @staticmethod
    def _added(
        photo: PhotoSession, placements: dict[int, Placement], results: dict[int, SubjectResult]
    ) -> tuple[bytes | Pieces, EncodingPath]:
        """The photo with the masks added, by subject; those that its coding would lose are not, and their results say
        so."""
        left = dict(placements)
        while left:
            changed, path = photo.added(tuple(left.values()))
            if path is not EncodingPath.UNCHANGED:
                return changed, path
            lost = [index for index, kept in zip(left, photo.kept, strict=True) if kept < FAINTEST_KEPT]
            # Nothing was changed, whatever the reason: then nobody is cloaked.
            for index in lost or list(left):
                was = results[index]
                results[index] = SubjectResult(was.user_id, Outcome.MASK_LOST, was.face, advice=_LOST)
                del left[index]
        return b"", EncodingPath.UNCHANGED

    def faces(self, data: bytes, *, check: Callable[[], None] | None = None) -> FoundFaces:
        """The faces of a photo, as :meth:`cloak` finds them; raises :class:`PhotoRefused`."""
        return faces_of(data, finder=self._finder, limits=self._limits, observer=self._observer, check=check)

    def _resolve(
        self, subject: Subject, search: FaceSearch, tag: _PhotoTag, *, recloak: bool
    ) -> tuple[SubjectResult, Mask | None]:
        """The subject's result, and the mask that the photo contains or is to contain."""
        user_id = subject.user_id
        try:
            with self._observer("mask"):
                mask = self._masks.get(subject.user)
        except MaskNotFound:
            return SubjectResult(user_id, Outcome.NO_MASK), None
        if (known := tag.contained_of(mask)) is not None:
            return SubjectResult(user_id, Outcome.ALREADY_CLOAKED, mask_id=mask.mask_id), known
        if not recloak and tag.contains_any_of(self._key_of(subject.user)):
            return SubjectResult(user_id, Outcome.OLDER_CLOAK, advice=_OLDER), None
        with self._observer("find"):
            sought = search.face_of(subject)
        face = sought.face
        if face is None:
            return SubjectResult(user_id, sought.outcome, advice=sought.advice, faces=sought.faces), None
        if square_side_px(face) < self._smallest_face_px:
            return SubjectResult(user_id, Outcome.FACE_TOO_SMALL, face), None
        if not search.take(face):
            return SubjectResult(user_id, Outcome.FACE_ALREADY_TAKEN, face), None
        return SubjectResult(user_id, Outcome.CLOAKED, face, mask.mask_id), tag.chosen_of(mask)

    def _key_of(self, user: User) -> bytes | None:
        return None if self._user_key is None else self._user_key(user)

    def _mesh_of(self, face: Face, search: FaceSearch) -> np.ndarray | None:
        if face.mesh is not None:
            return face.mesh
        with self._observer("find"):
            return search.mesh_of(face)

    def _finished(self, changed: bytes | Pieces, contained: _Contained, *, parent: bytes) -> tuple[bytes, bool]:
        """The file as it is given out, and whether it is signed. The signature covers the tag."""
        tagged = self._tagged(changed, contained)
        if self._signer is None:
            return tagged, False
        interruption.get()()
        with self._observer("sign"):
            signed = self._signer.signed(tagged, parent=parent)
        return (tagged, False) if signed is None else (signed, True)

    def _tagged(self, changed: bytes | Pieces, contained: _Contained) -> bytes:
        if not self._tag:
            return changed.joined() if isinstance(changed, Pieces) else changed
        picture = changed.picture if isinstance(changed, Pieces) else picture_of(changed)
        return with_tag(changed, payload_for(contained.masks, picture, user_keys=contained.user_keys))


class _Contained:
    """Whose masks a photo contains when it leaves, and which; of an older one only the user is known."""

    def __init__(self) -> None:
        self.masks: list[Mask] = []
        self.user_keys: list[bytes] = []

    def add(self, mask: Mask | None, *, user_key: bytes | None) -> None:
        """One user's, who has a face in the photo with it."""
        if mask is not None:
            self.masks.append(mask)
        if user_key is not None:
            self.user_keys.append(user_key)


class _PhotoTag:
    """What a photo says about itself when it comes: which masks it contains, and which it is to contain."""

    def __init__(self, data: bytes) -> None:
        self._payload = payload_of(data)
        self.bare = data if self._payload is None else without_tag(data)
        self._picture: Buffers = () if self._payload is None else picture_of(self.bare)

    def contained_of(self, stored: StoredMask) -> Mask | None:
        """The one of a user's masks that the photo contains, if it contains one."""
        if self._payload is None:
            return None
        return next((mask for mask in stored.masks if contains(self._payload, mask, self._picture)), None)

    def contains_any_of(self, user_key: bytes | None) -> bool:
        """Whether the photo contains a mask of the user with this key, be it of an earlier enrollment."""
        if self._payload is None or user_key is None:
            return False
        return contains_any_of(self._payload, user_key, self._picture)

    def chosen_of(self, stored: StoredMask) -> Mask:
        """The one of a user's masks that the photo is to contain."""
        return stored if isinstance(stored, Mask) else stored.pick(self._bare_sha256)

    @cached_property
    def _bare_sha256(self) -> bytes:
        """Computed at most once, and only where somebody has several masks."""
        return hashlib.sha256(self.bare).digest()
