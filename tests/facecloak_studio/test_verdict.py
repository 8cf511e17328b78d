"""What is said of a recognizer, by where its cosine falls."""

from __future__ import annotations

import re

import numpy as np
import pytest

from facecloak.faces import Box, Face
from facecloak_evaluation.visibility import Visibility
from facecloak_studio.card import AMPLIFICATION, amplified, photo_card
from facecloak_studio.comparison import Comparison, Reading
from facecloak_studio.verdict import MatchVerdict, headline, line_of, tone, verdicts

SEEN = Visibility(0.97, 38.0, 12, 2.0, 0.5, 0.1, ssimulacra2=75.4, flip_99=0.12, jod=9.01)
HOSTILE = "<script>alert(1)</script>.jpg"


def comparison(before: dict[str, float], after: dict[str, float], name: str = "a.jpg") -> Comparison:
    pixels = np.full((60, 50, 3), 100, np.uint8)
    points = np.array([[15, 18], [25, 18], [20, 24], [16, 29], [24, 29]], np.float32)
    face = Face(Box(10, 10, 20, 24), points, 0.9)
    return Comparison(
        name=name, original=Reading(pixels, face, {}), cloaked=Reading(pixels + 3, face, {}), before=before,
        after=after, visible=SEEN, bytes_before=4096, bytes_after=5120,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (0.69, 0.50, "would still match this photo"),
        (0.69, 0.361, "would still match this photo"),
        (0.69, 0.360, "would no longer match this photo"),
        (0.69, -0.2, "would no longer match this photo"),
        (0.30, 0.10, "did not match this photo before either"),
        (0.30, 0.40, "would still match this photo"),
        (0.69, None, "finds no face in this photo any more"),
    ],
)
def test_the_line_is_the_nearest_of_400_strangers(before: float, after: float | None, words: str) -> None:
    item = comparison({"sface": before}, {} if after is None else {"sface": after})
    (found,) = verdicts(item, unseen=[], strangers=[])
    assert (found.line, found.words) == (0.360, words)


def test_a_recognizer_without_a_scale_is_judged_by_the_strangers_at_hand() -> None:
    item = comparison({"own": 0.9}, {"own": 0.5})
    (found,) = verdicts(item, unseen=["own"], strangers=[{"own": 0.2}, {"own": 0.6}])
    assert (found.line, found.matches, found.unseen) == (0.6, False, True)
    assert line_of("own", []) == 0.0


def verdict(name: str, *, before: bool, after: bool, unseen: bool = False) -> MatchVerdict:
    return MatchVerdict(name, 0.9 if before else 0.1, 0.9 if after else 0.1, 0.5, 0.0, 1.0, unseen)


def test_the_headline_counts_those_that_matched_before() -> None:
    gone, still, never = (
        verdict("a", before=True, after=False),
        verdict("b", before=True, after=True),
        verdict("c", before=False, after=False),
    )
    said = "Of the 2 recognizers that matched this photo,"
    assert headline([gone, still, never]) == f"{said} 1 still does."
    assert headline([gone, verdict("d", before=True, after=False), never]) == f"{said} none still does."
    assert headline([gone, still, still]) == "Of the 3 recognizers that matched this photo, 2 still do."
    assert headline([still, still]) == "Both recognizers that matched this photo still do."
    assert headline([gone]) == "The one recognizer that matched this photo no longer does."
    assert headline([still]) == "The one recognizer that matched this photo still does."
    assert headline([never]).startswith("No recognizer matched this photo")
    told = headline([gone, verdict("u", before=True, after=True, unseen=True)])
    assert told.endswith("u, which enrollment never saw, would still match this photo.")
    assert [tone(found) for found in ([gone, never], [gone, still], [still, still, gone], [never])] == [
        "good", "mixed", "bad", "mixed",
    ]  # fmt: skip


def test_the_scale_puts_strangers_left_and_the_person_right() -> None:
    found = MatchVerdict("x", 0.9, 0.2, 0.5, stranger=0.1, same=0.9, unseen=False)
    assert [found.place(value) for value in (0.1, 0.9, 0.5)] == [0.0, 1.0, pytest.approx(0.5)]


def test_a_card_holds_its_pictures_and_no_markup_of_others() -> None:
    item = comparison({"sface": 0.7, "<b>": 0.6}, {"sface": 0.1, "<b>": 0.2}, name=HOSTILE)
    card = photo_card(item, verdicts(item, unseen=["<b>"], strangers=[]), remark=HOSTILE)
    assert "<script" not in card
    assert "<b>" not in card
    assert card.count("data:image/jpeg;base64,") == 4
    assert card.count("data:image/png;base64,") == 1
    for words in ("would no longer match this photo", "4 → 5 KiB", "50 x 60 pixels", "never seen"):
        assert words in card
    assert "http" not in card


def test_the_difference_is_around_gray() -> None:
    before = np.full((2, 2, 3), 100, np.uint8)
    assert (amplified(before, before + 3) == 128 + 3 * AMPLIFICATION).all()
    assert (amplified(before, before - 90) == 0).all()


def test_a_photo_more_alike_than_any_other_shows_what_changed() -> None:
    """The enrolled photo itself has a cosine of 1, where two photos of one person have 0.4."""
    (verdict,) = verdicts(comparison({"mobileface": 1.0}, {"mobileface": 0.7}), unseen=(), strangers=())
    card = photo_card(comparison({"mobileface": 1.0}, {"mobileface": 0.7}), [verdict])
    was, now = (float(re.search(rf'class="{name}" style="left:([0-9.]+)%', card)[1]) for name in ("was", "is"))  # type: ignore[index]
    assert 50 < now < was - 15
    assert was == pytest.approx(98)
