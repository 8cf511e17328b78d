"""`facecloak evaluate`: usage, the guard at the door, and whole tiny measurements on real faces."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from enroll_service.pipeline import PipelineSettings
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from facecloak.cli import RootGroup
from facecloak.masks.bank import MaskBank
from facecloak.masks.mask import Mask
from facecloak_evaluation import command
from facecloak_evaluation.platforms import PLATFORMS
from facecloak_evaluation.protocol import EvaluationProtocol, Pairing
from facecloak_evaluation.robustness_trials import ATTACKERS
from facecloak_evaluation.rounds import changed_settings, command_line, pipeline_settings, plan_rounds

OTHERS = 40
QUICK = ["--set", "perturb.iterations=3", "--set", "synthesis.variations=8"]


def run(*arguments: str | Path) -> Result:
    root = RootGroup(name="facecloak")
    command.register(root)
    return CliRunner().invoke(root, ["evaluate", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "people" / "ann").mkdir(parents=True)
    (tmp_path / "models").mkdir()
    return tmp_path


def usage_error(folder: Path, *arguments: str) -> str:
    where = ("--people", folder / "people", "--repository", folder / "models", "--json", folder / "out.json")
    result = run(*where, *arguments)
    assert result.exit_code == 2, result.output
    return result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "--recognizer"),
        (("--leave-one-out", "--surrogate", "fr_feature"), "two surrogates"),
        (("--surrogates-too", "--enroll-target", "h:1", "--apply-target", "h:2"), "own surrogates"),
        (("--recognizer", "a", "--enroll-target", "h:1"), "go together"),
        (("--leave-one-out", "--enroll-target", "h:1", "--apply-target", "h:2"), "own surrogates"),
        (("--recognizer", "a", "--set", "perturb.nonsense=1"), "no such setting"),
        (("--recognizer", "a", "--set", "perturb.iterations"), "FIELD=VALUE"),
        (("--recognizer", "a", "--set", "masks.x=1"), "no such setting"),
        (("--recognizer", "a", "--set", "perturb.iterations=-4"), "perturb.iterations"),
        (("--recognizer", "a", "--probe-photos", "4;5"), "numbers of photos"),
        (("--recognizer", "a", "--extraction", "5;20"), "numbers of photos"),
        (("--recognizer", "a", "--pictures", "3"), "--html"),
        (("--recognizer", "a", "--strength", "9"), "--strength"),
        (("--recognizer", "a", "--compare", "nothing"), "--compare"),
    ],
)
def test_wrong_usage_is_explained(folder: Path, arguments: tuple[str, ...], says: str) -> None:
    assert says in usage_error(folder, *arguments)


def test_leaving_one_out_plans_a_round_each() -> None:
    plans = plan_rounds(recognizers=(), surrogates=("a", "b", "c"), settings=None, leave_one_out=True)
    assert [(plan.surrogates, plan.evaluators) for plan in plans] == [
        (("b", "c"), ("a",)),
        (("a", "c"), ("b",)),
        (("a", "b"), ("c",)),
    ]
    (only,) = plan_rounds(recognizers=("b",), surrogates=("a", "b", "c"), settings=None, leave_one_out=True)
    assert (only.surrogates, only.evaluators) == (("a", "c"), ("b",))


def test_who_is_no_surrogate_evaluates_every_round() -> None:
    plans = plan_rounds(recognizers=("b", "facenet"), surrogates=("a", "b", "c"), settings=None, leave_one_out=True)
    assert [(plan.surrogates, plan.evaluators) for plan in plans] == [(("a", "c"), ("b", "facenet"))]
    both = plan_rounds(recognizers=("facenet",), surrogates=("a", "b"), settings=None, leave_one_out=True)
    assert [plan.evaluators for plan in both] == [("a", "facenet"), ("b", "facenet")]


def test_the_services_own_surrogates_are_the_default() -> None:
    settings = pipeline_settings(())
    (plan,) = plan_rounds(recognizers=("x", "x"), surrogates=(), settings=settings, leave_one_out=False)
    assert plan.surrogates == settings.surrogates
    assert plan.evaluators == ("x",)


def test_all_stands_for_every_platform_once() -> None:
    assert command._platforms(("blur1", "all")) == ("blur1", *(name for name in PLATFORMS if name != "blur1"))
    assert command._platforms(("jpeg85",)) == ("jpeg85",)


def test_settings_can_be_set() -> None:
    settings = pipeline_settings(("perturb.iterations=7", "masks=3"))
    assert (settings.recipe.perturb.iterations, settings.masks) == (7, 3)
    with pytest.raises(click.UsageError):
        pipeline_settings(("perturb=7",))


def test_the_line_that_repeats_a_measurement_says_what_was_set() -> None:
    given = ("perturb.iterations=7", "masks=3", "synthesizer=elastic", 'surrogates=["sface", "faceres"]')
    settings = pipeline_settings(given)
    assert set(changed_settings(settings)) == set(given)
    assert pipeline_settings(changed_settings(settings)) == settings
    line = command_line(
        EvaluationProtocol(), settings=settings, recognizers=("a",), surrogates=(), people_slice=None,
        leave_one_out=False, others=False, compare=False,
    )  # fmt: skip
    words = shlex.split(line)
    assert "--enroll-photos" not in words
    assert [words[at + 1] for at, word in enumerate(words) if word == "--set"] == list(changed_settings(settings))
    assert changed_settings(PipelineSettings()) == ()


@pytest.mark.slow
def test_a_surrogate_is_refused_at_the_door(shared_dir: Path, model_repository: Path, tmp_path: Path) -> None:
    where = ("--people", shared_dir / "faces/people", "--repository", model_repository, "--json", tmp_path / "out.json")
    result = run(*where, "--recognizer", "dlib_resnet")
    assert result.exit_code == 1
    assert "EVALUATOR_WAS_SURROGATE" in result.stderr
    assert not (tmp_path / "out.json").exists()


def measure(shared_dir: Path, model_repository: Path, out: Path, *more: str | Path) -> dict[str, Any]:
    others = out.parent / "others"
    others.mkdir(exist_ok=True)
    for photo in sorted((shared_dir / "faces/others").iterdir())[:OTHERS]:
        if not (others / photo.name).exists():
            (others / photo.name).symlink_to(photo)
    where = (
        "--people",
        shared_dir / "faces/people",
        "--others",
        others,
        "--repository",
        model_repository,
        "--json",
        out,
    )
    result = run(*where, "--people-slice", "21:22", *QUICK, *more)
    assert result.exit_code == 0, result.output
    return json.loads(out.read_text())  # type: ignore[no-any-return]


def without_times(document: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(json.dumps(document))
    for key in ("date", "seconds", "jobs"):
        kept.pop(key)
    kept["headline"].pop("enrollment_seconds_median")
    kept["machine"].pop("load_average")
    for round_ in kept["rounds"]:
        round_.pop("enrollment")
        round_.pop("cloaking")
    return kept


@pytest.mark.slow
def test_a_tiny_measurement_is_whole_repeatable_and_goes_on(
    shared_dir: Path, model_repository: Path, tmp_path: Path
) -> None:
    who = ["--leave-one-out", "--surrogate", "dlib_resnet", "--surrogate", "mobileface"]
    work = tmp_path / "work"
    page = tmp_path / "page.html"
    first = measure(
        shared_dir, model_repository, tmp_path / "1.json", *who, "--work", work, "--jobs", "2", "--html", page
    )
    assert page.read_text().startswith("<!doctype html>")
    assert [round_["evaluators"][0]["name"] for round_ in first["rounds"]] == ["dlib_resnet", "mobileface"]
    for round_ in first["rounds"]:
        assert round_["outcomes"] == {"CLOAKED": 14}
        assert round_["enrollment"]["masks_reused"] == 0
        assert 0.5 < round_["visibility"]["face"]["ssim_mean"] < 1
        (result,) = round_["results"]
        assert result["gallery_photos"] == 2 * 3 + OTHERS
        for pairing in Pairing:
            figures = result["pairings"][str(pairing)]
            assert figures["psr_at_5"]["value"] <= figures["psr_at_1"]["value"]
            for name, figure in figures.items():
                assert figure["low"] <= figure["value"] <= figure["high"], name
        assert result["similarity_to_own_gallery"]["cloaked"] < result["similarity_to_own_gallery"]["clean"]
    assert str(shared_dir) not in json.dumps(first)

    # Interrupted and started again: nobody is enrolled twice, and the figures are the same.
    again = measure(shared_dir, model_repository, tmp_path / "2.json", *who, "--work", work)
    assert [round_["enrollment"]["masks_reused"] for round_ in again["rounds"]] == [2, 2]
    assert without_times(again) == without_times(first)

    # What lies in the work folder is sealed: no mask, photo or name can be read in it.
    files = [path for path in work.rglob("*") if path.is_file()]
    assert len([path for path in files if "readings" not in path.parts]) == 4 + len(("key", "key-check"))
    assert len(files) > 100
    for path in files:
        content = path.read_bytes()
        assert b"pixels" not in content
        # A JPEG begins with its marker; three bytes alone also turn up in ciphertext by chance.
        assert not any(content[at : at + 3] == b"\xff\xd8\xff" for at in range(64))
        assert b"JFIF" not in content[:4096]
        assert path.stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_one_worker_gives_what_two_give(shared_dir: Path, model_repository: Path, tmp_path: Path) -> None:
    who = ["--surrogate", "mobileface", "--recognizer", "dlib_resnet", "--platform", "jpeg85", "--platform", "blur1"]
    one, two = (
        measure(shared_dir, model_repository, tmp_path / f"{jobs}.json", *who, "--jobs", str(jobs)) for jobs in (1, 2)
    )
    assert without_times(one) == without_times(two)
    assert list(one["mean"]) == ["jpeg85", "blur1"]


def test_masks_of_other_code_or_settings_are_not_used_again(
    model_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from enroll_service.pipeline import PipelineSettings
    from facecloak_evaluation.protectors import in_process

    def key_of(settings: PipelineSettings, seed: int = 1) -> str:
        protector = in_process.InProcessProtector(
            model_repository=model_repository, settings=settings, seed=seed, work=tmp_path / "work"
        )
        try:
            return protector._key([EnrollmentPhoto(b"photo")])
        finally:
            protector.close()

    settings = PipelineSettings()
    first = key_of(settings)
    assert key_of(settings) == first
    assert key_of(settings, seed=5) != first
    assert key_of(settings.model_copy(update={"surrogates": settings.surrogates[:2]})) != first
    monkeypatch.setattr(in_process, "_code_digest", lambda: "other code")
    assert key_of(settings) != first


def test_the_first_masks_of_a_bank_are_a_smaller_bank(model_repository: Path, tmp_path: Path) -> None:
    from enroll_service.pipeline import BankRecipe, PipelineSettings, Recipe
    from facecloak_evaluation.protectors import in_process

    def key_of(masks: int, repulsion: float = 1.0) -> str:
        settings = PipelineSettings(masks=masks, recipe=Recipe(bank=BankRecipe(repulsion=repulsion)))
        protector = in_process.InProcessProtector(model_repository=model_repository, settings=settings, seed=1)
        try:
            return protector._key([EnrollmentPhoto(b"photo")])
        finally:
            protector.close()

    assert key_of(1) == key_of(8) != key_of(8, repulsion=2.0)

    seconds = {"synthesize": 1.0, "perturb": 13.0, "personalize": 4.0}
    report = {"seconds": seconds, "bank": {"mask_seconds": [6.0, 3.0, 2.0, 2.0]}}
    masks = [Mask.new(np.full((112, 112, 3), level, np.int8), seed=0, report=report) for level in range(4)]
    bank = MaskBank.of(masks)
    assert isinstance(bank, MaskBank)
    secret = b"s" * 32
    assert in_process.first_masks(bank, 1, secret=secret) is masks[0]
    assert in_process.first_masks(bank, 2, secret=secret) == MaskBank(tuple(masks[:2]), secret)
    assert in_process.first_masks(bank, 4, secret=secret) == MaskBank(tuple(masks), secret)
    assert in_process.seconds_of_first(bank, 2) == {"synthesize": 1.0, "perturb": 9.0, "personalize": 2.0}
    assert in_process.seconds_of_first(bank, 4) == seconds
    assert in_process.first_masks(masks[0], 1, secret=secret) is masks[0]


def test_masks_without_their_paint_displace_the_same_photos_the_same_way() -> None:
    from facecloak_evaluation.protectors.in_process import displacing_only

    pixels, field = np.full((112, 112, 3), 9, np.int8), np.full((28, 28, 2), 20, np.int8)
    masks = [Mask.new(pixels, seed=0, displacement=np.roll(field, k, axis=0) + np.int8(k)) for k in range(4)]
    bare = displacing_only(masks[0])
    assert not bare.masks[0].paints
    assert np.array_equal(bare.masks[0].displacement, masks[0].displacement)
    bank = MaskBank.of(masks)
    assert isinstance(bank, MaskBank)
    bare_bank = displacing_only(bank)
    assert isinstance(bare_bank, MaskBank)
    for photo in range(20):
        digest = hashlib.sha256(bytes([photo])).digest()
        assert bare_bank.pick(digest).mask_id == bank.pick(digest).mask_id


def test_code_that_changed_meanwhile_ends_the_measurement(model_repository: Path, astronaut_photo: bytes) -> None:
    from enroll_service.pipeline import PipelineSettings
    from facecloak_evaluation.protectors import in_process

    protector = in_process.InProcessProtector(model_repository=model_repository, settings=PipelineSettings(), seed=1)
    protector._pool._initargs = (*protector._pool._initargs[:2], "the digest of what the code was")
    try:
        with pytest.raises(in_process.CodeChanged):
            protector.enroll("ann", [EnrollmentPhoto(astronaut_photo)])
    finally:
        protector.close()


@pytest.mark.slow
def test_the_published_algorithm_is_measured_beside_ours(
    shared_dir: Path, model_repository: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    more = ["--compare", "reference", "--extraction", "2", "--reapply", "--strength", "0.5", "--pictures", "2"]
    who = ["--surrogate", "mobileface", "--recognizer", "dlib_resnet"]
    document = measure(shared_dir, model_repository, tmp_path / "1.json", *who, *more, "--html", page)
    (theirs,) = document["comparison"]["rounds"]
    assert [identity["name"] for identity in theirs["surrogates"]] == ["mobileface"]
    assert theirs["visibility"]["face_mask_only"]["largest_change_levels"] <= 32
    assert document["comparison"]["headline"]["ssim_face"] < 1
    (ours,) = document["rounds"]
    assert ours["strengths"][0]["visibility"]["face"]["ssim_mean"] > ours["visibility"]["face"]["ssim_mean"]
    assert set(ours["extraction"]["attackers"]) == set(ATTACKERS)
    assert ours["reapplied"]["evaluators"].keys() == {"dlib_resnet"}
    assert ours["enrollment"]["peak_memory_mebibytes"] > 50
    assert page.read_text().count("data:image/jpeg") == 2 * 3
