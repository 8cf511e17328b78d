"""`facecloak evaluate`: how well masks protect, with everything that is needed to repeat the figure."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facecloak.atomic_files import PUBLIC, write_atomically
from facecloak.models.repository import DEFAULT_FOLDER, FOLDER_VARIABLE
from facecloak_evaluation.errors import PlanInvalid
from facecloak_evaluation.rounds import pipeline_settings
from facecloak_rpc.connection_options import connection_options

if TYPE_CHECKING:
    from facecloak_evaluation.experiment import Example
    from facecloak_rpc.connection import Connection

_folder = click.Path(exists=True, file_okay=False, path_type=Path)
_file = click.Path(dir_okay=False, path_type=Path)


def register(root: click.Group) -> None:
    """Adds `evaluate`."""
    root.add_command(evaluate)


@click.command()
@click.option("--people", required=True, type=_folder, help="NAME/enrol.jpg, NAME/photo1.jpg and on.")
@click.option("--others", type=_folder, help="Photos of other people for the gallery, one each.")
@click.option("--people-slice", metavar="A:B", help="Only the Ath to Bth person in name order, both included.")
@click.option(
    "--recognizer",
    "recognizers",
    multiple=True,
    metavar="NAME",
    help="Evaluators; never one of the surrogates. `facenet` is no surrogate of anyone.",
)
@click.option(
    "--surrogate", "surrogates", multiple=True, metavar="NAME", help="Learned against; default: as the service."
)
@click.option(
    "--leave-one-out", is_flag=True, help="Leave each surrogate out of enrollment in turn; it is then the evaluator."
)
@click.option(
    "--surrogates-too", is_flag=True, help="Let the surrogates evaluate as well: told apart, and part of no mean."
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="FIELD=VALUE",
    help="A setting or a part of the recipe: perturb.iterations=40.",
)
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="NAME",
    help="What happens to a photo: the first counts most; `all` is every one. Default jpeg85.",
)
@click.option(
    "--strength",
    "strengths",
    multiple=True,
    type=click.FloatRange(0, 4, min_open=True),
    metavar="FACTOR",
    help="Also measure the masks this many times as strong, for the curve against SSIM.",
)
@click.option("--extraction", default="", metavar="N,N", help="Also attack by what N cloaked photos tell: 1,5,20.")
@click.option("--purify", is_flag=True, help="Also attack by blurs, denoisers and a chain of JPEGs.")
@click.option("--reapply", is_flag=True, help="Also cloak each probe a second time.")
@click.option("--full", is_flag=True, help="All platforms, strengths 0.5 to 1.5, extraction from 1, 5, 20, 50, "
              "--purify, --reapply.")  # fmt: skip
@click.option(
    "--compare", type=click.Choice(["reference"]), help="Also measure the published algorithm, as a baseline."
)
@click.option("--enroll-photos", default="", metavar="N,N", help="Numbers of each person's photos that are enrolled, "
              "too: 7,8.")  # fmt: skip
@click.option("--gallery-photos", default="1,2,3", show_default=True, help="Numbers of each person's gallery photos.")
@click.option("--probe-photos", default="4,5,6,7", show_default=True, help="Numbers of each person's probes.")
@click.option(
    "--seed",
    default=1,
    show_default=True,
    type=click.IntRange(min=0),
    help="Of the bootstrap, and of every enrollment.",
)
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="Enrollments at once.")
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keeps masks and readings, sealed: an interrupted run goes on, and a second one is quick.",
)
@click.option("--enroll-target", metavar="HOST:PORT", help="Running enrollment service, with --apply-target.")
@click.option("--apply-target", metavar="HOST:PORT", help="Running apply service on the same store.")
@click.option("--repository", type=_folder, default=DEFAULT_FOLDER, show_default=True,
              envvar=FOLDER_VARIABLE, help="The folder of models.")  # fmt: skip
@click.option("--facenet-graph", type=_file, help="FaceNet's graph; brought there where there is none. Default: "
              "facenet/graph.pb in the folder of models.")  # fmt: skip
@click.option("--json", "json_path", required=True, type=_file, help="Where the result goes.")
@click.option("--html", "html_path", type=_file, help="Where a report for people goes.")
@click.option(
    "--pictures",
    default=0,
    show_default=True,
    type=click.IntRange(0, 200),
    help="Probes shown in the report, worst first. Then it holds people's photos: keep it to yourself.",
)
@connection_options
def evaluate(
    *, people: Path, others: Path | None, people_slice: str | None, recognizers: tuple[str, ...],
    surrogates: tuple[str, ...], leave_one_out: bool, surrogates_too: bool, overrides: tuple[str, ...],
    platforms: tuple[str, ...], facenet_graph: Path | None,
    strengths: tuple[float, ...], extraction: str, purify: bool, reapply: bool, full: bool, compare: str | None,
    enroll_photos: str, gallery_photos: str, probe_photos: str, seed: int, jobs: int, work: Path | None,
    enroll_target: str | None, apply_target: str | None, repository: Path, json_path: Path, html_path: Path | None,
    pictures: int, connection: Connection,
) -> None:  # fmt: skip
    """Measure protection on PEOPLE: enroll a photo of each, cloak others, let unseen recognizers look for them.

    The share of probes that are not matched to their owner (PSR) is given next to the same share for uncloaked probes.

    Visibility is SSIM, SSIMULACRA2 and FLIP, and where it is installed ColorVideoVDP (JOD). That one is in no extra,
    since it would bring a torchvision that does not fit: add it by `pip install --no-deps cvvdp==0.5.7 tqdm`.
    """
    if bool(enroll_target) != bool(apply_target):
        raise click.UsageError("--enroll-target and --apply-target go together")
    if enroll_target and (leave_one_out or surrogates or surrogates_too or overrides or work or strengths):
        raise click.UsageError("a running service has its own surrogates, settings, strength and store")
    if pictures and not html_path:
        raise click.UsageError("--pictures go into the report: name it with --html")
    from facecloak_evaluation.ledger import write_json
    from facecloak_evaluation.protocol import EvaluationProtocol
    from facecloak_evaluation.report import as_html, as_markdown
    from facecloak_evaluation.run import EvaluationRequest, run_evaluation

    protocol = EvaluationProtocol(
        enroll_photos=_numbers(enroll_photos) if enroll_photos else (),
        gallery_photos=_numbers(gallery_photos),
        probe_photos=_numbers(probe_photos),
        platforms=_platforms(("jpeg85", "all") if full and not platforms else platforms or ("jpeg85",)),
        strengths=strengths or (FULL_STRENGTHS if full and not enroll_target else ()),
        extraction_photos=_numbers(extraction) if extraction else FULL_EXTRACTION if full else (),
        reapply=reapply or full,
        purify=purify or full,
        surrogates_too=surrogates_too,
        seed=seed,
    )
    request = EvaluationRequest(
        people=people, others=others, people_slice=people_slice, recognizers=recognizers, surrogates=surrogates,
        leave_one_out=leave_one_out, settings=None if enroll_target else pipeline_settings(overrides),
        protocol=protocol, compare=compare is not None, enroll_target=enroll_target, apply_target=apply_target,
        connection=connection, jobs=jobs, work=work, repository=repository, facenet_graph=facenet_graph,
        examples=pictures,
    )  # fmt: skip
    try:
        evaluation = run_evaluation(request, progress=_progress, told=lambda line: click.echo(line, err=True))
    except PlanInvalid as error:
        raise click.UsageError(error.public_message) from error
    document = evaluation.document
    write_json(json_path, document)
    if html_path:
        html_path.parent.mkdir(parents=True, exist_ok=True)
        page = as_html(document, examples=_worst(evaluation.examples, pictures))
        write_atomically(html_path, page.encode(), mode=PUBLIC)
    click.echo(as_markdown(document))


def _worst(examples: Sequence[Example], count: int) -> list[Example]:
    """Over all rounds; each probe once, where it did worst."""
    worst: dict[tuple[str, int], Example] = {}
    for example in sorted(examples, key=lambda example: -example.margin):
        worst.setdefault((example.photo.clean.owner, example.photo.clean.number), example)
    return list(worst.values())[:count]


FULL_STRENGTHS = (0.5, 0.75, 1.0, 1.25, 1.5)
FULL_EXTRACTION = (1, 5, 20, 50)


def _platforms(names: Sequence[str]) -> tuple[str, ...]:
    """Names in order, each once; `all` stands for every platform."""
    from facecloak_evaluation.platforms import PLATFORMS

    return tuple(dict.fromkeys(known for name in names for known in (PLATFORMS if name == "all" else (name,))))


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.UsageError(f"numbers of photos are written 1,2,3, not {text}") from None


@contextlib.contextmanager
def _progress(totals: Mapping[str, int]) -> Iterator[Callable[[str, str], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description:<8}", markup=False), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks = {kind: bars.add_task(kind, total=total) for kind, total in totals.items()}
        yield lambda kind, about: bars.advance(tasks[kind])
