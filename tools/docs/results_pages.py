"""The measured figures of README and docs/measurements.md, written from the committed results:
`python -m tools.docs.results_pages`.

The README shows masks that displace, in a few rows; the page shows everything. The figures lie between two HTML
comments; what is between them is replaced. Nothing in it is typed by hand, so a figure always has a result file with
its conditions beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from facecloak_evaluation.errors import EvaluationInputInvalid
from facecloak_evaluation.ledger import read_ledger
from facecloak_evaluation.protocol import Pairing
from facecloak_evaluation.report import masks_a_user, people_see_sentences, share_with_range, trial_sentences
from tools.docs.bench_tables import bench_table

BEGIN = "<!-- results:begin -->"
END = "<!-- results:end -->"
GENERATED = "<!-- written by python -m tools.docs.results_pages from docs/results; edits here are lost -->"
BENCH_PREFIX = "facecloak-bench-"
BANK_PREFIX = "bank-"
"""Results of this name differ in how many masks a user has: one table holds them all."""
STAGE_ONE_SCHEMA = "facecloak-stage-one/"


def headline_block(directory: Path, *, folder: str) -> str:
    """The README's figures: a row for each measurement of masks that displace.

    Args:
        folder: the directory as links name it.
    """
    told = displacing_results(directory)
    if not told:
        return _block([])
    head = [
        "masks",
        "what was painted: JOD / SSIMULACRA2",
        "displacement, % of the eyes' distance",
        "PSR@1 of recognizers never seen",
        "of the one that resists most",
    ]
    rows = [_looks_row(name, document, folder=folder) for name, document in told]
    table = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return _block(["\n".join(f"| {line} |" for line in table)])


def displacing_results(directory: Path) -> list[tuple[str, dict[str, Any]]]:
    """The measurements of masks that displace, by name, the least displacement first; not those of attacks."""
    told = [
        (name, document)
        for name, document in read_ledger(directory)
        if document["headline"].get("painted") and not document.get("trials")
    ]
    return sorted(told, key=lambda one: (_strength(one[1]), photos_enrolled(one[1]), one[0]))


def _strength(document: Mapping[str, Any]) -> float:
    return round(float(document["headline"]["displacement"]["rms_percent"]))


def _looks_row(name: str, document: Mapping[str, Any], *, folder: str) -> list[str]:
    """How it looks and how well it protects: from who never saw the masks, and from who resists most, surrogate or
    not."""
    headline = document["headline"]
    people = document["data"]["people"]
    painted, moved, rank = headline["painted"], headline["displacement"], headline["rank"]
    seen = f"{painted['jod_mean']:.1f} / {painted['ssimulacra2_mean']:.0f}"
    displaced = f"{moved['rms_percent']:.1f}, at most {moved['largest_percent']:.1f}"
    strength = document["rounds"][0]["service"]["settings"]["strength"]
    count = len(people) - len(headline["people_refused"])
    masks = f"[{strength}]({folder}/{name}) from {_photos(document)}, {count} people"
    unseen = {
        result["evaluator"]: result["pairings"][str(Pairing.CLOAKED_PROBE)][f"psr_at_{rank}"]
        for round_ in document["rounds"]
        for result in round_["results"][: len(round_["evaluators"])]
        if result["platform"] == headline["platform"]
    }
    who = f"each of {len(unseen)} left out in turn" if len(unseen) > 1 else next(iter(unseen))
    shares = dict(unseen)
    if surrogate := headline.get("by_surrogates"):
        shares[f"{surrogate['lowest']}, a surrogate"] = surrogate["psr_at_1"]
    lowest = min(shares, key=lambda one: shares[one]["value"])
    return [masks, seen, displaced, f"{share_with_range(headline['psr'])} {who}",
            f"{share_with_range(shares[lowest])} {lowest}"]  # fmt: skip


def _photos(document: Mapping[str, Any]) -> str:
    count = photos_enrolled(document)
    return "one photo" if count == 1 else f"{count} photos"


def photos_enrolled(document: Mapping[str, Any]) -> int:
    """How many photos of each person were enrolled."""
    return 1 + len(document["protocol"].get("enroll_photos", ()))


def results_block(directory: Path, *, folder: str) -> str:
    """The page's figures: all results of a folder; ``folder`` as in :func:`headline_block`."""
    results = read_ledger(directory)
    parts = [
        _evaluation(name, document, folder=folder) for name, document in results if not name.startswith(BANK_PREFIX)
    ]
    if banks := [(name, document) for name, document in results if name.startswith(BANK_PREFIX)]:
        parts.append(_banks(banks, folder=folder))
    parts += [_stage_one(name, document, folder=folder) for name, document in _documents(directory, STAGE_ONE_SCHEMA)]
    parts += [bench_table(name, document, folder=folder) for name, document in _documents(directory, BENCH_PREFIX)]
    return _block(parts)


def _block(parts: Sequence[str]) -> str:
    return "\n\n".join([GENERATED, *(parts or ["No result has been committed yet."])])


def with_results(text: str, block: str) -> str:
    """A page's text with its block replaced.

    Raises:
        EvaluationInputInvalid: the two comments are not there, once each and in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise EvaluationInputInvalid(f"the page needs one {BEGIN} and, after it, one {END}")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def _evaluation(name: str, document: Mapping[str, Any], *, folder: str) -> str:
    headline, data, protocol = document["headline"], document["data"], document["protocol"]
    ranks: Sequence[int] = protocol["ranks"]
    head = ["judged by", "masks learned against", "uncloaked photos missed"]
    head += [f"PSR@{rank}" for rank in ranks] + ["both sides cloaked"]
    rows = []
    many = len(protocol["platforms"]) > 1
    for round_ in document["rounds"]:
        learned = ", ".join(identity["name"] for identity in round_["surrogates"])
        # With many platforms, each judge's own rows would fill a page: they are in the file.
        for result in round_["results"][: len(round_["evaluators"])]:
            rows.append(_row([_label(result["evaluator"], result["platform"], many=many), learned], result, ranks))
    for platform, mean in document["mean"].items():
        rows.append(_row([_label("**mean**", platform, many=many), ""], mean, ranks))
    first, others_mean = headline["platform"], document.get("comparison", {"mean": {}})["mean"]
    if first in others_mean:
        who = _label("published algorithm", first, many=many)
        rows.append(_row([who, "one recognizer"], others_mean[first], ranks))
    probes = len(protocol["probe_photos"])
    refused = len(headline["people_refused"])
    models = list(
        dict.fromkeys(part.partition(":")[0] for part in document["evaluation_finder"]["identity"].split("+"))
    )
    sentences = [
        f"[{name}]({folder}/{name}), {document['date'][:10]}: {len(data['people'])} people"
        + (f" ({refused} refused at enrollment)" if refused else "")
        + f", {_photos(document)} enrolled and {probes} probes each, gallery of {data['gallery_photos']} photos; "
        f"each probe {next(iter(protocol['platforms'].values()))}{' (or as the row says)' if many else ''}, its face "
        "found afresh by other means than the services' "
        f"({', '.join(models)}).",
        f"SSIM of the face as delivered **{headline['ssim_face']:.3f}** at the photo's own size and "
        f"{headline['ssim_crop112']:.3f} on the 112 crop. PSR@1 is **{headline['gain']['value']:.2f}** "
        f"[{headline['gain']['low']:.2f}, {headline['gain']['high']:.2f}] above uncloaked photos.",
        *people_see_sentences(headline),
        "In brackets: 95 % bootstrap interval over people. One enrollment took "
        f"{headline['enrollment_seconds_median']} s on one core ({_busy_machine(document['machine'])}).",
    ]
    sentences += [sentence for sentence in trial_sentences(document) if sentence]
    table = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return "\n".join(sentences) + "\n\n" + "\n".join(f"| {line} |" for line in table)


def _busy_machine(machine: Mapping[str, Any]) -> str:
    """The processor, and how many processes shared its cores where these were more than there are cores."""
    load, cores = machine.get("load_average") or 0, machine["cores"]
    return (
        f"{machine['processor']}, {cores} cores shared by {load:.0f} processes"
        if load > 2 * cores
        else str(machine["processor"])
    )


def _banks(results: Sequence[tuple[str, dict[str, Any]]], *, folder: str) -> str:
    """One row a result: what more masks a user change."""
    head = ["masks", "judged by", "people", "SSIM", "clean gallery", "both sides cloaked", "left after extraction",
            "learning"]  # fmt: skip
    rows = []
    alone = {_judges(document): _perturb_seconds(document) for _, document in results if masks_a_user(document) == 1}
    for name, document in sorted(results, key=lambda result: (_judges(result[1]), masks_a_user(result[1]))):
        headline, attacks = document["headline"], document["trials"].get("extraction", {})
        rank = headline["rank"]
        left = " / ".join(f"{counts[_ATTACKED]['gain_at_' + str(rank)]:.2f}" for counts in attacks.values())
        rows.append([
            f"[{masks_a_user(document)}]({folder}/{name})", _judges(document), str(headline["gain"]["people"]),
            f"{headline['ssim_face']:.3f}", share_with_range(headline["gain"]),
            share_with_range(headline["both_cloaked_gain"]), left,
            f"{_perturb_seconds(document) / alone[_judges(document)]:.1f} x" if _judges(document) in alone else "",
        ])  # fmt: skip
    first = results[0][1]
    attackers = " / ".join(first["trials"].get("extraction", {}))
    sentence = (
        f"Several masks a user, {first['date'][:10]}; all figures PSR@1 above uncloaked photos. Extraction: an "
        f"attacker subtracts what {_ATTACKED} cloaked photos have in common ({attackers}; see "
        f"[results]({folder}/README.md)). Learning: time of stage two, against that of one mask."
    )
    table = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return sentence + "\n\n" + "\n".join(f"| {line} |" for line in table)


_ATTACKED = "20"
"""Photos of the attack that the table tells."""


def _perturb_seconds(document: Mapping[str, Any]) -> float:
    return float(document["rounds"][0]["enrollment"]["seconds_median_by_stage"]["perturb"])


def _judges(document: Mapping[str, Any]) -> str:
    return ", ".join(identity["name"] for round_ in document["rounds"] for identity in round_["evaluators"])


def _label(who: str, platform: str, *, many: bool) -> str:
    return f"{who}, {platform}" if many else who


def _row(labels: Sequence[str], result: Mapping[str, Any], ranks: Sequence[int]) -> list[str]:
    pairings = result["pairings"]
    return [
        *labels,
        share_with_range(result["control"][f"psr_at_{ranks[0]}"]),
        *(share_with_range(pairings[str(Pairing.CLOAKED_PROBE)][f"psr_at_{rank}"]) for rank in ranks),
        share_with_range(pairings[str(Pairing.BOTH_CLOAKED)][f"psr_at_{ranks[0]}"]),
    ]


def _documents(directory: Path, schema: str) -> list[tuple[str, dict[str, Any]]]:
    """Results whose schema begins so."""
    documents = [(path.name, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(directory.glob("*.json"))]
    return [(name, item) for name, item in documents if str(item.get("schema", "")).startswith(schema)]


def _iterations(document: Mapping[str, Any]) -> int:
    """Steps of stage two; results of before November 2026 have no recipe."""
    settings = document["settings"]
    return int(settings.get("recipe", settings)["perturb"]["iterations"])


def _stage_one(name: str, document: Mapping[str, Any], *, folder: str) -> str:
    conditions = document["conditions"]
    judges = list(conditions["no mask"]["judges"])
    many = len(document.get("rounds", ())) > 1
    learned = (
        "learned on all recognizers but the one that judges"
        if many
        else f"learned on {' and '.join(_surrogates(document))}"
    )
    title = (
        f"[{name}]({folder}/{name}), {document['date'][:10]}: what the way of making variations and the mask's"
        f" frame add, at one SSIM ({document['equal_ssim_crop112']:.2f} of the aligned crop): {len(document['people'])}"
        f" people, {document['probes']} probes, {learned} in"
        f" {_iterations(document)} steps, judged by recognizers never seen."
    )
    ceilings = list(dict.fromkeys(end for result in conditions.values() for end in _ways(result)))
    heads = ["variations, mask's frame", *(f"PSR@1 {judge}" for judge in judges)]
    has_mean = "mean" in conditions["no mask"]
    heads += [*(["mean"] if has_mean else []), *(f"of the way to {end.split(',')[0]}" for end in ceilings)]
    lines = [[*heads, "stage one, s"], ["---"] * (len(heads) + 1)]
    for condition, result in conditions.items():
        cells = [share_with_range(result["judges"][judge]["psr_at_1"]) for judge in judges]
        if "mean" in result:
            cells.append(share_with_range(result["mean"]["psr_at_1"]))
        ways = _ways(result)
        cells += [share_with_range(ways[end]) if end in ways else "" for end in ceilings]
        seconds = result.get("seconds_median", {}).get("synthesize")
        lines.append([condition, *cells, "" if seconds is None else f"{seconds:.1f}"])
    parts = [title, "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    if has_mean:
        parts.append(_by_yaw(conditions))
    return "\n\n".join(parts)


def _by_yaw(conditions: Mapping[str, Any]) -> str:
    buckets = conditions["no mask"]["mean"]["psr_at_1_by_yaw_degrees"]
    heads = [f"{bucket} degrees ({share['probes']} probes)" for bucket, share in buckets.items()]
    lines = [["PSR@1 by yaw, mean over judges", *heads], ["---"] * (len(heads) + 1)]
    for condition, result in conditions.items():
        shares = [share["psr_at_1"] for share in result["mean"]["psr_at_1_by_yaw_degrees"].values()]
        lines.append([condition, *("" if share is None else f"{share:.2f}" for share in shares)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _surrogates(document: Mapping[str, Any]) -> list[str]:
    rounds = document.get("rounds")
    return list(rounds[0]["surrogates"] if rounds else document["surrogates"])


def _ways(result: Mapping[str, Any]) -> dict[str, Any]:
    """By ceiling, how much of the way to it a condition goes."""
    ways = result.get("mean", {}).get("share_of_way_to", {})
    return {end: way for end, way in ways.items() if None not in way.values()}


@click.command()
@click.option("--readme", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=Path("README.md"))
@click.option(
    "--page", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=Path("docs/measurements.md")
)
@click.option("--results", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path("docs/results"))
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 if a file is not up to date.")
def main(*, readme: Path, page: Path, results: Path, check: bool) -> None:
    """Write the measured figures into the README and the page of measurements."""
    blocks = {
        readme: headline_block(results, folder="docs/results"),
        page: results_block(results, folder="results"),
    }
    for path, block in blocks.items():
        text = path.read_text(encoding="utf-8")
        try:
            wanted = with_results(text, block)
        except EvaluationInputInvalid as error:
            raise click.ClickException(error.public_message) from error
        if check and wanted != text:
            raise click.ClickException(f"the figures of {path} are not those of docs/results: run this without --check")
        if not check:
            path.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
