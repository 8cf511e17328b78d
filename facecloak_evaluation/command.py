"""`facecloak evaluate`: how well masks protect, with everything that is needed to repeat the figure."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facecloak.atomic_files import PUBLIC, write_atomically
from facecloak_evaluation.rounds import (
    RoundPlan,
    command_line,
    pipeline_settings,
    plan_rounds,
    refuse_overlap,
)

if TYPE_CHECKING:
    from facecloak_evaluation.cache import SealedCache
    from facecloak_evaluation.experiment import Example, Experiment, RoundResult
    from facecloak_evaluation.face_extraction import Embedder, FaceExtractor
    from facecloak_evaluation.protocol import Protector

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
@click.option("--extraction", default="", metavar="N,N", help="Also attack by averaging N cloaked photos: 5,20,50.")
@click.option("--reapply", is_flag=True, help="Also cloak each probe a second time.")
@click.option("--full", is_flag=True, help="All platforms, strengths 0.5 to 1.5, extraction from 5, 20, 50, --reapply.")
@click.option(
    "--compare", type=click.Choice(["reference"]), help="Also measure the published algorithm, as a baseline."
)
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
@click.option("--repository", type=_folder, default=Path("model_repository"), show_default=True,
              envvar="FACECLOAK_MODEL_REPOSITORY", help="The folder of models.")  # fmt: skip
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
def evaluate(
    *, people: Path, others: Path | None, people_slice: str | None, recognizers: tuple[str, ...],
    surrogates: tuple[str, ...], leave_one_out: bool, surrogates_too: bool, overrides: tuple[str, ...],
    platforms: tuple[str, ...], facenet_graph: Path | None,
    strengths: tuple[float, ...], extraction: str, reapply: bool, full: bool, compare: str | None,
    gallery_photos: str, probe_photos: str, seed: int, jobs: int, work: Path | None, enroll_target: str | None,
    apply_target: str | None, repository: Path, json_path: Path, html_path: Path | None, pictures: int,
) -> None:  # fmt: skip
    """Measure protection on PEOPLE: enroll one photo of each, cloak others, let unseen recognizers look for them.

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
    from facecloak_evaluation.cache import CachedRuntime
    from facecloak_evaluation.dataset import read_others, read_people
    from facecloak_evaluation.experiment import Experiment
    from facecloak_evaluation.ledger import write_json
    from facecloak_evaluation.measurement import assemble, describe_data
    from facecloak_evaluation.protocol import EvaluationProtocol
    from facecloak_evaluation.report import as_html, as_markdown

    protocol = EvaluationProtocol(
        gallery_photos=_numbers(gallery_photos),
        probe_photos=_numbers(probe_photos),
        platforms=_platforms(("jpeg85", "all") if full and not platforms else platforms or ("jpeg85",)),
        strengths=strengths or (FULL_STRENGTHS if full and not enroll_target else ()),
        extraction_photos=_numbers(extraction) if extraction else FULL_EXTRACTION if full else (),
        reapply=reapply or full,
        surrogates_too=surrogates_too,
        seed=seed,
    )
    settings = None if enroll_target else pipeline_settings(overrides)
    plans = plan_rounds(
        recognizers=recognizers, surrogates=surrogates, settings=settings, leave_one_out=leave_one_out,
    )  # fmt: skip
    chosen = read_people(people, selection=people_slice)
    other_photos = read_others(others)
    names = {name for plan in plans for name in plan.evaluators}
    if surrogates_too and settings is not None:
        names |= {*settings.recognizers, *(name for plan in plans for name in plan.surrogates)}
    notes = _open_notes(work)
    runtime = _open_recognizers(repository, names, facenet_graph=facenet_graph)
    runtime = CachedRuntime(runtime, notes) if notes else runtime
    refuse_overlap(plans, repository, runtime=runtime)
    extractor, finders = _open_finders(repository, notes)

    def protector_of(plan: RoundPlan) -> Protector:
        if enroll_target and apply_target:
            from facecloak_evaluation.protectors.remote import RemoteProtector

            return RemoteProtector(enroll_target=enroll_target, apply_target=apply_target)
        from facecloak_evaluation.protectors.in_process import InProcessProtector

        assert settings is not None  # only a running service goes without
        learned = settings.model_copy(update={"surrogates": plan.surrogates})
        return InProcessProtector(model_repository=repository, settings=learned, seed=seed, work=work, jobs=jobs)

    def baseline_of(plan: RoundPlan, experiment: Experiment) -> Protector:
        from enroll_service.pipeline import PipelineSettings
        from facecloak_evaluation.protectors.published import ReferenceProtector, surrogate_for

        return ReferenceProtector(
            model_repository=repository,
            surrogate=surrogate_for(plan.evaluators, known=plan.surrogates or PipelineSettings().surrogates),
            settings=settings or PipelineSettings(),
            seed=seed,
            strangers=experiment.stranger_crops(),
        )

    began = time.perf_counter()
    data = describe_data(chosen, other_photos, protocol=protocol, selection=people_slice)
    photos = len(protocol.gallery_photos) + len(protocol.probe_photos)
    methods = 2 if compare else 1
    tries = len(chosen) * bool(protocol.extraction_photos) + protocol.reapply
    totals = {
        "read": len(chosen) * photos + len(other_photos),
        "enroll": len(chosen) * len(plans) * methods,
        "cloak": len(chosen) * photos * len(plans) * methods,
        "evaluate": sum(len(plan.evaluators) + len(plan.surrogates) * surrogates_too for plan in plans)
        * len(protocol.platforms)
        * methods,
        "try": len(plans) * (tries * methods + len(protocol.strengths)),
    }
    rounds: list[RoundResult] = []
    baseline: list[RoundResult] = []
    examples: list[Example] = []
    with _progress(totals) as advance:
        experiment = Experiment(
            protocol=protocol, people=chosen, others=other_photos, runtime=runtime, extractor=extractor, jobs=jobs,
            advance=advance,
        )  # fmt: skip
        for plan in plans:
            with contextlib.closing(protector_of(plan)) as protector:
                rounds.append(experiment.run_round(protector, evaluators=plan.evaluators))
                examples += rounds[-1].examples[:pictures]
            if compare:
                with contextlib.closing(baseline_of(plan, experiment)) as protector:
                    baseline.append(experiment.run_round(protector, evaluators=plan.evaluators))
    document = assemble(
        experiment=experiment,
        rounds=rounds,
        protocol=protocol,
        data=data,
        finder=finders | {"clean_photos_by_second": extractor.second_used},
        repeat=command_line(protocol, recognizers=recognizers, surrogates=surrogates, people_slice=people_slice,
                             leave_one_out=leave_one_out, overrides=overrides, others=others is not None,
                             remote=bool(enroll_target), compare=compare),
        seconds=time.perf_counter() - began,
        jobs=jobs,
        comparison=baseline,
    )  # fmt: skip
    write_json(json_path, document)
    if html_path:
        html_path.parent.mkdir(parents=True, exist_ok=True)
        page = as_html(document, examples=_worst(examples, pictures))
        write_atomically(html_path, page.encode(), mode=PUBLIC)
    click.echo(as_markdown(document))


def _open_recognizers(repository: Path, names: set[str], *, facenet_graph: Path | None) -> Embedder:
    """The model repository's recognizers of these names, and FaceNet if it is among them."""
    from facecloak.recognizers.onnx_runtime import OnnxRuntime
    from facecloak_evaluation import facenet

    of_repository = OnnxRuntime(repository, names=names - {facenet.NAME}, threads=1)
    if facenet.NAME not in names:
        return of_repository
    path = facenet_graph or repository / facenet.NAME / "graph.pb"
    graph = facenet.load_facenet(path, told=lambda line: click.echo(line, err=True))
    return facenet.WithFaceNet(of_repository, graph)


def _worst(examples: Sequence[Example], count: int) -> list[Example]:
    """Over all rounds; each probe once, where it did worst."""
    worst: dict[tuple[str, int], Example] = {}
    for example in sorted(examples, key=lambda example: -example.margin):
        worst.setdefault((example.photo.clean.owner, example.photo.clean.number), example)
    return list(worst.values())[:count]


def _open_notes(work: Path | None) -> SealedCache | None:
    if work is None:
        return None
    from facecloak.stores import Sealer
    from facecloak_evaluation.cache import SealedCache

    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    return SealedCache(work / "readings", Sealer.from_key_file(work / "key"))


def _open_finders(repository: Path, notes: SealedCache | None) -> tuple[FaceExtractor, dict[str, Any]]:
    """The evaluation's extractor, and what the ledger says about its finders."""
    from facecloak.faces import FaceFinder
    from facecloak_evaluation.cache import CachedFinder
    from facecloak_evaluation.face_extraction import EvaluationFinder, FaceExtractor
    from facecloak_evaluation.independent_finder import AlternateFaceFinder

    services: EvaluationFinder = FaceFinder.load(repository, threads=1)
    finder: EvaluationFinder = AlternateFaceFinder.load(repository, threads=1)
    if notes:
        services, finder = CachedFinder(services, notes), CachedFinder(finder, notes)
    own, theirs = (dict.fromkeys(item.identity.split("+")) for item in (finder, services))
    return FaceExtractor(finder, second=services), {
        "identity": finder.identity,
        "services_identity": services.identity,
        "shared_models": [model for model in own if model in theirs],
        "second_for_clean_photos": "the services' finder, where this one sees nobody",
    }


FULL_STRENGTHS = (0.5, 0.75, 1.0, 1.25, 1.5)
FULL_EXTRACTION = (5, 20, 50)


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
def _progress(totals: dict[str, int]) -> Iterator[Callable[[str, str], None]]:
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
