"""The README's block of measured figures, written from the committed results: `python -m facecloak.evaluation.readme`.

The block lies between two HTML comments; everything between them is replaced. Nothing in it is typed by hand, so a
figure in the README always has a result file with its conditions beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from facecloak.evaluation.errors import EvaluationInputInvalid
from facecloak.evaluation.ledger import read_ledger
from facecloak.evaluation.protocol import Pairing
from facecloak.evaluation.report import share_with_range, trial_sentences

BEGIN = "<!-- results:begin -->"
END = "<!-- results:end -->"
GENERATED = "<!-- written by python -m facecloak.evaluation.readme from docs/results; edits here are lost -->"
BENCH_PREFIX = "facecloak-bench-"
BANK_PREFIX = "bank-"
"""Results of this name differ in how many masks a user has: one table holds them all."""
STAGE_ONE_SCHEMA = "facecloak-stage-one/"


def results_block(directory: Path) -> str:
    """The markdown between the two comments, for all results of a folder."""
    results = read_ledger(directory)
    parts = [_evaluation(name, document) for name, document in results if not name.startswith(BANK_PREFIX)]
    if banks := [(name, document) for name, document in results if name.startswith(BANK_PREFIX)]:
        parts.append(_banks(banks))
    parts += [_stage_one(name, document) for name, document in _documents(directory, STAGE_ONE_SCHEMA)]
    parts += [_bench(name, document) for name, document in _documents(directory, BENCH_PREFIX)]
    return "\n\n".join([GENERATED, *(parts or ["No result has been committed yet."])])


def with_results(text: str, block: str) -> str:
    """A README's text with its block replaced.

    Raises:
        EvaluationInputInvalid: the two comments are not there, once each and in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise EvaluationInputInvalid(f"the README needs one {BEGIN} and, after it, one {END}")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def _evaluation(name: str, document: Mapping[str, Any]) -> str:
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
        f"[{name}](docs/results/{name}), {document['date'][:10]}: {len(data['people'])} people"
        + (f" ({refused} refused at enrollment)" if refused else "")
        + f", one enrolled photo and {probes} probes each, gallery of {data['gallery_photos']} photos; each probe "
        f"{next(iter(protocol['platforms'].values()))}{' (or as the row says)' if many else ''}, its face found "
        "afresh by other means than the services' "
        f"({', '.join(models)}).",
        f"SSIM of the face as delivered **{headline['ssim_face']:.3f}** at the photo's own size and "
        f"{headline['ssim_crop112']:.3f} on the 112 crop. PSR@1 is **{headline['gain']['value']:.2f}** "
        f"[{headline['gain']['low']:.2f}, {headline['gain']['high']:.2f}] above uncloaked photos.",
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


def _banks(results: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """One row a result: what more masks a user change."""
    head = ["masks", "judged by", "people", "SSIM", "clean gallery", "both sides cloaked", "left after extraction",
            "learning"]  # fmt: skip
    rows = []
    alone = {_judges(document): _perturb_seconds(document) for _, document in results if _masks_a_user(document) == 1}
    for name, document in sorted(results, key=lambda result: (_judges(result[1]), _masks_a_user(result[1]))):
        headline, attacks = document["headline"], document["trials"].get("extraction", {})
        rank = headline["rank"]
        left = " / ".join(f"{counts[_ATTACKED]['gain_at_' + str(rank)]:.2f}" for counts in attacks.values())
        rows.append([
            f"[{_masks_a_user(document)}](docs/results/{name})", _judges(document), str(headline["gain"]["people"]),
            f"{headline['ssim_face']:.3f}", share_with_range(headline["gain"]),
            share_with_range(headline["both_cloaked_gain"]), left,
            f"{_perturb_seconds(document) / alone[_judges(document)]:.1f} x" if _judges(document) in alone else "",
        ])  # fmt: skip
    first = results[0][1]
    attackers = " / ".join(first["trials"].get("extraction", {}))
    sentence = (
        f"Several masks a user, {first['date'][:10]}; all figures PSR@1 above uncloaked photos. Extraction: an "
        f"attacker subtracts what {_ATTACKED} cloaked photos have in common ({attackers}; see "
        "[docs/results](docs/results/README.md)). Learning: time of stage two, against that of one mask."
    )
    table = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return sentence + "\n\n" + "\n".join(f"| {line} |" for line in table)


_ATTACKED = "20"
"""Photos of the attack that the table tells."""


def _perturb_seconds(document: Mapping[str, Any]) -> float:
    return float(document["rounds"][0]["enrollment"]["seconds_median_by_stage"]["perturb"])


def _judges(document: Mapping[str, Any]) -> str:
    return ", ".join(identity["name"] for round_ in document["rounds"] for identity in round_["evaluators"])


def _masks_a_user(document: Mapping[str, Any]) -> int:
    return int(document["rounds"][0]["service"]["settings"]["bank"]["masks"])


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


def _stage_one(name: str, document: Mapping[str, Any]) -> str:
    judges = list(document["conditions"]["no mask"]["judges"])
    title = (
        f"[{name}](docs/results/{name}), {document['date'][:10]}: what the way of making variations and the mask's"
        f" frame add, at one SSIM ({document['equal_ssim_crop112']:.2f} of the aligned crop): {len(document['people'])}"
        f" people, {document['probes']} probes, learned on {' and '.join(document['surrogates'])} in"
        f" {document['settings']['perturb']['iterations']} steps, judged by recognizers never seen."
    )
    lines = [" | ".join(["variations, mask's frame", *(f"PSR@1 {judge}" for judge in judges), "stage one, s"])]
    lines.append(" | ".join(["---"] * (len(judges) + 2)))
    for condition, result in document["conditions"].items():
        shares = [share_with_range(result["judges"][judge]["psr_at_1"]) for judge in judges]
        seconds = result.get("seconds_median", {}).get("synthesize")
        lines.append(" | ".join([condition, *shares, "" if seconds is None else f"{seconds:.1f}"]))
    return f"{title}\n\n" + "\n".join(f"| {line} |" for line in lines)


def _bench(name: str, document: Mapping[str, Any]) -> str:
    machine = f"{document['machine']['cores']} cores of {document['machine']['processor']}"
    title = f"[{name}](docs/results/{name}), {document['date'][:10]}, {machine}:"
    if "seconds_by_stage" in document:
        stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in document["seconds_by_stage"].items())
        seconds = f"{document['seconds_median']:.0f} s ({stages})"
        return f"{title} enrolling one photo with the default settings takes {seconds}."
    if "gradients" in document:
        return f"{title}\n\n{_gradients(document)}"
    if "enrollments" in document:
        return f"{title}\n\n{_triton(document)}"
    if "calls" in document:
        return f"{title}\n\n{_serving(document)}"
    if "photos" in document and "worst_ratio" in document:
        return f"{title} {document['what']}.\n\n{_splice(document)}"
    sizes = document["sizes"]
    candidates = list(sizes[0]["timings"])
    lines = [
        " | ".join([f"median ms a photo{_clock(document)}", *map(_size, sizes)]),
        " | ".join(["---"] * (len(sizes) + 1)),
        *(" | ".join([what, *(f"{size['timings'][what]['median_ms']:.1f}" for size in sizes)]) for what in candidates),
    ]
    return f"{title}\n\n" + "\n".join(f"| {line} |" for line in lines)


def _splice(document: Mapping[str, Any]) -> str:
    rows = [["photo", "px", "quality", "splice, ms", "decode, add, encode, ms", "ratio"], ["---"] * 6]
    for photo in document["photos"]:
        timings = photo["timings"]
        rows.append(
            [
                photo["photo"],
                _size(photo),
                str(photo["quality"] or "its own"),
                *(f"{timings[way]['median_ms']:.1f}" for way in ("splice", "full")),
                f"{photo['ratio']:.2f}",
            ]
        )
    return _table(rows)


def _serving(document: Mapping[str, Any]) -> str:
    rows = [
        ["ApplyCloak, gRPC included: processor ms a photo at the server", *(_size(size) for size in document["calls"])],
        ["---"] * (1 + len(document["calls"])),
    ]
    for hint in document["calls"][0]["served"]:
        rows.append([f"hint: {hint}", *(f"{size['served'][hint]['cpu_ms']:.1f}" for size in document["calls"])])
    full = {"landmarks": "decode, add, encode without gRPC", "box": "the same, finding the landmarks in the box first"}
    for name, label in full.items():
        rows.append([label, *(f"{size['full_way_ms'][name]:.1f}" for size in document["calls"])])
    cache, memory, processes = document["cache"], document["memory"], document["processes"]
    lookups = ", ".join(
        f"{name.replace('_', ' ')} {timing['p50_us']:.0f} / {timing['p99_us']:.0f}" for name, timing in cache.items()
    )
    sentences = (
        f"A mask's lookup in microseconds, median / 99th percentile: {lookups}. Two processes answer "
        f"{processes['gain']} times the photos of one (the machine was shared: see `cores_got`). Resident memory over "
        f"{memory['calls']} calls: {memory['resident_mebibytes'][2]} MiB after a tenth, "
        f"{memory['resident_mebibytes'][-1]} at the end."
    )
    return f"{_table(rows)}\n\n{sentences}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _gradients(document: Mapping[str, Any]) -> str:
    rows = document["gradients"]
    batches = sorted({row["batch"] for row in rows})
    ratios = {(row["recognizer"], row["batch"]): row["ratio"] for row in rows}
    names = list(dict.fromkeys(row["recognizer"] for row in rows))
    lines = [
        " | ".join([f"compiled gradient over torch eager, {document['clock']}", *(f"N = {n}" for n in batches)]),
        " | ".join(["---"] * (len(batches) + 1)),
        *(" | ".join([name, *(f"{ratios[name, n]:.2f}" for n in batches)]) for name in names),
    ]
    return "\n".join(f"| {line} |" for line in lines)


def _triton(document: Mapping[str, Any]) -> str:
    lines = ["a gradient call of 8 crops, over in process | by shared memory | by gRPC", "--- | --- | ---"]
    lines += [
        f"{row['recognizer']} | {row['ratio_shared_memory']:.2f} | {row['ratio_grpc']:.2f}" for row in document["calls"]
    ]
    runs = ", ".join(
        f"{run['at_once']}: {run['over_one_after_the_other']:.2f}" for run in document["enrollments"]["runs"]
    )
    table = "\n".join(f"| {line} |" for line in lines)
    sentences = (
        f"Enrollments at once on one Triton, total time over that of one after the other: {runs}. The machine was "
        f"shared (load average {document['load_average_before']}), so that single ratios are off by a tenth or two."
    )
    return f"{table}\n\n{sentences}"


def _clock(document: Mapping[str, Any]) -> str:
    return f" ({document['clock']})" if "clock" in document else ""


def _size(size: Mapping[str, Any]) -> str:
    if "square_side_px" in size:
        return f"face of {size['square_side_px']} px"
    return f"{size['width']}x{size['height']}"


@click.command()
@click.option("--readme", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=Path("README.md"))
@click.option("--results", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path("docs/results"))
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 if the README is not up to date.")
def main(*, readme: Path, results: Path, check: bool) -> None:
    """Write the measured figures into the README."""
    text = readme.read_text(encoding="utf-8")
    try:
        wanted = with_results(text, results_block(results))
    except EvaluationInputInvalid as error:
        raise click.ClickException(error.public_message) from error
    if check and wanted != text:
        raise click.ClickException("the README's figures are not those of docs/results: run this without --check")
    if not check:
        readme.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
