"""Strengths, the cloak twice and the attack, in a world whose answers are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facecloak.faces import Box
from facecloak.photos import decode_photo, encode_photo
from facecloak_evaluation.dataset import Person
from facecloak_evaluation.errors import EvaluationInputInvalid
from facecloak_evaluation.measurement import mean_of_trials, worst_platform
from facecloak_evaluation.protocol import CloakedPhoto, EvaluationProtocol, Pairing
from facecloak_evaluation.purification import PURIFIERS
from facecloak_evaluation.robustness_trials import removed_share
from tests.facecloak_evaluation.small_world import COLORS, STRANGERS, Painter, experiment_of, photo_of

People = tuple[Person, ...]
Others = tuple[Path, ...]

# Past the middle of the way to whoever is farthest: from ann to y, from bob to z, from cem to x.
SHIFTS = {
    name: 0.6 * np.subtract(STRANGERS[as_whom], COLORS[name]) for name, as_whom in zip(COLORS, "yzx", strict=True)
}


@dataclass
class Shifter(Painter):
    """Adds a color to each photo, as a mask is added; twice as strong, twice the color."""

    def cloak(self, user: str, photo: bytes, box: Box) -> CloakedPhoto:
        return self.cloak_at(user, photo, box, strength=1.0)

    def cloak_at(self, user: str, photo: bytes, box: Box, *, strength: float) -> CloakedPhoto:
        decoded = decode_photo(photo)
        shifted = np.clip(decoded.srgb_u8 + np.round(strength * SHIFTS[user]), 0, 255).astype(np.uint8)
        return CloakedPhoto(encode_photo(decoded, shifted), "CLOAKED")


def protocol(**changes: Any) -> EvaluationProtocol:
    return EvaluationProtocol(
        gallery_photos=(1, 2), probe_photos=(3, 4), platforms=("jpeg95_444",), ranks=(1,), resamples=50, **changes
    )


def round_of(people: People, others: Others, protector: Painter, **changes: Any) -> dict[str, Any]:
    experiment = experiment_of(people, others, protocol=protocol(**changes))
    return experiment.run_round(protector, evaluators=["judge", "judge_too"]).document


def test_nothing_is_tried_that_was_not_asked_for(people: People, others: Others) -> None:
    document = round_of(people, others, Shifter(COLORS))
    assert not {"strengths", "reapplied", "extraction", "purified"} & set(document)
    assert mean_of_trials([document], rank=1) == {}


def test_a_stronger_mask_protects_more_and_is_seen_more(people: People, others: Others) -> None:
    document = round_of(people, others, Shifter(COLORS), strengths=(0.1, 1.0))
    weak, whole = document["strengths"]
    assert (weak["strength"], whole["strength"]) == (0.1, 1.0)
    assert weak["evaluators"]["judge"]["gain_at_1"]["value"] == 0
    assert whole["evaluators"]["judge"]["gain_at_1"]["value"] == 1
    assert weak["visibility"]["face"]["ssim_mean"] > whole["visibility"]["face"]["ssim_mean"]
    curve = mean_of_trials([document], rank=1)["strengths"]
    assert [point["gain_at_1"] for point in curve] == [0, 1]


def test_a_service_of_one_strength_has_no_curve(people: People, others: Others) -> None:
    assert "strengths" not in round_of(people, others, Painter(COLORS), strengths=(0.5,))


def test_the_same_change_to_every_photo_is_taken_off_by_whoever_has_pairs(people: People, others: Others) -> None:
    # Gray strangers: shifted, they reach 0 and 255 nowhere, so that what is subtracted is what was added.
    for number, path in enumerate(others):
        path.write_bytes(photo_of((127, 127, 127), seed=number))
    document = round_of(people, others, Shifter(COLORS), extraction_photos=(2, 50))
    extraction = document["extraction"]
    assert extraction["photo_counts_left_out"] == [50]
    pairs = extraction["attackers"]["pairs"]["2"]["judge"]
    assert pairs["psr_at_1"]["value"] == 0
    assert pairs["removed_at_1"] == 1
    # A change without any texture is invisible to who has cloaked photos only.
    blind = extraction["attackers"]["blind"]["2"]["judge"]
    assert blind["removed_at_1"] == 0
    means = mean_of_trials([document, document], rank=1)["extraction"]
    assert means["pairs"]["2"] == {"gain_at_1": 0, "removed_at_1": 1}
    assert means["blind"]["2"] == {"gain_at_1": 1, "removed_at_1": 0}


def test_who_undoes_the_displacement_still_meets_the_paint_and_the_other_way_round(
    people: People, others: Others
) -> None:
    for number, path in enumerate(others):
        path.write_bytes(photo_of((127, 127, 127), seed=number))
    attackers = round_of(people, others, Shifter(COLORS), extraction_photos=(1, 2))["extraction"]["attackers"]
    # Nothing is displaced, so undoing that removes nothing; the shift of color is paint, which goes with the pairs.
    assert attackers["pairs, displacement undone"]["2"]["judge"]["removed_at_1"] == 0
    for count in ("1", "2"):
        assert attackers["pairs, displacement and paint undone"][count]["judge"]["removed_at_1"] == 1


def test_purification_is_measured_against_uncloaked_photos_that_went_the_same_way(
    people: People, others: Others
) -> None:
    document = round_of(people, others, Shifter(COLORS), purify=True)
    assert list(document["purified"]) == list(PURIFIERS)
    for purified in document["purified"].values():
        # A color stays what it is, blurred or not.
        assert purified["evaluators"]["judge"]["control_psr_at_1"] == 0
        assert purified["evaluators"]["judge"]["gain_at_1"]["value"] == 1
        assert purified["evaluators"]["judge"]["removed_at_1"] == 0
    means = mean_of_trials([document, document], rank=1)["purified"]
    assert means["bilateral"] == {"gain_at_1": 1, "removed_at_1": 0}


def test_cloaking_twice_goes_through_the_service_again(people: People, others: Others) -> None:
    document = round_of(people, others, Shifter(COLORS), strengths=(1.0,), reapply=True)
    (once,), twice = document["strengths"], document["reapplied"]
    assert twice["visibility"]["face"]["rms_change_levels_mean"] > once["visibility"]["face"]["rms_change_levels_mean"]
    assert set(twice["evaluators"]) == {"judge", "judge_too"}


def test_every_trial_is_told(people: People, others: Others) -> None:
    told: list[str] = []
    asked = protocol(strengths=(0.5, 1.0), reapply=True, extraction_photos=(2,), purify=True)
    experiment = experiment_of(
        people, others, protocol=asked, advance=lambda kind, about: told.append(about) if kind == "try" else None
    )
    experiment.run_round(Shifter(COLORS), evaluators=["judge"])
    assert len(told) == 2 + 1 + len(people) + len(PURIFIERS)


def test_examples_come_worst_first(people: People, others: Others) -> None:
    experiment = experiment_of(people, others, protocol=protocol())
    mixed = Painter({"ann": COLORS["ann"], "bob": STRANGERS["x"], "cem": COLORS["cem"]})
    examples = experiment.run_round(mixed, evaluators=["judge"]).examples
    assert [example.margin > 0 for example in examples] == [True] * 4 + [False] * 2
    assert {example.photo.clean.owner for example in examples[-2:]} == {"bob"}
    margins = [example.margin for example in examples]
    assert margins == sorted(margins, reverse=True)


def test_the_worst_platform_is_named() -> None:
    def figures(gain: float) -> dict[str, Any]:
        return {"pairings": {str(Pairing.CLOAKED_PROBE): {"gain_at_1": {"value": gain, "low": 0, "high": 1}}}}

    worst = worst_platform({"jpeg85": figures(0.8), "blur1": figures(0.4)}, first="jpeg85", rank=1)
    assert (worst["platform"], worst["share_of_first"]) == ("blur1", 0.5)
    assert worst_platform({"jpeg85": figures(0.0)}, first="jpeg85", rank=1)["share_of_first"] is None


def test_what_was_removed_is_a_share_of_what_there_was() -> None:
    assert removed_share(0.8, 0.2) == 0.75
    assert removed_share(0.5, 0.6) == pytest.approx(-0.2)
    assert removed_share(0.0, 0.0) is None


@pytest.mark.parametrize("changes", [{"strengths": (0.0,)}, {"strengths": (5.0,)}, {"extraction_photos": (0,)}])
def test_impossible_trials_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(EvaluationInputInvalid):
        protocol(**changes)
