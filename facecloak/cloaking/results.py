"""What became of a photo and of everybody who was said to be in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from facecloak.cloaking.photo_session import EncodingPath
from facecloak.cloaking.placement import Placement, PlacementMethod
from facecloak.cloaking.subject import Outcome
from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.faces import Face
from facecloak.masks.mask import Mask


@dataclass(frozen=True)
class SubjectResult:
    """What became of one subject.

    Attributes:
        face: the face that it is about; None where there is none.
        mask_id: of the mask that the photo contains.
        placement_method: how the mask was placed; None where none was added.
        strength: the factor on the mask's levels: the cloaker's, times how the photo was followed; None where none was
            added.
        advice: a sentence on what to do about the outcome; may be empty.
        faces: those that the photo shows, largest first, where the caller must choose one or mend a hint.
    """

    user_id: str
    outcome: Outcome
    face: Face | None = None
    mask_id: str | None = None
    placement_method: PlacementMethod | None = None
    strength: float | None = None
    advice: str = ""
    faces: tuple[Face, ...] = ()


@dataclass(frozen=True)
class CloakResult:
    """The photo in its own format (the very same bytes where nobody was cloaked) and one result a subject, in order.

    Attributes:
        encoding_path: how the photo was changed.
        fallback_reason: why it could not be spliced, a word for statistics; empty where it could or need not.
        dropped: what of the photo's metadata was dropped or drawn anew, by the names in docs/api.md.
        c2pa_signed: whether the photo has a manifest that this cloaker's signer made.
    """

    photo: bytes
    subjects: tuple[SubjectResult, ...]
    encoding_path: EncodingPath = EncodingPath.UNCHANGED
    fallback_reason: str = ""
    dropped: tuple[str, ...] = ()
    c2pa_signed: bool = False

    def require_cloaked(self) -> None:
        """Raises :class:`PhotoNotCloaked` unless every subject is, now or before."""
        others = [subject for subject in self.subjects if not subject.outcome.is_cloaked]
        if others:
            count, first = len(self.subjects), others[0]
            what = f"{len(others)} of {count} subjects are" if count > 1 else "The photo is"
            raise PhotoNotCloaked(f"{what} not cloaked: {first.outcome}. {first.advice}".strip(), result=self)


class PhotoNotCloaked(FaceCloakError):
    """A photo was to be cloaked for every subject and is not, so that it must not be taken for one that is.

    Attributes:
        result: what was done; its subjects' outcomes say why.
    """

    code = ErrorCode.FAILED_PRECONDITION
    reason = "NOT_CLOAKED"

    def __init__(self, public_message: str, /, *, result: CloakResult) -> None:
        first = next(subject for subject in result.subjects if not subject.outcome.is_cloaked)
        super().__init__(public_message, outcome=first.outcome.value)
        self.result = result


@dataclass
class Placed:
    """Where masks are to lie on one picture, by the subjects' places in the call.

    Attributes:
        masks: those that the photo contains, or is to contain; None where it is not known which.
    """

    placements: dict[int, Placement] = field(default_factory=dict)
    masks: dict[int, Mask | None] = field(default_factory=dict)
    results: dict[int, SubjectResult] = field(default_factory=dict)

    @property
    def answers(self) -> tuple[SubjectResult, ...]:
        """In the order of the call."""
        return tuple(self.results[index] for index in range(len(self.results)))
