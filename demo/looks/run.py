"""All people at all strengths: enroll, cloak, measure, write the page."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import track

from demo.looks.looking import MeasuredLook, Onlooker, look_at
from demo.looks.page import LookedAt, write_page
from demo.looks.subjects import LooksSubject
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.settings import Strength
from facecloak.errors import FaceCloakError
from facecloak.recognizers.onnx_runtime import OnnxRuntime
from facecloak_evaluation import color_video_vdp, facenet
from facecloak_evaluation.delivered_photo import decode
from facecloak_evaluation.protectors.in_process import InProcessProtector
from facecloak_evaluation.protocol import EnrollmentCost
from facecloak_evaluation.rounds import pipeline_settings

_SEED = 1
"""Of every enrollment, so that a change of the code is what a viewer sees, and not chance."""

_MAY_NOT_BE_SHOWN = "This page holds people's photos: keep it to yourself."


def look_at_all(
    subjects: Sequence[LooksSubject],
    *,
    strengths: Sequence[str] = (),
    overrides: Sequence[str] = (),
    repository: Path,
    jobs: int = 1,
    out: Path,
) -> Path:
    """Enrolls each at every strength, cloaks their photos and writes the page; returns its path."""
    chosen = [Strength(name) for name in strengths] or list(Strength)
    settings = pipeline_settings(overrides)
    onlooker = _onlooker(repository)
    looks: dict[tuple[str, str], dict[str, MeasuredLook | str]] = {}
    for strength in chosen:
        protector = InProcessProtector(
            model_repository=repository,
            settings=settings.of(strength=strength, kind=None),
            seed=_SEED,
            work=out / "work",
            jobs=jobs,
        )
        with contextlib.closing(protector):
            for name, photo_name, seen in _seen(subjects, protector, onlooker, jobs=jobs, about=strength.value):
                looks.setdefault((name, photo_name), {})[strength.value] = seen
    items = [
        LookedAt(
            f"{subject.name}: {photo.name}", subject.remark, photo.name, photo.data, looks[subject.name, photo.name]
        )
        for subject in subjects
        for photo in subject.photos
    ]
    remarks = ["" if all(subject.may_be_shown for subject in subjects) else _MAY_NOT_BE_SHOWN]
    if not color_video_vdp.is_available():
        remarks.append(f"No JOD: ColorVideoVDP is not installed ({color_video_vdp.HOW_TO_INSTALL}).")
    return write_page(items, out, remarks=remarks)


def _seen(
    subjects: Sequence[LooksSubject], protector: InProcessProtector, onlooker: Onlooker, *, jobs: int, about: str
) -> Iterator[tuple[str, str, MeasuredLook | str]]:
    """(person, photo, what came back or why nothing did) of each, as it is done."""

    def enroll(subject: LooksSubject) -> EnrollmentCost | str:
        face = onlooker.face_in(decode(subject.enrolled.data))
        try:
            return protector.enroll(
                subject.name, [EnrollmentPhoto(subject.enrolled.data, face=face.box if face else None)]
            )
        except FaceCloakError as error:
            return f"not enrolled: {error.public_message}"

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        reports = pool.map(enroll, subjects)
        pairs = zip(subjects, reports, strict=True)
        for subject, report in track(pairs, total=len(subjects), description=about, console=Console(stderr=True)):
            for photo in subject.photos:
                if isinstance(report, str):
                    yield subject.name, photo.name, report
                    continue
                size = report.displacements[0] if report.displacements else None
                seen = look_at(subject, photo, protector=protector, displacement=size, onlooker=onlooker)
                yield subject.name, photo.name, seen


def _onlooker(repository: Path) -> Onlooker:
    runtime = OnnxRuntime(repository, threads=1)
    graph = repository / facenet.NAME / "graph.pb"
    if not graph.exists():
        return Onlooker(repository, runtime, runtime.names())
    both = facenet.WithFaceNet(runtime, facenet.load_facenet(graph))
    return Onlooker(repository, both, (*runtime.names(), facenet.NAME))
