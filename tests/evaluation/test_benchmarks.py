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
def test_cloaking_is_measured(model_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.apply.SIZES", ((640, 480),))
    arguments = ["apply", "--repository", str(model_repository), "--out", str(tmp_path), "--runs", "2"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "apply.json").read_text())
    (size,) = document["sizes"]
    assert set(size["outcomes"].values()) == {"CLOAKED"}
    assert all(timing["median_ms"] > 0 for timing in size["timings"].values())
    assert {"date", "git", "machine", "versions"} <= document.keys()
