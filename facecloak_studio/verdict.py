"""Whether a recognizer would still match a photo to a person, in words.

The scale is the pipeline's: what two photos of two people, and of one person, typically have, and how alike the most
similar of 400 strangers is. Those figures were measured on the people that were tuned on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from enroll_service.pipeline.ops.similarity_scale import NEAREST_STRANGER, TYPICAL_SIMILARITY
from facecloak_studio.comparison import Comparison

GALLERY = 400
"""Strangers among whom the most similar one was sought."""


@dataclass(frozen=True)
class MatchVerdict:
    """One recognizer on one photo.

    Attributes:
        before, after: cosine to the enrolled face; ``after`` is None where no face was found.
        line: the cosine of the nearest stranger: above it, the recognizer names the person.
        stranger, same: typical cosines of two people and of one person; the scale that a reader sees.
        unseen: whether enrollment did not use it.
    """

    recognizer: str
    before: float
    after: float | None
    line: float
    stranger: float
    same: float
    unseen: bool

    @property
    def matched_before(self) -> bool:
        """Whether it would have named the person in the photo as it was."""
        return self.before > self.line

    @property
    def matches(self) -> bool:
        """Whether it would name the person still."""
        return self.after is not None and self.after > self.line

    @property
    def words(self) -> str:
        """The verdict, as a sentence without a subject."""
        if self.after is None:
            return "finds no face in this photo any more"
        if self.matches:
            return "would still match this photo"
        if not self.matched_before:
            return "did not match this photo before either"
        return "would no longer match this photo"

    def place(self, cosine: float) -> float:
        """Where a cosine is on the reader's scale: 0 is a typical stranger, 1 a typical photo of the same person."""
        return (cosine - self.stranger) / max(self.same - self.stranger, 1e-6)


def verdicts(
    item: Comparison, *, unseen: Sequence[str], strangers: Sequence[Mapping[str, float]]
) -> list[MatchVerdict]:
    """One for each recognizer; those that enrollment did not use last.

    Args:
        strangers: for each photo of another person at hand, recognizer -> cosine to the enrolled face; they are the
            line for a recognizer of which no scale was measured.
    """
    found = []
    for name in sorted(item.before, key=lambda name: (name in unseen, name)):
        others = [row[name] for row in strangers if name in row] or [0.0]
        stranger, same = TYPICAL_SIMILARITY.get(name, (sum(others) / len(others), item.before[name]))
        line = line_of(name, others)
        found.append(
            MatchVerdict(name, item.before[name], item.after.get(name), line, stranger, same, unseen=name in unseen)
        )
    return found


def line_of(recognizer: str, others: Sequence[float]) -> float:
    """The cosine above which a recognizer names the person; by ``others``, those of strangers at hand, where it was not
    measured."""
    return NEAREST_STRANGER.get(recognizer, max(others, default=0.0))


def headline(found: Sequence[MatchVerdict]) -> str:
    """One photo's verdict in a sentence or two."""
    if not found:
        return "No recognizer read this photo."
    could = [verdict for verdict in found if verdict.matched_before]
    if not could:
        return "No recognizer matched this photo to the person before it was cloaked."
    text = _what_is_left(sum(verdict.matches for verdict in could), len(could))
    return " ".join([text, *(_of_unseen(verdict) for verdict in found if verdict.unseen)])


def tone(found: Sequence[MatchVerdict]) -> str:
    """How good it is: "good" where nobody matches the photo still, "bad" where most do, "mixed" otherwise."""
    could = [verdict for verdict in found if verdict.matched_before]
    left = sum(verdict.matches for verdict in could)
    if not left:
        return "good" if could else "mixed"
    return "bad" if 2 * left > len(could) else "mixed"


def _what_is_left(still: int, before: int) -> str:
    """Of the recognizers that matched the photo ``before``, ``still`` do."""
    if before == 1:
        return f"The one recognizer that matched this photo {'still does' if still else 'no longer does'}."
    if still == before:
        return f"{'Both' if before == 2 else f'All {before}'} recognizers that matched this photo still do."
    return (
        f"Of the {before} recognizers that matched this photo, {still or 'none'} still {'do' if still > 1 else 'does'}."
    )


def _of_unseen(verdict: MatchVerdict) -> str:
    return f"{verdict.recognizer}, which enrollment never saw, {verdict.words}."
