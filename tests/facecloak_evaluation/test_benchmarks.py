"""Benchmarks compare in turns and write what they measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.pictures import jpeg, photo
from benchmarks.timing import take_turns
from facecloak.photos import decode_photo
from tools.docs.results_pages import results_block


def test_candidates_take_turns() -> None:
    calls: list[str] = []
    timings = take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, runs=3, warm_up=1)
    assert "".join(calls) == "abababab"
    assert timings["a"].runs == 3
    assert timings["a"].lower_quartile_ms <= timings["a"].median_ms <= timings["a"].upper_quartile_ms


@pytest.mark.parametrize("size", [(640, 480), (480, 360)])
def test_pictures_have_the_size_asked_for(size: tuple[int, int]) -> None:
    width, height = size
    assert decode_photo(jpeg(photo(width=width, height=height))).srgb_u8.shape == (height, width, 3)


@pytest.mark.slow
def test_laying_masks_is_measured(model_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.placement.SQUARE_SIDES_PX", (150,))
    arguments = ["placement", "--repository", str(model_repository), "--out", str(tmp_path), "--runs", "2"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    (size,) = json.loads((tmp_path / "placement.json").read_text())["sizes"]
    assert size["square_side_px"] == pytest.approx(150, abs=3)
    assert size["timings"].keys() == {"lay by similarity", "lay in the face's frame", "mesh network"}


@pytest.mark.slow
def test_cloaking_is_measured(model_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.apply.SIZES", ((640, 480),))
    arguments = ["apply", "--repository", str(model_repository), "--out", str(tmp_path), "--runs", "2"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "apply.json").read_text())
    (size,) = document["sizes"]
    assert set(size["outcomes"].values()) == {"CLOAKED"}
    assert all(timing["median_ms"] > 0 for timing in size["timings"].values())
    assert size["ratio_box"] > 0
    assert {"date", "git", "machine", "versions"} <= document.keys()


@pytest.mark.slow
def test_splicing_is_measured_and_shown(
    model_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The smallest of the sizes that are measured: what fitting a mask costs is most of a smaller photo, both ways.
    monkeypatch.setattr("benchmarks.splice.SIZES", ((1280, 960),))
    monkeypatch.setattr("benchmarks.splice.camera_photos", lambda: [])
    arguments = ["splice", "--repository", str(model_repository), "--out", str(tmp_path), "--runs", "2"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "splice.json").read_text())
    assert [photo["quality"] for photo in document["photos"]] == [85, 90, 92]
    assert all(0 < photo["ratio"] < 1 for photo in document["photos"])
    assert results_block(tmp_path, folder="docs/results").count("| astronaut | 1280x960 |") == 3


@pytest.mark.slow
def test_a_masks_lookup_is_measured(tmp_path: Path) -> None:
    from benchmarks.serving import _cache

    timings = _cache(tmp_path / "cache", lookups=20)
    assert timings["hit"]["p50_us"] < timings["miss_local"]["p50_us"] < timings["miss_s3"]["p50_us"]


def test_gradients_are_measured_against_torch(
    model_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.gradients.BATCHES", (1,))
    result = CliRunner().invoke(
        main, ["gradients", "--repository", str(model_repository), "--out", str(tmp_path), "--runs", "2"]
    )
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "gradients.json").read_text())["gradients"]
    assert {row["recognizer"] for row in rows} >= {"dlib_resnet", "faceres", "fr_feature", "mobileface"}
    # Both calculated the same thing; in float32 the kinks of ReLU fall to different sides.
    assert all(row["relative_difference"] < 2e-2 for row in rows)
