"""What each way of making variations, and each frame of the mask, adds to protection at equal visibility.

    python -m benchmarks.stage_one --people PEOPLE --others OTHERS --people-slice 21:60 --in-turn \
        --surrogate dlib_resnet --surrogate fr_feature --judge sface --judge faceres --json RESULT.json

Follows docs/results/README.md's protocol: enrolled by the service's own code, cloaked as JPEGs by the Cloaker, encoded
again, found afresh by the evaluation's finder, judged by recognizers that no mask saw. On top of it, a person's masks
are scaled until the person's probes have one and the same mean SSIM, so that what is compared is not visibility; and
probes are told apart by how far the head is turned.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.stage_one.conditions import CONDITIONS
from benchmarks.stage_one.measuring import Bench, BenchRound, Gallery, Plan
from benchmarks.stage_one.side_by_side import measure_all
from benchmarks.stage_one.summary import summarize, table
from enroll_service.pipeline import MaskKind, PipelineSettings
from facecloak_evaluation.dataset import Person, digest_of_photos, read_others, read_people
from facecloak_evaluation.ledger import provenance, write_json
from facecloak_evaluation.platforms import PLATFORMS

SCHEMA = "facecloak-stage-one/2"


def _rounds(surrogates: Sequence[str], judges: Sequence[str], *, in_turn: bool) -> tuple[BenchRound, ...]:
    if in_turn:
        names = tuple(dict.fromkeys((*surrogates, *judges)))
        return tuple(BenchRound(tuple(name for name in names if name != judge), (judge,)) for judge in judges)
    if set(surrogates) & set(judges):
        raise click.UsageError("a judge must not be a surrogate")
    return (BenchRound(tuple(surrogates), tuple(judges)),)


def _known(path: Path, header: dict[str, Any]) -> dict[str, Any]:
    """People that an interrupted run has measured the same way."""
    if not path.exists():
        return {}
    document = json.loads(path.read_text(encoding="utf-8"))
    if any(document.get(key) != value for key, value in header.items()):
        raise click.UsageError(f"{path} was measured otherwise; name another file")
    records: dict[str, Any] = document["records"]
    return records


@click.command()
@click.option("--people", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--others", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--people-slice", default="21:60", show_default=True)
@click.option("--iterations", type=click.IntRange(min=1), help="In place of the default settings'.")
@click.option("--ssim", default=0.86, show_default=True)
@click.option("--surrogate", "surrogates", multiple=True, default=("dlib_resnet", "mobileface"), show_default=True)
@click.option("--judge", "judges", multiple=True, default=("fr_feature", "faceres"), show_default=True)
@click.option("--in-turn", is_flag=True, help="Each judge judges masks learned against all other recognizers named.")
@click.option("--repository", default=Path("model_repository"), type=click.Path(exists=True, path_type=Path))
@click.option("--condition", "wanted", multiple=True, help="Only these conditions, by name.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="People measured at once.")
@click.option("--json", "json_path", required=True, type=click.Path(dir_okay=False, path_type=Path))
def main(
    *, people: Path, others: Path, people_slice: str, iterations: int | None, ssim: float, surrogates: tuple[str, ...],
    judges: tuple[str, ...], in_turn: bool, repository: Path, wanted: tuple[str, ...],
    jobs: int, json_path: Path,
) -> None:  # fmt: skip
    """Measure all conditions. The file is written anew after each person, and a run with the same file goes on."""
    # Masks that only paint: these can be brought to one structural similarity by a factor.
    settings = PipelineSettings(kind=MaskKind.PAINT)
    if iterations is not None:
        perturb = settings.recipe.perturb.model_copy(update={"iterations": iterations})
        settings = settings.model_copy(update={"recipe": settings.recipe.model_copy(update={"perturb": perturb})})
    if unknown := set(wanted) - {condition.name for condition in CONDITIONS}:
        raise click.UsageError(f"no such condition: {', '.join(sorted(unknown))}")
    conditions = tuple(condition for condition in CONDITIONS if not wanted or condition.name in wanted)
    rounds = _rounds(surrogates, judges, in_turn=in_turn)
    plan = Plan(repository, settings, rounds, conditions, ssim)
    header = {
        "schema": SCHEMA,
        "repeat": f"python -m benchmarks.stage_one --people PEOPLE --others OTHERS --people-slice {people_slice}"
        f"{'' if iterations is None else f' --iterations {iterations}'} --ssim {ssim}{_told(rounds, in_turn=in_turn)}"
        f"{''.join(f' --condition {name!r}' for name in wanted)} --json RESULT.json",
        "platform": "JPEG as delivered by the Cloaker, then " + PLATFORMS["jpeg85"].description,
        "rounds": [{"surrogates": list(each.surrogates), "judges": list(each.judges)} for each in rounds],
        "settings": settings.model_dump(mode="json", exclude={"surrogates", "face_pool"}),
        "equal_ssim_crop112": ssim,
    }
    records = _known(json_path, header)
    chosen = read_people(people, selection=people_slice)
    gallery = Bench(plan).gallery(read_people(people), read_others(others))
    refused: list[str] = []
    waiting = [person for person in chosen if person.name not in records]
    for person, record in measure_all(waiting, plan, gallery, jobs=jobs):
        if record is None:
            refused.append(person.name)
            continue
        records[person.name] = record
        measured = [each for each in chosen if each.name in records]
        document = header | _document(measured, records, plan=plan, gallery=gallery) | {"refused": refused}
        write_json(json_path, document)
        click.echo(f"{person.name}: {document['probes']} probes", err=True)
    if not records:
        raise click.ClickException("every enrollment photo was refused")
    click.echo(table(json.loads(json_path.read_text(encoding="utf-8"))))


def _document(people: Iterable[Person], records: dict[str, Any], *, plan: Plan, gallery: Gallery) -> dict[str, Any]:
    ordered = {person.name: records[person.name] for person in people}
    return {
        **provenance(),
        "people": list(ordered),
        "people_photos_sha256": digest_of_photos([person.enroll_photo for person in people]),
        "probes": sum(len(record["yaw_degrees"]) for record in ordered.values()),
        "gallery_photos": len(gallery.owners),
        "conditions": summarize(ordered, judges=plan.judges),
        "records": ordered,
    }


def _told(rounds: Sequence[BenchRound], *, in_turn: bool) -> str:
    judges = [name for each in rounds for name in each.judges]
    surrogates = [name for name in rounds[0].surrogates if name not in judges]
    named = [*(f" --surrogate {name}" for name in surrogates), *(f" --judge {name}" for name in judges)]
    return (" --in-turn" if in_turn else "") + "".join(named)


if __name__ == "__main__":
    main()
