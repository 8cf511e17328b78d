"""Which of several photos does not show the person: the few cannot outvote the many, and a draw is called one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enroll_service.pipeline.intake.selection import odd_ones_out


def _scores(people: str, *, same: float = 0.9, other: float = 0.0, seed: int = 0) -> np.ndarray:
    """Of photos whose people are the letters."""
    alike = np.array([[one == another for another in people] for one in people])
    noise = np.random.default_rng(seed).uniform(-0.15, 0.15, alike.shape)
    return np.where(alike, same, other) + (noise + noise.T) / 2


@pytest.mark.parametrize(
    ("people", "odd"),
    [
        ("aa", ()),
        ("ab", None),
        ("aaa", ()),
        ("aba", (1,)),
        ("baa", (0,)),
        ("abc", None),
        ("aabb", None),
        ("aaabb", (3, 4)),
        ("babaa", (0, 2)),
        ("abcdaaa", (1, 2, 3)),
        ("a" * 16, ()),
        ("a" * 9 + "b" * 7, tuple(range(9, 16))),
    ],
)
def test_the_few_are_named_and_a_draw_is_not(people: str, odd: tuple[int, ...] | None) -> None:
    assert odd_ones_out(_scores(people), floor=0.4) == odd


def test_a_photo_unlike_some_and_like_the_rest_belongs() -> None:
    scores = _scores("aaaaa")
    scores[0, 1] = scores[1, 0] = 0.2  # an unlucky pair, as 1 in 700 is
    assert odd_ones_out(scores, floor=0.4) == ()


@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=16), st.integers(0, 1000))
def test_whoever_has_more_than_half_is_the_person(people: list[str], seed: int) -> None:
    most = max(set(people), key=people.count)
    expected = None
    if people.count(most) * 2 > len(people):
        expected = tuple(index for index, who in enumerate(people) if who != most)
    assert odd_ones_out(_scores("".join(people), seed=seed), floor=0.4) == expected
