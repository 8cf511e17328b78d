"""Rounds in a world whose answers are known."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.faces import ARCFACE_TEMPLATE, Box
from facecloak.masks.displacement import DisplacementSize
from facecloak.photos import decode_photo, encode_photo
from facecloak_evaluation import color_video_vdp
from facecloak_evaluation.dataset import Person
from facecloak_evaluation.delivered_photo import mask_box
from facecloak_evaluation.errors import EvaluationInputInvalid, EvaluatorWasSurrogate
from facecloak_evaluation.face_extraction import FaceExtractor
from facecloak_evaluation.measurement import lowest_by_surrogates, mean_displacement
from facecloak_evaluation.platforms import PLATFORMS
from facecloak_evaluation.protocol import CloakedPhoto, EvaluationProtocol, Pairing
from facecloak_evaluation.surrogate_guard import RecognizerIdentity
from tests.facecloak_evaluation.small_world import (
    COLORS,
    PROTOCOL,
    STRANGERS,
    ColorRuntime,
    MiddleFinder,
    Painter,
    experiment_of,
    photo_of,
)

People = tuple[Person, ...]
Others = tuple[Path, ...]


DISGUISE = {"ann": STRANGERS["y"], "bob": STRANGERS["z"], "cem": STRANGERS["x"]}
"""Everybody in the color that is farthest from their own."""


def psr(result: dict[str, Any], pairing: Pairing, rank: int = 1) -> float:
    return float(result["pairings"][str(pairing)][f"psr_at_{rank}"]["value"])


def test_a_cloak_that_does_nothing_protects_nobody(people: People, others: Others) -> None:
    outcome = experiment_of(people, others).run_round(Painter(COLORS), evaluators=["judge"]).document
    (result,) = outcome["results"]
    assert result["control"]["psr_at_1"]["value"] == 0
    assert [psr(result, pairing) for pairing in Pairing] == [0, 0, 0]
    assert result["gallery_photos"] == 3 * 2 + 3


def test_a_perfect_cloak_protects_until_both_sides_wear_it(people: People, others: Others) -> None:
    document = experiment_of(people, others).run_round(Painter(DISGUISE), evaluators=["judge"]).document
    (result,) = document["results"]
    assert psr(result, Pairing.CLOAKED_PROBE) == 1
    assert psr(result, Pairing.CLOAKED_GALLERY) == 1
    # Both painted in the same color: the cloak itself links the photos. The stranger of that color is no nearer.
    assert psr(result, Pairing.BOTH_CLOAKED, rank=3) == 0
    assert result["pairings"][str(Pairing.CLOAKED_PROBE)]["gain_at_1"]["value"] == 1
    assert result["similarity_to_own_gallery"]["clean"] > 0.99 > result["similarity_to_own_gallery"]["cloaked"]
    assert result["people"]["ann"] == {"probes": 3, "protected": 3, "protected_uncloaked": 0}
    assert document["outcomes"] == {"CLOAKED": 15}
    assert document["enrollment"]["seconds_median_by_stage"] == {"perturb": 1.5, "synthesize": 0.5}


def test_half_a_cloak_is_half_the_figure(people: People, others: Others) -> None:
    painter = Painter({**COLORS, "ann": STRANGERS["x"]})
    (result,) = experiment_of(people, others).run_round(painter, evaluators=["judge"]).document["results"]
    figure = result["pairings"][str(Pairing.CLOAKED_PROBE)]["psr_at_1"]
    assert figure["value"] == pytest.approx(1 / 3, abs=1e-4)
    assert (figure["probes"], figure["people"]) == (9, 3)
    assert figure["low"] <= figure["value"] <= figure["high"]


def test_who_is_refused_is_counted_apart_and_stays_a_distractor(people: People, others: Others) -> None:
    painter = Painter({**COLORS, "ann": COLORS["bob"]}, refuse=frozenset({"bob"}))
    document = experiment_of(people, others).run_round(painter, evaluators=["judge"]).document
    (result,) = document["results"]
    assert document["enrollment"]["refused"] == {"bob": "FACE_BLURRED"}
    assert result["control"]["psr_at_1"]["probes"] == 6
    assert result["people"]["bob"]["probes"] == 0
    # Ann in Bob's color is taken for Bob, whose clean photos are still in the gallery.
    assert result["people"]["ann"]["protected"] == 3


def test_several_photos_are_enrolled(people: People, others: Others) -> None:
    painter = Painter(COLORS)
    protocol = EvaluationProtocol(enroll_photos=(2, 9), gallery_photos=(1,), probe_photos=(3, 4), ranks=(1,))
    experiment_of(people, others, protocol=protocol).run_round(painter, evaluators=["judge"])
    # The enrollment photo and number 2: nobody has a photo 9.
    assert painter.photo_counts == [2] * len(people)


def test_all_refused_is_an_error(people: People, others: Others) -> None:
    painter = Painter(COLORS, refuse=frozenset(COLORS))
    with pytest.raises(EvaluationInputInvalid, match="every enrollment"):
        experiment_of(people, others).run_round(painter, evaluators=["judge"])


def test_a_fault_of_the_service_is_no_refusal(people: People, others: Others) -> None:
    class Down(FaceCloakError):
        code = ErrorCode.UNAVAILABLE

    class Broken(Painter):
        def enroll(self, user: str, photos: Any) -> Any:
            raise Down("The store does not answer.")

    with pytest.raises(Down):
        experiment_of(people, others).run_round(Broken(COLORS), evaluators=["judge"])


def test_a_surrogate_is_refused_before_anybody_is_enrolled(people: People, others: Others) -> None:
    painter = Painter(COLORS, learned_against=(RecognizerIdentity("renamed", "1" * 64, ""),))
    with pytest.raises(EvaluatorWasSurrogate):
        experiment_of(people, others).run_round(painter, evaluators=["judge_too", "judge"])
    assert painter.enrolled == []


def test_a_service_that_names_its_surrogates_late_is_refused_too(people: People, others: Others) -> None:
    class Late(Painter):
        def surrogates(self) -> tuple[RecognizerIdentity, ...]:
            return (RecognizerIdentity("judge", "", "1" * 64),) if self.enrolled else ()

    with pytest.raises(EvaluatorWasSurrogate):
        experiment_of(people, others).run_round(Late(COLORS), evaluators=["judge"])


@dataclass
class Mover(Painter):
    """Moves the photo by one px and paints its middle; `displace` moves only."""

    moves: bool = True

    def cloak(self, user: str, photo: bytes, box: Box) -> CloakedPhoto:
        decoded = decode_photo(photo)
        painted = self._moved(decoded.srgb_u8)
        painted[60:100, 60:100] = np.clip(painted[60:100, 60:100].astype(int) + 6, 0, 255)
        return CloakedPhoto(encode_photo(decoded, painted), "CLOAKED")

    def displace(self, user: str, photo: bytes, box: Box) -> CloakedPhoto | None:
        decoded = decode_photo(photo)
        moved = self._moved(decoded.srgb_u8)
        return CloakedPhoto(encode_photo(decoded, moved), "CLOAKED") if self.moves else None

    def _moved(self, srgb_u8: np.ndarray) -> np.ndarray:
        return np.roll(srgb_u8, 1, axis=1) if self.moves else srgb_u8.copy()


def test_what_was_painted_is_told_apart_from_what_was_displaced(people: People, others: Others) -> None:
    seen = experiment_of(people, others).run_round(Mover(COLORS), evaluators=["judge"]).document["visibility"]
    # The painted square alone, 40 x 40 of the 113 x 113 that are looked at, 6 levels.
    assert seen["face_painted"]["rms_change_levels_mean"] == pytest.approx(6 * 40 / 113, abs=0.01)
    assert seen["face_mask_only"]["rms_change_levels_mean"] > seen["face_painted"]["rms_change_levels_mean"] + 2
    assert seen["face_mask_only"]["ssimulacra2_mean"] < seen["face_painted"]["ssimulacra2_mean"] < 100
    assert seen["face"]["flip_99_of_95_percent"] >= seen["face"]["flip_99_mean"] > 0
    assert "jod_mean" not in seen["face"]


def test_where_nothing_is_displaced_all_was_painted(people: People, others: Others) -> None:
    mover = Mover(COLORS, moves=False)
    seen = experiment_of(people, others).run_round(mover, evaluators=["judge"]).document["visibility"]
    assert seen["face_painted"] == seen["face_mask_only"]


def test_displacements_are_summed_up_over_masks(people: People, others: Others) -> None:
    sizes = (DisplacementSize(2.0, 5.0, 0.0), DisplacementSize(3.0, 6.0, 1.0))
    told = experiment_of(people, others).run_round(Mover(COLORS, displacements=sizes), evaluators=["judge"]).document
    assert told["displacement"] == {
        "masks": 6,
        "rms_percent": 2.5,
        "largest_percent": 5.5,
        "largest_percent_of_all": 6.0,
        "asymmetry_percent": 0.5,
    }
    mean = mean_displacement([told, told | {"displacement": None}])
    assert mean == {"rms_percent": 2.5, "largest_percent": 5.5, "asymmetry_percent": 0.5}
    still = experiment_of(people, others).run_round(Painter(COLORS), evaluators=["judge"]).document
    assert still["displacement"] is mean_displacement([still]) is None


def test_a_service_that_cannot_tell_the_parts_apart_has_no_painted_part(people: People, others: Others) -> None:
    seen = experiment_of(people, others).run_round(Painter(COLORS), evaluators=["judge"]).document["visibility"]
    assert "face_painted" not in seen


@pytest.mark.jod
@pytest.mark.skipif(not color_video_vdp.is_available(), reason=f"not installed: {color_video_vdp.HOW_TO_INSTALL}")
def test_jod_is_measured_where_it_can_be(people: People, others: Others) -> None:
    seen = experiment_of(people[:1], others).run_round(Mover(COLORS), evaluators=["judge"]).document["visibility"]
    assert seen["face"]["jod_mean"] < seen["face_painted"]["jod_mean"] < 10
    assert seen["face"]["jod_of_95_percent"] <= seen["face"]["jod_mean"]
    assert seen["face"]["jod_spread"] >= 0


def test_surrogates_evaluate_apart_from_those_who_never_saw_the_mask(people: People, others: Others) -> None:
    protocol = replace(PROTOCOL, surrogates_too=True)
    teacher = RecognizerIdentity.of(ColorRuntime().spec("judge_too"))
    painter = Painter({**COLORS, "ann": DISGUISE["ann"]}, learned_against=(teacher,))
    document = experiment_of(people, others, protocol=protocol).run_round(painter, evaluators=["judge"]).document
    assert [result["evaluator"] for result in document["results"]] == ["judge"]
    (told,) = document["results_by_surrogates"]
    assert told["evaluator"] == "judge_too"
    assert psr(told, Pairing.CLOAKED_PROBE) == pytest.approx(1 / 3, abs=1e-4)
    lowest = lowest_by_surrogates([document], platform=protocol.platforms[0], rank=1)
    assert lowest is not None
    assert (lowest["lowest"], lowest["psr_at_1"]["probes"]) == ("judge_too", 9)
    assert lowest_by_surrogates([document | {"results_by_surrogates": []}], platform="jpeg85", rank=1) is None


def test_photos_left_alone_do_not_flatter_visibility(people: People, others: Others) -> None:
    document = (
        experiment_of(people, others)
        .run_round(Painter(DISGUISE, leave_alone=frozenset({"ann"})), evaluators=["judge"])
        .document
    )
    assert document["outcomes"] == {"CLOAKED": 10, "NO_FACE": 5}
    assert document["visibility"]["photos"] == 6
    assert document["visibility"]["face"]["ssim_mean"] < 0.9
    assert document["results"][0]["people"]["ann"]["protected"] == 0


def test_a_missed_face_does_not_count_as_protection(people: People, others: Others) -> None:
    # Painted black the face is not found; at its known place the crop is black, as are everybody's: a guess.
    painter = Painter(dict.fromkeys(COLORS, (0, 0, 0)))
    (result,) = experiment_of(people, others).run_round(painter, evaluators=["judge"]).document["results"]
    assert result["undetected"] == {"clean_probes": 0, "cloaked_probes": 9}
    figures = result["pairings"][str(Pairing.CLOAKED_PROBE)]
    assert figures["psr_at_1_if_undetected_counts"]["value"] == 1
    assert figures["psr_at_1"]["value"] <= 1


def test_jobs_do_not_change_the_result(people: People, others: Others) -> None:
    one, two = (
        experiment_of(people, others, jobs=jobs)
        .run_round(Painter(DISGUISE), evaluators=["judge", "judge_too"])
        .document
        for jobs in (1, 3)
    )
    assert one.pop("cloaking")["photos"] == two.pop("cloaking")["photos"] == 15
    assert one == two


def test_progress_is_told_of_every_piece(people: People, others: Others) -> None:
    told: Counter[str] = Counter()
    experiment = experiment_of(people, others, advance=lambda kind, about: told.update([kind]))
    experiment.run_round(Painter(COLORS), evaluators=["judge", "judge_too"])
    assert told == {"read": 18, "enroll": 3, "cloak": 15, "evaluate": 2}


def test_a_photo_without_a_face_is_left_out_and_named(people: People, others: Others) -> None:
    people[0].photos[3].write_bytes(photo_of((0, 0, 0), seed=1))
    experiment = experiment_of(people, others)
    assert experiment.left_out == ["ann/photo3"]
    (result,) = experiment.run_round(Painter(COLORS), evaluators=["judge"]).document["results"]
    assert result["people"]["ann"]["probes"] == 2


def test_a_person_without_a_probe_is_an_error(people: People, others: Others) -> None:
    for number in (3, 4, 5):
        people[0].photos[number].write_bytes(photo_of((0, 0, 0), seed=1))
    with pytest.raises(EvaluationInputInvalid, match="ann has no usable probe"):
        experiment_of(people, others)


def test_the_mean_is_over_rounds(people: People, others: Others) -> None:
    experiment = experiment_of(people, others)
    rounds = [
        experiment.run_round(Painter(DISGUISE), evaluators=["judge"]),
        experiment.run_round(Painter(COLORS), evaluators=["judge_too"]),
    ]
    mean = experiment.evaluator.mean([result for item in rounds for result in item.results])
    assert mean["evaluators"] == ["judge", "judge_too"]
    assert mean["pairings"][str(Pairing.CLOAKED_PROBE)]["psr_at_1"]["value"] == 0.5
    assert mean["pairings"][str(Pairing.CLOAKED_PROBE)]["gain_at_1"]["value"] == 0.5


@pytest.mark.parametrize("name", PLATFORMS)
def test_every_platform_can_be_judged(people: People, others: Others, name: str) -> None:
    protocol = EvaluationProtocol(gallery_photos=(1,), probe_photos=(2,), platforms=(name,), ranks=(1,), resamples=10)
    round_ = experiment_of(people, others, protocol=protocol).run_round(Painter(COLORS), evaluators=["judge"])
    assert psr(round_.document["results"][0], Pairing.CLOAKED_PROBE) == 0


def test_a_protocol_keeps_probes_out_of_the_gallery() -> None:
    with pytest.raises(EvaluationInputInvalid):
        EvaluationProtocol(gallery_photos=(1, 2), probe_photos=(2, 3))
    with pytest.raises(EvaluationInputInvalid, match="smoke"):
        EvaluationProtocol(platforms=("smoke",))
    with pytest.raises(EvaluationInputInvalid):
        EvaluationProtocol(probe_photos=())
    with pytest.raises(EvaluationInputInvalid, match="enrolled"):
        EvaluationProtocol(enroll_photos=(1, 9))
    with pytest.raises(EvaluationInputInvalid, match="enrolled"):
        EvaluationProtocol(enroll_photos=(7,))
    with pytest.raises(EvaluationInputInvalid, match="at most"):
        EvaluationProtocol(enroll_photos=tuple(range(10, 26)))


def test_the_persons_face_is_the_largest_near_the_middle() -> None:
    class Several(MiddleFinder):
        def find(self, srgb_u8: np.ndarray) -> list[Any]:
            from facecloak.faces import Box, Face

            boxes = (Box(0, 0, 150, 60), Box(75, 75, 12, 12), Box(45, 40, 70, 80))
            return [Face(box, ARCFACE_TEMPLATE, 1.0) for box in boxes]

    face = FaceExtractor(Several()).person_in(np.full((160, 160, 3), 99, np.uint8))
    assert face is not None
    assert face.box.width == 70


def test_a_second_finder_is_asked_only_where_the_first_sees_nobody() -> None:
    class Blind(MiddleFinder):
        def find(self, srgb_u8: np.ndarray) -> list[Any]:
            return []

    extractor = FaceExtractor(Blind(), second=MiddleFinder())
    assert extractor.see_clean(np.full((160, 160, 3), 99, np.uint8)) is not None
    assert extractor.second_used == 1
    assert FaceExtractor(MiddleFinder(), second=Blind()).see_clean(np.full((160, 160, 3), 99, np.uint8)) is not None
    assert FaceExtractor(Blind()).see_clean(np.full((160, 160, 3), 99, np.uint8)) is None


def test_the_mask_box_holds_the_aligned_square() -> None:
    box = mask_box(ARCFACE_TEMPLATE * 2 + 10)
    # The template scaled by two and moved by ten: pixel edges -0.5 and 111.5 land on 9 and 233.
    assert (box.x, box.y, box.width, box.height) == pytest.approx((9, 9, 224, 224), abs=1e-3)
