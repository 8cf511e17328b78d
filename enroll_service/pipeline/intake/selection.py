"""Which of the photos of one enrollment are learned from: those that qualify and show one person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from enroll_service.pipeline.errors import EnrollmentRefused, NotSamePerson
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.intake.portrait import Portrait, portrait_from
from enroll_service.pipeline.ops.similarity_scale import TYPICAL_SIMILARITY, sameness
from enroll_service.pipeline.settings import IntakeSettings
from facecloak.errors import FaceCloakError
from facecloak.faces import FaceFinder
from facecloak.photos import PhotoRefused
from facecloak.recognizers import RecognizerRuntime


@dataclass(frozen=True)
class LeftOut:
    """A photo that is not learned from.

    Attributes:
        photo: its index in the call, from 0.
        reason: as the error has it by which the photo would be refused.
        why: the same in a sentence.
    """

    photo: int
    reason: str
    why: str

    @property
    def warning(self) -> str:
        """A sentence for the user."""
        return f"Photo {self.photo} (counted from 0) was left out: {self.why}"

    @property
    def record(self) -> dict[str, int | str]:
        """What the enrollment's report says."""
        return {"photo": self.photo, "reason": self.reason}


@dataclass(frozen=True, eq=False, repr=False)
class PhotoSelection:
    """The portraits to learn from, at least one, and the photos that gave none; both in the photos' order."""

    portraits: tuple[Portrait, ...]
    left_out: tuple[LeftOut, ...] = ()


def select_photos(
    photos: Iterable[EnrollmentPhoto],
    *,
    leave_out_unfit: bool,
    finder: FaceFinder,
    runtime: RecognizerRuntime,
    surrogates: Sequence[str],
    settings: IntakeSettings,
) -> PhotoSelection:
    """The photos' portraits, all of one person.

    Every surrogate whose typical similarities are known is asked who is in the photos. Without any such surrogate
    nothing is known and nothing is refused.

    Args:
        leave_out_unfit: leave out photos that do not qualify, or that do not show the person of most of the others, in
            place of refusing all. Where nobody is in more than half of those that qualify, all are refused even so: it
            cannot be told which ones are wrong.

    Raises:
        NoFace, SeveralFaces, FaceTooSmall, FaceCutOff, FaceBlurred, PhotoAlreadyCloaked: a photo does not qualify; to
            be left out, the first of photos none of which does.
        PhotoRefused: the same for what is no photo that is taken.
        NotSamePerson: the photos show different people.
    """
    portraits: dict[int, Portrait] = {}
    left_out: dict[int, LeftOut] = {}
    first: FaceCloakError | None = None
    for index, photo in enumerate(photos):
        try:
            portraits[index] = portrait_from(photo, index=index, finder=finder, settings=settings)
        except (EnrollmentRefused, PhotoRefused) as refused:
            refused.metadata.setdefault("photo", str(index))
            if not leave_out_unfit:
                raise
            first = first or refused
            left_out[index] = LeftOut(index, refused.reason, refused.public_message)
    if first is not None and not portraits:
        raise first
    known = [name for name in surrogates if name in TYPICAL_SIMILARITY]
    if len(portraits) > 1 and known:
        crops = np.concatenate([portrait.crop for portrait in portraits.values()])
        scores = sameness(crops, runtime=runtime, names=known)
        odd = _odd_photos(scores, photos=tuple(portraits), settings=settings)
        if odd and not leave_out_unfit:
            # All were admitted, so a photo's place is its index.
            raise _not_same_person(scores, odd=odd, settings=settings)
        for index in odd:
            why = "It does not show the person that most of the photos show."
            left_out[index] = LeftOut(index, NotSamePerson.reason, why)
            del portraits[index]
    return PhotoSelection(
        portraits=tuple(portraits.values()), left_out=tuple(left_out[index] for index in sorted(left_out))
    )


def _odd_photos(scores: np.ndarray, *, photos: Sequence[int], settings: IntakeSettings) -> list[int]:
    """Of ``photos`` (N,), by their scores (N, N), those that do not show the person of most. Raises NotSamePerson where
    nobody is in more than half of them."""
    odd = odd_ones_out(scores, floor=settings.same_person_score)
    if odd is None:
        raise NotSamePerson(
            "The photos show different people, and no one person in most of them: it cannot be told which are wrong.",
            count=len(photos),
            min_score=settings.same_person_score,
        )
    return [photos[place] for place in odd]


def _not_same_person(scores: np.ndarray, *, odd: Sequence[int], settings: IntakeSettings) -> NotSamePerson:
    others = [index for index in range(len(scores)) if index not in odd]
    return NotSamePerson(
        f"Photo {odd[0]} (counted from 0) does not show the person that most of the photos show.",
        photo=odd[0],
        photos=",".join(map(str, odd)),
        score=round(float(scores[odd[0], others].mean()), 2),
        min_score=settings.same_person_score,
    )


def odd_ones_out(scores: np.ndarray, *, floor: float) -> tuple[int, ...] | None:
    """Which photos do not show the person that most of them show; None where no person is in more than half.

    It begins with the photo that is like most others, so that odd ones, as long as they are the fewer, have no say in
    who the person is; then a photo belongs if its mean score to those that do reaches ``floor``. Of two photos that
    differ neither can be named.

    Args:
        scores: (N, N), N >= 2, of each pair, 0 for other people and 1 for the same (:func:`sameness`).
    """
    count = len(scores)
    linked = scores >= floor
    np.fill_diagonal(linked, val=True)
    totals = linked.sum(axis=1)
    middle = max(range(count), key=lambda index: (totals[index], scores[index].sum()))
    belongs = linked[middle]
    for _ in range(count):
        others = belongs[None, :] & ~np.eye(count, dtype=bool)
        mean = (scores * others).sum(axis=1) / np.maximum(others.sum(axis=1), 1)
        # Alone, a photo has nobody to be like.
        settled = (mean >= floor) & (others.sum(axis=1) > 0)
        if np.array_equal(settled, belongs):
            break
        belongs = settled
    if 2 * int(belongs.sum()) <= count:
        return None
    return tuple(np.flatnonzero(~belongs).tolist())
