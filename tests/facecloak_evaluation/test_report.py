"""What people read: report, README block, ledger."""

from __future__ import annotations

import base64
import copy
import io
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facecloak_evaluation.dataset import Person
from facecloak_evaluation.errors import EvaluationInputInvalid, LedgerUnreadable
from facecloak_evaluation.ledger import SCHEMA, git_state, machine, read_ledger, read_result, write_json
from facecloak_evaluation.measurement import assemble, describe_data
from facecloak_evaluation.report import as_html, as_markdown, masks_a_user, share_with_range
from tests.facecloak_evaluation.small_world import COLORS, PROTOCOL, STRANGERS, Painter, experiment_of
from tools.docs.protection_plot import curves
from tools.docs.results_pages import BEGIN, END, headline_block, results_block, with_results

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = '"><script>alert(1)</script>&'


@pytest.fixture
def document(people: tuple[Person, ...], others: tuple[Path, ...]) -> dict[str, Any]:
    experiment = experiment_of(people, others)
    painter = Painter({**COLORS, "ann": STRANGERS["x"]}, refuse=frozenset({"cem"}))
    rounds = [
        experiment.run_round(painter, evaluators=["judge"]),
        experiment.run_round(painter, evaluators=["judge_too"]),
    ]
    return assemble(
        experiment=experiment,
        rounds=rounds,
        protocol=PROTOCOL,
        data=describe_data(people, others, protocol=PROTOCOL, selection="1:3"),
        finder={"identity": "middle:1+mesh:2+mesh:2"},
        repeat="facecloak evaluate --people PEOPLE",
        seconds=1.0,
        jobs=1,
    )


class Page(HTMLParser):
    """Collects tags and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_document_says_how_to_repeat_it(document: dict[str, Any]) -> None:
    document = json.loads(json.dumps(document, allow_nan=False))
    assert document["schema"] == SCHEMA
    assert document["headline"]["psr"]["value"] == 0.5
    assert document["headline"]["gain"]["value"] == 0.5
    assert document["headline"]["people_refused"] == ["cem"]
    assert document["data"]["people"] == ["ann", "bob", "cem"]
    assert document["protocol"]["seed"] == 1
    assert {"date", "git", "machine", "versions", "repeat", "seconds"} <= document.keys()
    judged = [round_["evaluators"][0]["weights_sha256"] for round_ in document["rounds"]]
    assert judged == ["1" * 64, "2" * 64]


def test_no_path_or_host_of_the_machine_is_in_it(document: dict[str, Any], tmp_path: Path) -> None:
    import socket

    text = json.dumps(document)
    assert str(tmp_path) not in text
    assert str(Path.home()) not in text
    assert socket.gethostname() not in text


def test_the_page_is_whole_and_needs_nothing_else(document: dict[str, Any]) -> None:
    page = Page(as_html(document))
    assert {"table", "svg", "style"} <= set(page.tags)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not [value for name, value in page.attributes if name in ("src", "href")]
    assert "judge_too" in page.text
    assert "0.50 [" in page.text


def test_a_page_shows_pictures_only_where_examples_are_handed_over(
    people: tuple[Person, ...], others: tuple[Path, ...], document: dict[str, Any]
) -> None:
    assert "data:image" not in as_html(document)
    round_ = experiment_of(people, others).run_round(Painter({**COLORS, "ann": STRANGERS["x"]}), evaluators=["judge"])
    page = Page(as_html(document, examples=round_.examples[:2]))
    pictures = [value for name, value in page.attributes if name == "src"]
    assert len(pictures) == 2 * 3
    before, after, difference = (decoded(picture) for picture in pictures[:3])
    # Bob, who is left as he is: nothing changed but by the JPEG's rounding, and the difference is gray.
    assert before.shape == after.shape == difference.shape
    assert abs(int(np.median(difference)) - 128) <= 8
    assert "worst first" in page.text


def decoded(picture: str | None) -> np.ndarray:
    kind, _, data = str(picture).partition(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_the_curve_and_the_attack_are_told(document: dict[str, Any]) -> None:
    told = copy.deepcopy(document)
    told["trials"] = {
        "strengths": [
            {"strength": 0.5, "ssim_face": 0.96, "gain_at_1": 0.25},
            {"strength": 1.0, "ssim_face": 0.88, "gain_at_1": 0.75},
        ],
        "extraction": {"pairs": {"5": {"gain_at_1": 0.1, "removed_at_1": 0.8}}},
        "purified": {"bilateral": {"gain_at_1": 0.6, "removed_at_1": 0.25}},
        "reapplied": {"ssim_face": 0.8, "gain_at_1": 0.9},
    }
    told["comparison"] = {"headline": told["headline"] | {"ssim_face": 0.85}, "mean": told["mean"], "rounds": []}
    page = Page(as_html(told))
    assert page.tags.count("circle") == 2
    assert "80% removed" in page.text
    assert "0.60 (25% removed)" in page.text
    assert "Purified, above uncloaked photos that went the same way: bilateral 0.60 (25% removed)." in as_markdown(told)
    assert "published algorithm" in page.text
    assert "nan" not in as_html(told).lower().replace("nana", "")
    text = as_markdown(told)
    assert "Cloaked twice: the cloak adds 0.90, SSIM 0.800." in text
    assert "every level scaled add 0.25 at SSIM 0.960 (0.5 x)." in text
    assert "published algorithm, mean" in text


SEEN = {"jod_mean": 9.013, "jod_of_95_percent": 8.62, "ssimulacra2_mean": 75.4, "ssimulacra2_of_95_percent": 62.1,
        "flip_99_mean": 0.1234, "flip_99_of_95_percent": 0.2}  # fmt: skip


def test_what_people_see_is_told_where_it_was_measured(document: dict[str, Any]) -> None:
    told = copy.deepcopy(document)
    moved = {"rms_percent": 2.31, "largest_percent": 5.7, "asymmetry_percent": 0.0}
    told["headline"] |= {"face": {}, "painted": SEEN, "displacement": moved}
    for text in (as_markdown(told), Page(as_html(told)).text):
        assert (
            "What was painted, without what was displaced: JOD 9.01 (8.62 or more on 95 % of photos), SSIMULACRA2 75 "
            "(62 or more on 95 % of photos), FLIP 0.123 (0.200 or less on 95 % of photos)."
        ) in text
        assert "root mean square 2.3, largest 5.7, asymmetric part 0.0." in text
        assert "The face as delivered:" not in text
    old = copy.deepcopy(document)
    for name in ("face", "painted", "displacement", "by_surrogates"):
        del old["headline"][name]
    del old["visibility_measures"]
    assert "JOD" not in as_markdown(old)
    assert "<td>-</td>" not in as_markdown(old)
    as_html(old)


def test_the_table_of_visibility_has_what_people_see(document: dict[str, Any]) -> None:
    told = copy.deepcopy(document)
    told["rounds"][0]["visibility"]["face"] |= SEEN
    assert "9.01 (8.62)" in Page(as_html(told)).text


@pytest.mark.parametrize(
    ("jod", "axis"), [((9.5, 9.0, 8.0), "JOD of the face"), ((9.5, 9.0, None), "SSIM of the face")]
)
def test_the_curve_is_over_jod_where_all_have_it(
    document: dict[str, Any], jod: tuple[float | None, ...], axis: str
) -> None:
    def seen(value: float | None) -> dict[str, float]:
        return {} if value is None else {"jod_mean": value}

    told = copy.deepcopy(document)
    told["trials"] = {
        "strengths": [
            {"strength": 0.5, "ssim_face": 0.96, "face": seen(jod[0]), "gain_at_1": 0.25},
            {"strength": 1.0, "ssim_face": 0.88, "face": seen(jod[1]), "gain_at_1": 0.75},
        ]
    }
    other = told["headline"] | {"ssim_face": 0.85, "face": seen(jod[2])}
    told["comparison"] = {"headline": other, "mean": told["mean"], "rounds": []}
    page = Page(as_html(told))
    assert axis in page.text
    assert page.tags.count("circle") == 2
    assert "at SSIM 0.960 and JOD 9.50 (0.5 x)" in as_markdown(told)


@pytest.mark.parametrize(
    ("settings", "masks"), [(None, 1), ({"masks": 4}, 4), ({"bank": {"masks": 8}}, 8), ({"bank": {"iterations": 3}}, 1)]
)
def test_results_of_every_release_say_how_many_masks(settings: dict[str, Any] | None, masks: int) -> None:
    service = {} if settings is None else {"settings": settings}
    assert masks_a_user({"rounds": [{"service": service}]}) == masks


def test_surrogates_are_marked_as_such(document: dict[str, Any]) -> None:
    told = copy.deepcopy(document)
    result = told["rounds"][0]["results"][0] | {"evaluator": "teacher"}
    told["rounds"][0]["results_by_surrogates"] = [result]
    assert "| teacher (a surrogate) |" in as_markdown(told)
    assert "| judge |" in as_markdown(told)


def test_names_cannot_inject_markup(document: dict[str, Any]) -> None:
    hostile = json.loads(
        json.dumps(document).replace('"ann"', json.dumps(HOSTILE)).replace('"judge"', json.dumps(HOSTILE))
    )
    hostile["repeat"] = hostile["date"] = hostile["git"]["commit"] = HOSTILE
    hostile["rounds"][0]["visibility"][HOSTILE] = hostile["rounds"][0]["visibility"].pop("face")
    page = Page(as_html(hostile))
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) >= 5


def test_markdown_has_a_row_for_each_judge_and_the_mean(document: dict[str, Any]) -> None:
    text = as_markdown(document)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 3
    assert len({row.count("|") for row in rows}) == 1
    assert "refused the photo of 1" in text


def test_a_result_that_cloaked_nothing_can_still_be_reported(document: dict[str, Any]) -> None:
    empty = copy.deepcopy(document)
    empty["headline"] |= {"ssim_face": None, "ssim_crop112": None}
    for round_ in empty["rounds"]:
        round_["visibility"] = {"photos": 0}
    assert "No photo was cloaked" in as_html(empty)


def test_the_ledger_reads_what_was_written(document: dict[str, Any], tmp_path: Path) -> None:
    write_json(tmp_path / "one.json", document)
    write_json(tmp_path / "bench.json", {"schema": "facecloak-bench-x/1"})
    assert read_result(tmp_path / "one.json") == json.loads(json.dumps(document))
    assert [name for name, _ in read_ledger(tmp_path)] == ["one.json"]
    assert sorted(path.name for path in tmp_path.glob("*.json*")) == ["bench.json", "one.json"]


@pytest.mark.parametrize("content", ["", "[]", '{"schema": "other"}', "{"])
def test_other_files_are_no_results(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(LedgerUnreadable):
        read_result(tmp_path / "x.json")


def test_numbers_that_are_none_never_reach_the_ledger(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"value": float("nan")})


def test_the_machine_is_told_without_its_name() -> None:
    told = machine()
    assert told["cores"] >= 1
    assert set(told) == {"processor", "cores", "memory_gib", "system", "load_average"}
    assert git_state(Path("/")) == {}


def test_the_readme_block_is_replaced_and_nothing_else(document: dict[str, Any], tmp_path: Path) -> None:
    write_json(tmp_path / "first.json", document)
    block = results_block(tmp_path, folder="docs/results")
    text = f"# Title\n\n{BEGIN}\nold\n{END}\n\nrest\n"
    once = with_results(text, block)
    assert once.startswith(f"# Title\n\n{BEGIN}\n")
    assert once.endswith(f"{END}\n\nrest\n")
    assert "old" not in once
    assert "docs/results/first.json" in once
    assert "(middle, mesh)" in once
    assert with_results(once, block) == once


def test_the_readme_shows_masks_that_displace_in_a_row_each(document: dict[str, Any], tmp_path: Path) -> None:
    painted_only, moved = copy.deepcopy(document), copy.deepcopy(document)
    for told in (painted_only, moved):
        del told["rounds"][1:]
        told["rounds"][0]["service"]["settings"] = {"strength": "natural"}
        told["headline"].pop("painted", None)
    moved["headline"] |= {
        "painted": {
            "jod_mean": 9.04,
            "jod_of_95_percent": 8.7,
            "ssimulacra2_mean": 75.2,
            "ssimulacra2_of_95_percent": 70.0,
        },
        "displacement": {"rms_percent": 2.3, "largest_percent": 5.9, "asymmetry_percent": 0.0},
    }
    write_json(tmp_path / "painted-only.json", painted_only)
    write_json(tmp_path / "moved.json", moved)
    block = headline_block(tmp_path, folder="there")
    assert "painted-only.json" not in block
    rows = [line for line in block.splitlines() if line.startswith("| [natural](there/moved.json)")]
    assert len(rows) == 1
    judge = moved["rounds"][0]["evaluators"][0]["name"]
    share = share_with_range(moved["headline"]["psr"])
    assert f"| 9.0 / 75 | 2.3, at most 5.9 | {share} {judge} |" in rows[0]
    # What an attack left of the same masks is no row of its own.
    write_json(tmp_path / "attacked.json", moved | {"trials": {"purification": {}}})
    assert "attacked.json" not in headline_block(tmp_path, folder="there")
    assert "[painted-only.json](there/painted-only.json)" in results_block(tmp_path, folder="there")


def test_the_plot_shows_every_strength_of_the_same_people() -> None:
    told = curves(Path("docs/results"))
    assert set(told) == {
        f"{who}; {photos}"
        for who in ("FaceNet, never seen", "the surrogate that resists most")
        for photos in ("one photo", "4 photos")
    }
    for points in told.values():
        # What shows more protects more.
        assert [point[-1] for point in points] == ["strong", "natural", "unnoticed"]
        assert [point[1] for point in points] == sorted((point[1] for point in points), reverse=True)


def test_banks_share_a_table(document: dict[str, Any], tmp_path: Path) -> None:
    for masks in (8, 1):
        told = copy.deepcopy(document)
        told["rounds"][0]["service"]["settings"] = {"bank": {"masks": masks}}
        told["rounds"][0]["enrollment"]["seconds_median_by_stage"] = {"perturb": 10.0 * masks}
        told["trials"]["extraction"] = {"pairs": {"20": {"gain_at_1": masks / 10}}}
        write_json(tmp_path / f"bank-k{masks}.json", told)
    block = results_block(tmp_path, folder="docs/results")
    rows = [line for line in block.splitlines() if line.startswith("| [")]
    assert [row.partition("]")[0] for row in rows] == ["| [1", "| [8"]
    assert "| 0.10 | 1.0 x |" in rows[0]
    assert "| 0.80 | 8.0 x |" in rows[1]
    assert block.count("| masks |") == 1


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_a_readme_without_its_comments_is_refused(text: str) -> None:
    with pytest.raises(EvaluationInputInvalid):
        with_results(text, "block")


def test_benchmarks_are_told_too(tmp_path: Path) -> None:
    common = {"date": "2026-01-02T03:04:05+00:00", "machine": {"cores": 2, "processor": "P"}}
    timing = {"median_ms": 12.34}
    sizes = [{"width": 40, "height": 30, "timings": {"decode only": timing}}]
    write_json(tmp_path / "apply.json", {"schema": "facecloak-bench-apply/1", **common, "sizes": sizes})
    seconds = {"seconds_by_stage": {"perturb": 50.04}, "seconds_median": 51.2}
    write_json(tmp_path / "enrollment.json", {"schema": "facecloak-bench-enrollment/1", **common, **seconds})
    block = results_block(tmp_path, folder="docs/results")
    assert "| decode only | 12.3 |" in block
    assert "51 s (perturb 50.0 s)" in block


def test_the_readme_shows_the_committed_results() -> None:
    command = [sys.executable, "-m", "tools.docs.results_pages", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
