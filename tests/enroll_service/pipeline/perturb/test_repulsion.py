"""Where the next mask may not lead: directions across the identity, weighted by how far a mask still leads there."""

from __future__ import annotations

import numpy as np
import pytest

from enroll_service.pipeline.ops.similarity_scale import unit
from enroll_service.pipeline.perturb.ensemble import Target
from enroll_service.pipeline.perturb.repulsion import Repulsion

OWN, LEFT, UP = np.eye(4, dtype=np.float32)[:3, None]
TARGETS = {"one": Target(near=OWN, far=-OWN), "two": Target(near=UP, far=-UP)}


def repelled(weight: float = 2.0, margin: float = 0.0) -> Repulsion:
    """With one mask that leads "one" from the identity to the left."""
    taken = Repulsion(TARGETS, weight=weight, margin=margin)
    taken.take("one", clean=OWN, masked=unit(0.6 * OWN + 0.8 * LEFT))
    return taken


def leaving(target: Target) -> np.ndarray:
    """The one direction that a target makes an embedding leave."""
    return unit(target.near - target.far)[0]


def test_the_first_mask_leaves_the_identity_alone() -> None:
    fresh = Repulsion(TARGETS, weight=2.0, margin=0.0)
    assert fresh.begin() == TARGETS
    assert fresh.follow("one", LEFT) is TARGETS["one"]


def test_a_mask_that_goes_where_one_went_is_turned_away() -> None:
    target = repelled().follow("one", unit(0.6 * OWN + 0.8 * LEFT))
    away = leaving(target)
    # As far as the first one led: the taken direction weighs `repulsion` times what the identity does.
    assert away[1] / away[0] == pytest.approx(2.0, rel=1e-4)
    assert away[2] == away[3] == 0


def test_a_mask_that_goes_elsewhere_is_left_alone() -> None:
    for embedding in (OWN, UP, unit(OWN - LEFT)):
        assert leaving(repelled().follow("one", embedding)) == pytest.approx(OWN[0], abs=1e-6)


def test_within_the_margin_a_mask_is_left_alone_and_beyond_it_is_repelled_by_the_rest() -> None:
    # The first mask reaches 0.8 to the left.
    for share, weight in ((0.25, 0.0), (0.49, 0.0), (0.75, 0.5), (1.0, 1.0)):
        lead = np.float32(0.8 * share)
        away = leaving(repelled(margin=0.5).follow("one", np.sqrt(1 - lead**2) * OWN + lead * LEFT))
        assert away[1] / away[0] == pytest.approx(weight, abs=1e-4)


def test_without_repulsion_nothing_changes() -> None:
    assert repelled(weight=0.0).follow("one", LEFT) is TARGETS["one"]


def test_another_recognizer_has_directions_of_its_own() -> None:
    assert repelled().follow("two", LEFT) is TARGETS["two"]


def test_weights_follow_the_batches_slowly_and_are_forgotten_for_the_next_mask() -> None:
    taken = repelled()
    first = leaving(taken.follow("one", LEFT))[1]
    later = leaving(taken.follow("one", UP))[1]
    assert 0 < later < first
    taken.begin()
    assert leaving(taken.follow("one", UP))[1] == pytest.approx(0, abs=1e-6)


def test_every_taken_direction_counts() -> None:
    taken = repelled()
    taken.take("one", clean=OWN, masked=unit(0.6 * OWN + 0.8 * UP))
    away = leaving(taken.follow("one", unit(LEFT + UP)))
    assert away[1] == pytest.approx(away[2])
    assert away[1] > 0


def test_an_anchor_stays_part_of_what_is_approached() -> None:
    anchor = unit(np.array([[-1, 0, 0, 1]], np.float32))
    taken = Repulsion({"one": Target(near=OWN, far=anchor)}, weight=2.0, margin=0.0)
    taken.take("one", clean=OWN, masked=unit(0.6 * OWN + 0.8 * LEFT))
    assert leaving(taken.follow("one", LEFT))[3] < 0


def test_onward_adds_where_the_mask_leads_and_not_where_an_earlier_one_does() -> None:
    onward = Repulsion(TARGETS, weight=0.0, margin=0.0, onward=0.5)
    target = onward.follow("one", unit(0.6 * OWN + 0.8 * UP))
    assert np.array_equal(target.near, OWN)
    # Twice as much away from the person as onward, whatever part of the batch's mean lies along the identity.
    assert target.far[0] == pytest.approx(unit(-OWN + 0.5 * UP)[0], abs=1e-6)
    # The heading is a running mean, and a new mask begins without one.
    turned = onward.follow("one", unit(0.6 * OWN + 0.8 * LEFT)).far[0]
    assert turned[2] > turned[1] > 0
    onward.begin()
    assert onward.follow("one", LEFT).far[0] == pytest.approx(unit(-OWN + 0.5 * LEFT)[0], abs=1e-6)


def test_onward_is_never_where_an_earlier_mask_leads() -> None:
    onward = Repulsion(TARGETS, weight=2.0, margin=0.0, onward=0.5)
    onward.take("one", clean=OWN, masked=unit(0.6 * OWN + 0.8 * LEFT))
    target = onward.follow("one", unit(0.5 * OWN + 0.6 * LEFT + 0.6 * UP))
    away = leaving(target)
    # Away from the person and from the left, on upwards.
    assert away[0] > 0 < away[1]
    assert target.far[0][2] > 0 > target.far[0][1]
