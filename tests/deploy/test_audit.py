"""What is known of locked packages, by advisories in a file of OSV's schema."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from deploy.tools.audit import Hit, hits, is_affected, main
from deploy.tools.sbom import packages_of


def advisory(name: str, *events: dict[str, str], number: str = "PYSEC-1", **more: Any) -> dict[str, Any]:
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}]
    affected = {"package": {"ecosystem": "PyPI", "name": name}, "ranges": ranges}
    return {"id": number, "modified": "2026-11-01T00:00:00Z", "summary": "bad", "affected": [affected], **more}


@pytest.mark.parametrize(
    ("version", "events", "wanted"),
    [
        ("1.5", [{"introduced": "0"}, {"fixed": "2.0"}], True),
        ("2.0", [{"introduced": "0"}, {"fixed": "2.0"}], False),
        ("2.0rc1", [{"introduced": "0"}, {"fixed": "2.0"}], True),
        ("0.9", [{"introduced": "1.0"}], False),
        ("1.0", [{"introduced": "1.0"}], True),
        # As versions, not as text.
        ("1.10", [{"introduced": "0"}, {"fixed": "1.9"}], False),
        ("1.4", [{"introduced": "0"}, {"last_affected": "1.4"}], True),
        ("1.4.1", [{"introduced": "0"}, {"last_affected": "1.4"}], False),
        # Fixed, and broken again.
        ("2.5", [{"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "2.0"}, {"fixed": "3.0"}], True),
        ("1.5", [{"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "2.0"}, {"fixed": "3.0"}], False),
    ],
)
def test_ranges(version: str, events: list[dict[str, str]], wanted: bool) -> None:
    assert is_affected(version, advisory("x", *events)["affected"][0]) is wanted


def test_versions_named_one_by_one_and_other_ranges() -> None:
    assert is_affected("1.2", {"versions": ["1.1", "1.2"]})
    git = {"ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]}
    assert not is_affected("1.2", git)


def test_names_are_compared_as_the_index_does() -> None:
    found = hits({"pillow": "1.0", "other": "1.0"}, [advisory("Pillow", {"introduced": "0"}, {"fixed": "1.1"})])
    assert found == [Hit("pillow", "1.0", "PYSEC-1", "bad", ("1.1",))]
    assert hits({"pillow": "1.0"}, [advisory("Pillow", {"introduced": "0"}, withdrawn="2026-01-01T00:00:00Z")]) == []
    npm = advisory("pillow", {"introduced": "0"})
    npm["affected"][0]["package"]["ecosystem"] = "npm"
    assert hits({"pillow": "1.0"}, [npm]) == []


def zipped(tmp_path: Path, *advisories: dict[str, Any]) -> Path:
    place = tmp_path / "all.zip"
    with zipfile.ZipFile(place, "w") as archive:
        for number, one in enumerate(advisories):
            archive.writestr(f"{number}.json", json.dumps(one))
    return place


def test_the_command_tells_by_its_exit_code(tmp_path: Path) -> None:
    pillow = packages_of("apply")["pillow"]
    clear = zipped(tmp_path, advisory("pillow", {"introduced": "0"}, {"fixed": pillow}))
    done = CliRunner().invoke(main, ["--advisories", str(clear)])
    assert (done.exit_code, "1 advisories, the newest of 2026-11-01" in done.output) == (0, True)
    known = zipped(tmp_path, advisory("pillow", {"introduced": "0"}, number="GHSA-x"))
    done = CliRunner().invoke(main, ["--advisories", str(known)])
    assert done.exit_code == 1
    assert f"apply: pillow {pillow}: GHSA-x: bad (no release fixes it)" in done.output
    assert "enroll-gpu: pillow" in done.output
    assert CliRunner().invoke(main, ["--advisories", str(known), "--ignore", "GHSA-x"]).exit_code == 0


@pytest.mark.parametrize("content", ["", "[]", "{", '{"id": "x"}'])
def test_nothing_checked_is_not_nothing_found(content: str, tmp_path: Path) -> None:
    place = tmp_path / "advisories.json"
    place.write_text(content)
    for arguments in ([], ["--advisories", str(place)], ["--advisories", str(tmp_path / "absent.zip")]):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 2
        assert "nothing was checked" in done.output
