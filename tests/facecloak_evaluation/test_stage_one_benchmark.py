"""Ways of stage one are compared person by person, and real photos are the ceiling."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.stage_one import __main__ as stage_one
from benchmarks.stage_one import measuring
from benchmarks.stage_one.conditions import CEILING, CONDITIONS, DEFAULT, FLOOR, UNSEEN_CEILING, PhotoChoice
from benchmarks.stage_one.side_by_side import measure_all
from benchmarks.stage_one.summary import summarize
from enroll_service.pipeline import PerturbRecipe, PipelineSettings, Recipe, SynthesisRecipe
from facecloak_evaluation.dataset import Person, read_people
from tools.docs.results_pages import results_block

JUDGES = ("one", "other")


def _judged(*missed: int) -> dict[str, Any]:
    return {"missed": list(missed), "margin": [0.1] * len(missed), "cosine_to_own": [0.5] * len(missed)}


def _record(**shares: tuple[int, int]) -> dict[str, Any]:
    """A person of two probes, one turned; ``shares`` by condition which of them both judges miss."""
    conditions = {
        name.replace("_", " "): {"judges": {judge: _judged(*missed) for judge in JUDGES}}
        for name, missed in shares.items()
    }
    return {"yaw_degrees": [-3.0, 20.0], "conditions": conditions}


def test_the_way_to_the_ceiling_is_told_with_its_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.stage_one.summary.FLOOR", SimpleNamespace(name="floor"))
    monkeypatch.setattr("benchmarks.stage_one.summary.CEILING", SimpleNamespace(name="ceiling"))
    records = {
        "anna": _record(no_mask=(0, 0), floor=(0, 0), way=(1, 0), ceiling=(1, 1)),
        "bert": _record(no_mask=(0, 0), floor=(1, 0), way=(1, 1), ceiling=(1, 1)),
    }
    conditions = summarize(records, judges=JUDGES)
    # From 1 of 4 to 4 of 4, and 3 of 4 between them.
    way = conditions["way"]["mean"]["share_of_way_to"]["ceiling"]
    assert way["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert way["low"] == pytest.approx(0.5, abs=1e-4)
    assert way["high"] == pytest.approx(1.0, abs=1e-4)
    assert "share_of_way_to" not in conditions["ceiling"]["mean"]
    assert conditions["way"]["mean"]["psr_at_1_by_yaw_degrees"] == {
        "0-8": {"probes": 2, "psr_at_1": 1.0},
        "8-16": {"probes": 0, "psr_at_1": None},
        "16-90": {"probes": 2, "psr_at_1": 0.5},
    }


def test_where_there_is_no_way_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.stage_one.summary.FLOOR", SimpleNamespace(name="floor"))
    monkeypatch.setattr("benchmarks.stage_one.summary.CEILING", SimpleNamespace(name="ceiling"))
    records = {"anna": _record(floor=(1, 0), way=(1, 1), ceiling=(1, 0))}
    way = summarize(records, judges=JUDGES)["way"]["mean"]["share_of_way_to"]["ceiling"]
    assert way == {"value": None, "low": None, "high": None}


def test_a_mask_from_other_real_photos_never_saw_the_probes_that_wear_it(tmp_path: Path) -> None:
    photos = {number: tmp_path / f"photo{number}.jpg" for number in range(1, 9)}
    person = Person("anna", tmp_path / "enrol.jpg", photos)
    probes: list[Any] = [SimpleNamespace(number=number) for number in measuring.PROBES]
    worn = []
    masks = measuring._masks_of(PhotoChoice.ALL_BUT_PROBES, person, probes)
    for learned_from, judged in masks:
        assert learned_from[0] == person.enroll_photo
        assert len(learned_from) in (6, 7)
        assert not {photos[probe.number] for probe in judged} & set(learned_from)
        worn += [probe.number for probe in judged]
    assert sorted(worn) == list(measuring.PROBES)


@pytest.mark.slow
def test_ways_of_stage_one_are_compared(
    shared_dir: Path, model_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = (FLOOR, next(each for each in CONDITIONS if each.name == "mesh, face's own frame"), UNSEEN_CEILING, CEILING)
    monkeypatch.setattr(stage_one, "CONDITIONS", kept)
    monkeypatch.setattr(measuring, "PROBES", (4, 5))
    few = tmp_path / "others"
    few.mkdir()
    for path in sorted((shared_dir / "faces" / "others").iterdir())[:3]:
        (few / path.name).symlink_to(path)
    folder = tmp_path / "people"
    folder.mkdir()
    for path in sorted((shared_dir / "faces" / "people").iterdir())[:2]:
        (folder / path.name).symlink_to(path)
    out = tmp_path / "result.json"
    options = {"people": folder, "others": few, "repository": model_repository, "json": out}
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    arguments += ["--people-slice", "1:1", "--iterations", "2", "--judge", "mobileface", "--surrogate", "dlib_resnet"]
    result = CliRunner().invoke(stage_one.main, arguments)
    assert result.exit_code == 0, result.output
    document = json.loads(out.read_text())
    assert list(document["conditions"]) == ["no mask", *(condition.name for condition in kept)]
    for condition in list(document["conditions"].values())[1:]:
        # Masks of either frame are brought to one visibility.
        assert condition["ssim_crop112_mean"] == pytest.approx(0.86, abs=0.01)
        assert 0 < condition["ssimulacra2_mean"] < 90
        assert 0 < condition["flip_99_mean"] < 1
        assert condition["judges"]["mobileface"]["psr_at_1"]["probes"] == 2
    assert "| no mask |" in result.output
    assert "learned on dlib_resnet in 2 steps" in results_block(tmp_path, folder="docs/results")

    # A second run has nothing left to measure; one that measures otherwise does not mix the two.
    monkeypatch.setattr(measuring.Bench, "measure", None)
    again = CliRunner().invoke(stage_one.main, arguments)
    assert again.exit_code == 0, again.output
    otherwise = CliRunner().invoke(stage_one.main, [*arguments, "--ssim", "0.9"])
    assert otherwise.exit_code == 2
    assert "measured otherwise" in otherwise.output


def test_in_turn_each_judge_judges_masks_learned_against_all_others() -> None:
    rounds = stage_one._rounds(("a", "b"), ("c", "d"), in_turn=True)
    assert [(each.surrogates, each.judges) for each in rounds] == [(("a", "b", "d"), ("c",)), (("a", "b", "c"), ("d",))]
    assert stage_one._told(rounds, in_turn=True) == " --in-turn --surrogate a --surrogate b --judge c --judge d"
    at_once = stage_one._rounds(("a", "b"), ("c", "d"), in_turn=False)
    assert [(each.surrogates, each.judges) for each in at_once] == [(("a", "b"), ("c", "d"))]


@pytest.mark.slow
def test_people_are_measured_side_by_side(shared_dir: Path, model_repository: Path) -> None:
    people = read_people(shared_dir / "faces" / "people", selection="1:2")
    recipe = Recipe(synthesis=SynthesisRecipe(variations=2), perturb=PerturbRecipe(iterations=1, batch=2))
    settings = PipelineSettings(recipe=recipe)
    rounds = (measuring.BenchRound(("dlib_resnet",), ("mobileface",)),)
    plan = measuring.Plan(model_repository, settings, rounds, (DEFAULT,), ssim=0.86)
    gallery = measuring.Bench(plan).gallery(people, ())
    results = list(measure_all(people, plan, gallery, jobs=2))
    assert [person for person, _ in results] == list(people)
    for _, record in results:
        assert record is not None
        assert len(record["conditions"][DEFAULT.name]["judges"]["mobileface"]["missed"]) == len(record["yaw_degrees"])
