"""PSR, tallies and intervals on embeddings and counts whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facecloak_evaluation.metrics import Tally, figure, protected_at


def at_degrees(*degrees: float) -> np.ndarray:
    """Unit vectors in the plane: similarity is the cosine of the angle between."""
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


GALLERY = at_degrees(0, 10, 20, 30, 90)
GALLERY_OWNERS = ["ann", "bob", "cem", "dan", "ann"]


@pytest.mark.parametrize(
    ("degrees", "rank", "protected"),
    [
        (1, 1, False),  # ann at 0 is nearest
        (9, 1, True),  # bob at 10 is nearest
        (9, 2, False),  # then ann at 0
        (27, 2, True),  # dan, cem
        (27, 3, True),  # and bob at 10, before ann at 0
        (27, 4, False),
        (80, 1, False),  # ann's second photo at 90
    ],
)
def test_a_probe_is_protected_if_none_of_the_nearest_is_the_owners(degrees: float, rank: int, protected: bool) -> None:
    found = protected_at(at_degrees(degrees), ["ann"], gallery=GALLERY, gallery_owners=GALLERY_OWNERS, rank=rank)
    assert found.tolist() == [protected]


def test_a_tie_goes_against_protection() -> None:
    gallery = at_degrees(0, 0)
    for owners in (["ann", "bob"], ["bob", "ann"]):
        assert not protected_at(at_degrees(0), ["ann"], gallery=gallery, gallery_owners=owners, rank=1)[0]


@given(seed=st.integers(0, 2**32 - 1), probes=st.integers(1, 6), gallery=st.integers(2, 12))
def test_protection_never_grows_with_the_rank(seed: int, probes: int, gallery: int) -> None:
    rng = np.random.default_rng(seed)
    owners = rng.choice(["ann", "bob", "cem"], gallery).tolist()
    points = rng.normal(size=(probes + gallery, 8))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    shares = [
        protected_at(
            points[:probes], ["ann"] * probes, gallery=points[probes:], gallery_owners=owners, rank=rank
        ).mean()
        for rank in range(1, gallery + 1)
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == (0.0 if "ann" in owners else 1.0)


@pytest.mark.parametrize("rank", [0, 6])
def test_a_rank_needs_a_gallery_of_its_size(rank: int) -> None:
    with pytest.raises(ValueError, match="gallery"):
        protected_at(at_degrees(1), ["ann"], gallery=GALLERY, gallery_owners=GALLERY_OWNERS, rank=rank)


def test_each_embedding_needs_an_owner() -> None:
    with pytest.raises(ValueError, match="owner"):
        protected_at(at_degrees(1, 2), ["ann"], gallery=GALLERY, gallery_owners=GALLERY_OWNERS, rank=1)


def test_a_tally_counts_by_person() -> None:
    tally = Tally.of(np.array([True, False, True, True]), ["bob", "bob", "ann", "bob"], people=["ann", "bob", "cem"])
    assert tally.hits.tolist() == [1, 2, 0]
    assert tally.trials.tolist() == [1, 3, 0]
    assert tally.share() == pytest.approx(3 / 4)


def test_the_share_of_several_rounds_is_the_mean_of_the_rounds() -> None:
    few = Tally.of(np.array([True]), ["ann"], people=["ann", "bob"])
    many = Tally.of(np.array([False] * 9), ["ann"] * 4 + ["bob"] * 5, people=["ann", "bob"])
    assert Tally.stack([few, many]).share() == pytest.approx(0.5)


def tally_of(hits: list[float], trials: float = 4) -> Tally:
    return Tally(hits=np.array(hits, float), trials=np.full(len(hits), float(trials)))


def test_the_interval_holds_the_value_and_is_deterministic() -> None:
    tally = tally_of([4, 0, 3, 1, 2, 4, 0, 2])
    measured = figure(tally, resamples=2000, seed=1)
    assert measured == figure(tally, resamples=2000, seed=1)
    assert measured.value == pytest.approx(0.5)
    assert 0 <= measured.low < measured.value < measured.high <= 1
    assert (measured.probes, measured.people) == (32, 8)
    assert figure(tally, resamples=11, seed=2) != figure(tally, resamples=11, seed=1)


def test_the_interval_is_that_of_the_mean_of_people() -> None:
    # Shares of 0 or 1 with equal chance: the mean of 100 has a standard error of 0.05.
    measured = figure(tally_of([0, 4] * 50), resamples=4000, seed=1)
    assert measured.low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.015)
    assert measured.high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.015)


def test_unanimous_people_leave_no_doubt() -> None:
    measured = figure(tally_of([4, 4, 4]), resamples=100, seed=1)
    assert (measured.low, measured.value, measured.high) == (1, 1, 1)


def test_a_gain_is_resampled_together_with_its_control() -> None:
    control = tally_of([0, 1, 2, 3])
    measured = figure(tally_of([1, 2, 3, 4]), minus=control, resamples=500, seed=1)
    # Everybody gains exactly one probe of four: no resample says otherwise.
    assert (measured.low, measured.value, measured.high) == pytest.approx((0.25, 0.25, 0.25))


def test_a_person_without_probes_takes_no_part() -> None:
    tally = Tally(hits=np.array([2.0, 0.0]), trials=np.array([4.0, 0.0]))
    measured = figure(tally, resamples=200, seed=1)
    assert measured.people == 1
    assert measured.value == measured.low == measured.high == 0.5


def test_more_people_narrow_the_interval() -> None:
    few, many = (figure(tally_of([0, 4] * count), resamples=1000, seed=1) for count in (5, 50))
    assert many.high - many.low < few.high - few.low


def test_figures_in_json_are_rounded() -> None:
    assert figure(tally_of([1, 0, 0]), resamples=10, seed=1).as_json()["value"] == 0.0833
