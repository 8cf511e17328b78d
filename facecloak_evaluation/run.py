"""One evaluation from its request to its result, for the command and for programs alike."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enroll_service.pipeline import PipelineSettings
from facecloak.faces import FaceFinder
from facecloak.recognizers.onnx_runtime import OnnxRuntime
from facecloak.stores import Sealer
from facecloak_evaluation import facenet
from facecloak_evaluation.cache import CachedFinder, CachedRuntime, SealedCache
from facecloak_evaluation.dataset import Person, read_others, read_people
from facecloak_evaluation.errors import EvaluationInputInvalid
from facecloak_evaluation.experiment import Example, Experiment, RoundResult
from facecloak_evaluation.face_extraction import Embedder, EvaluationFinder, FaceExtractor
from facecloak_evaluation.independent_finder import AlternateFaceFinder
from facecloak_evaluation.measurement import assemble, describe_data
from facecloak_evaluation.protocol import EvaluationProtocol, Protector
from facecloak_evaluation.purification import PURIFIERS
from facecloak_evaluation.rounds import RoundPlan, command_line, plan_rounds, refuse_overlap
from facecloak_rpc.connection import Connection

Advance = Callable[[str, str], None]
"""Told of every finished piece: its kind, and what it was about."""
Progress = Callable[[Mapping[str, int]], AbstractContextManager[Advance]]
"""Given how many pieces of each kind there will be, opens what is told of them."""


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What to measure, and with what.

    Attributes:
        people: NAME/enrol.jpg, NAME/photo1.jpg and on.
        others: photos of other people for the gallery, one each.
        people_slice: "A:B", only the Ath to Bth person in name order, both included.
        recognizers: evaluators.
        surrogates: learned against, in place of the settings'.
        leave_one_out: leave each surrogate out of enrollment in turn; it is then the evaluator.
        settings: how masks are learned; None where running services have their own.
        protocol: how protection is measured.
        compare: also measure the published algorithm.
        enroll_target, apply_target: HOST:PORT of running services, both or neither.
        connection: how these are reached.
        jobs: enrollments at once.
        work: folder that keeps masks and readings, sealed.
        repository: the folder of models.
        facenet_graph: FaceNet's graph; brought where there is none.
        examples: probes of each round that are given back with the result.
    """

    people: Path
    repository: Path
    protocol: EvaluationProtocol
    settings: PipelineSettings | None
    others: Path | None = None
    people_slice: str | None = None
    recognizers: tuple[str, ...] = ()
    surrogates: tuple[str, ...] = ()
    leave_one_out: bool = False
    compare: bool = False
    enroll_target: str | None = None
    apply_target: str | None = None
    connection: Connection | None = None
    jobs: int = 1
    work: Path | None = None
    facenet_graph: Path | None = None
    examples: int = 0


@dataclass(frozen=True)
class Evaluation:
    """The result, as the ledger keeps it, and the probes that were asked for."""

    document: dict[str, Any]
    examples: tuple[Example, ...]


def run_evaluation(request: EvaluationRequest, *, progress: Progress, told: Callable[[str], None]) -> Evaluation:
    """Enroll, cloak, and let unseen recognizers look.

    Args:
        progress: shows how far it is.
        told: gets a line where something large is brought.

    Raises:
        PlanInvalid: no evaluators, or too few surrogates to leave one out.
        EvaluationInputInvalid: the folders or the selection do not describe a measurement.
        EvaluatorWasSurrogate: masks would be learned against a recognizer that evaluates them.
    """
    protocol, settings = request.protocol, request.settings
    plans = plan_rounds(
        recognizers=request.recognizers,
        surrogates=request.surrogates,
        settings=settings,
        leave_one_out=request.leave_one_out,
    )
    people = read_people(request.people, selection=request.people_slice)
    others = read_others(request.others)
    _refuse_small_gallery(protocol, people, others)
    names = {name for plan in plans for name in plan.evaluators}
    if protocol.surrogates_too and settings is not None:
        names |= {*settings.recognizers, *(name for plan in plans for name in plan.surrogates)}
    notes = _open_notes(request.work)
    runtime = _open_recognizers(request, names, told=told)
    runtime = CachedRuntime(runtime, notes) if notes else runtime
    refuse_overlap(plans, request.repository, runtime=runtime)
    extractor, finders = _open_finders(request.repository, notes)
    began = time.perf_counter()
    rounds: list[RoundResult] = []
    baseline: list[RoundResult] = []
    examples: list[Example] = []
    with progress(_totals(request, plans, people, others)) as advance:
        experiment = Experiment(
            protocol=protocol,
            people=people,
            others=others,
            runtime=runtime,
            extractor=extractor,
            jobs=request.jobs,
            advance=advance,
        )
        for plan in plans:
            with contextlib.closing(_protector(request, plan)) as protector:
                rounds.append(experiment.run_round(protector, evaluators=plan.evaluators))
                examples += rounds[-1].examples[: request.examples]
            if request.compare:
                with contextlib.closing(_published(request, plan, experiment)) as protector:
                    baseline.append(experiment.run_round(protector, evaluators=plan.evaluators))
    document = assemble(
        experiment=experiment,
        rounds=rounds,
        protocol=protocol,
        data=describe_data(people, others, protocol=protocol, selection=request.people_slice),
        finder=finders | {"clean_photos_by_second": extractor.second_used},
        repeat=command_line(
            protocol,
            settings=settings,
            recognizers=request.recognizers,
            surrogates=request.surrogates,
            people_slice=request.people_slice,
            leave_one_out=request.leave_one_out,
            others=request.others is not None,
            compare=request.compare,
        ),
        seconds=time.perf_counter() - began,
        jobs=request.jobs,
        comparison=baseline,
    )
    return Evaluation(document=document, examples=tuple(examples))


def _refuse_small_gallery(protocol: EvaluationProtocol, people: tuple[Person, ...], others: tuple[Path, ...]) -> None:
    """Before hours are spent: a rank needs as many photos to look through."""
    largest, photos = max(protocol.ranks), len(people) * len(protocol.gallery_photos) + len(others)
    if photos < largest:
        raise EvaluationInputInvalid(
            f"the gallery has {photos} photos, and PSR@{largest} looks at {largest}: add people, photos or others",
            photos=photos,
            rank=largest,
        )


def _totals(
    request: EvaluationRequest, plans: tuple[RoundPlan, ...], people: tuple[Person, ...], others: tuple[Path, ...]
) -> dict[str, int]:
    """Pieces of work by kind."""
    protocol = request.protocol
    photos = len(protocol.gallery_photos) + len(protocol.probe_photos)
    methods = 2 if request.compare else 1
    tries = len(people) * bool(protocol.extraction_photos) + protocol.reapply
    tries += protocol.purify * len(PURIFIERS)
    looks = sum(len(plan.evaluators) + len(plan.surrogates) * protocol.surrogates_too for plan in plans)
    return {
        "read": len(people) * photos + len(others),
        "enroll": len(people) * len(plans) * methods,
        "cloak": len(people) * photos * len(plans) * methods,
        "evaluate": looks * len(protocol.platforms) * methods,
        "try": len(plans) * (tries * methods + len(protocol.strengths)),
    }


def _protector(request: EvaluationRequest, plan: RoundPlan) -> Protector:
    if request.enroll_target and request.apply_target:
        from facecloak_evaluation.protectors.remote import RemoteProtector

        return RemoteProtector(
            enroll_target=request.enroll_target, apply_target=request.apply_target, connection=request.connection
        )
    from facecloak_evaluation.protectors.in_process import InProcessProtector

    assert request.settings is not None  # only a running service goes without
    learned = request.settings.model_copy(update={"surrogates": plan.surrogates})
    return InProcessProtector(
        model_repository=request.repository,
        settings=learned,
        seed=request.protocol.seed,
        work=request.work,
        jobs=request.jobs,
    )


def _published(request: EvaluationRequest, plan: RoundPlan, experiment: Experiment) -> Protector:
    from facecloak_evaluation.protectors.published import ReferenceProtector, surrogate_for

    return ReferenceProtector(
        model_repository=request.repository,
        surrogate=surrogate_for(plan.evaluators, known=plan.surrogates or PipelineSettings().surrogates),
        settings=request.settings or PipelineSettings(),
        seed=request.protocol.seed,
        strangers=experiment.stranger_crops(),
    )


def _open_recognizers(request: EvaluationRequest, names: set[str], *, told: Callable[[str], None]) -> Embedder:
    """The model repository's recognizers of these names, and FaceNet if it is among them."""
    of_repository = OnnxRuntime(request.repository, names=names - {facenet.NAME}, threads=1)
    if facenet.NAME not in names:
        return of_repository
    path = request.facenet_graph or request.repository / facenet.NAME / "graph.pb"
    graph = facenet.load_facenet(path, told=told)
    return facenet.WithFaceNet(of_repository, graph)


def _open_notes(work: Path | None) -> SealedCache | None:
    if work is None:
        return None
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    return SealedCache(work / "readings", Sealer.from_key_file(work / "key"))


def _open_finders(repository: Path, notes: SealedCache | None) -> tuple[FaceExtractor, dict[str, Any]]:
    """The evaluation's extractor, and what the ledger says about its finders."""
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
