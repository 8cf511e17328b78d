"""One measurement: the clean photos read once, then one round for each set of surrogates."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from facecloak.errors import FaceCloakError
from facecloak.models.crop import CROP_SIZE
from facecloak_evaluation.dataset import Person
from facecloak_evaluation.delivered_photo import (
    CleanPhoto,
    DeliveredPhoto,
    as_png,
    change_seen,
    decode,
    face_change,
    visibility_summary,
)
from facecloak_evaluation.errors import EvaluationInputInvalid
from facecloak_evaluation.evaluator import OTHER, Evaluator, EvaluatorResult, Evidence, LabeledFaces
from facecloak_evaluation.face_extraction import ExtractedFace, FaceExtractor
from facecloak_evaluation.platforms import PLATFORMS, Platform
from facecloak_evaluation.protocol import DisplacingProtector, EnrollmentCost, EvaluationProtocol, Protector
from facecloak_evaluation.robustness_trials import Trials
from facecloak_evaluation.surrogate_guard import RecognizerIdentity, refuse_surrogates

if TYPE_CHECKING:
    from facecloak_evaluation.face_extraction import Embedder
    from facecloak_evaluation.visibility import Visibility

Advance = Callable[[str, str], None]
"""(kind of work, whom or what it was about): called after every finished piece, from any thread."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class RoundResult:
    """What one set of masks came to.

    Attributes:
        results: one a platform and evaluator.
        document: the same and everything else as JSON-able figures.
        examples: the cloaked probes, those that are recognized most surely first: for a report's pictures, never for
            the ledger.
    """

    results: tuple[EvaluatorResult, ...]
    document: dict[str, Any]
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True)
class Example:
    """A cloaked probe, and how sure the evaluators of the first platform are of it.

    Attributes:
        photo: before and after.
        margin: mean over evaluators of :attr:`EvaluatorResult.margins`; above 0 it is recognized.
    """

    photo: DeliveredPhoto
    margin: float


class Experiment:
    """Reads the clean photos once and runs rounds over them.

    Args:
        protocol: how to measure.
        people: whom to enroll and evaluate.
        others: paths of the distractors.
        runtime: runs the evaluators.
        extractor: the evaluation's own finder.
        jobs: threads for what is done a photo or a person; the results do not depend on it.
        advance: told of every finished piece: "read", "enroll", "cloak", "evaluate", "try".

    Raises:
        EvaluationInputInvalid: a person without a usable gallery photo or probe.
    """

    def __init__(
        self,
        *,
        protocol: EvaluationProtocol,
        people: Sequence[Person],
        others: Sequence[Path],
        runtime: Embedder,
        extractor: FaceExtractor,
        jobs: int = 1,
        advance: Advance | None = None,
    ) -> None:
        self._protocol = protocol
        self._people = tuple(people)
        self._runtime = runtime
        self._extractor = extractor
        self._jobs = jobs
        self._advance = advance or (lambda kind, about: None)
        self.evaluator = Evaluator(runtime, protocol=protocol, people=[person.name for person in people])
        self.left_out: list[str] = []
        """Photos in which the finder sees no face near the middle: neither gallery nor probe."""
        self._gallery = self._read_clean(protocol.gallery_photos)
        self._probes = self._read_clean(protocol.probe_photos)
        self._others = self._read_others(others)
        for person in people:
            for photos, what in ((self._gallery, "gallery photo"), (self._probes, "probe")):
                if not any(photo.owner == person.name for photo in photos):
                    raise EvaluationInputInvalid(f"{person.name} has no usable {what}", person=person.name)
        self._clean_uploads: dict[str, LabeledFaces] = {}

    @property
    def gallery_size(self) -> int:
        """Photos in the clean gallery."""
        return len(self._gallery) + len(self._others.seen)

    def stranger_crops(self) -> np.ndarray:
        """The distractors' aligned crops, (N, 3, 112, 112) float32 RGB 0..255."""
        crops = [seen.crop_u8.transpose(2, 0, 1) for _, seen in self._strangers]
        return np.stack(crops or [np.zeros((3, CROP_SIZE, CROP_SIZE))]).astype(np.float32)

    def run_round(self, protector: Protector, *, evaluators: Sequence[str]) -> RoundResult:
        """Enroll everybody, cloak everything, evaluate by recognizers that the masks never saw.

        Raises:
            EvaluatorWasSurrogate: before anything is enrolled.
            EvaluationInputInvalid: every enrollment was refused.
        """
        identities = tuple(RecognizerIdentity.of(self._runtime.spec(name)) for name in evaluators)

        def guard() -> None:
            refuse_surrogates(evaluators=identities, surrogates=protector.surrogates())

        guard()
        # A running service tells its surrogates with its first answer only, so the guard looks again after each.
        reports, refused = self._enroll(protector, guard=guard)
        if not reports:
            raise EvaluationInputInvalid("every enrollment was refused", reasons=dict(Counter(refused.values())))
        enrolled = frozenset(reports)
        cloaked_probes = self._cloak(protector, [photo for photo in self._probes if photo.owner in enrolled])
        cloaked_gallery = self._cloak(protector, [photo for photo in self._gallery if photo.owner in enrolled])
        results: list[EvaluatorResult] = []
        by_surrogates: list[dict[str, Any]] = []
        trials: dict[str, Any] = {}
        for platform in self._protocol.platforms:
            evidence = self._evidence(platform, enrolled, cloaked_probes, cloaked_gallery)
            for evaluator in evaluators:
                results.append(self.evaluator.evaluate(evidence, evaluator=evaluator, platform=platform))
                self._advance("evaluate", evaluator)
            for surrogate in self._protocol.surrogates_too * protector.surrogates():
                result = self.evaluator.evaluate(evidence, evaluator=surrogate.name, platform=platform)
                by_surrogates.append(result.document)
                self._advance("evaluate", surrogate.name)
            if platform == self._protocol.platforms[0]:
                trials = self._try(protector, evidence, cloaked_probes, results=tuple(results))
        document = {
            "surrogates": [asdict(identity) for identity in protector.surrogates()],
            "evaluators": [asdict(identity) for identity in identities],
            "service": dict(protector.describe()),
            "enrollment": _enrollment_summary(reports) | {"refused": refused},
            "cloaking": _cloaking_summary(cloaked_probes + cloaked_gallery),
            "outcomes": dict(sorted(Counter(photo.outcome for photo in cloaked_probes + cloaked_gallery).items())),
            "visibility": self._visibility(protector, cloaked_probes),
            "displacement": _displacement_summary(reports),
            "results": [result.document for result in results],
            **({"results_by_surrogates": by_surrogates} if by_surrogates else {}),
            **trials,
        }
        examples = _examples(cloaked_probes, results[: len(evaluators)])
        return RoundResult(results=tuple(results), document=document, examples=examples)

    def _read_clean(self, numbers: Sequence[int]) -> list[CleanPhoto]:
        def read(item: tuple[str, int, Path]) -> CleanPhoto | None:
            owner, number, path = item
            data = path.read_bytes()
            srgb_u8 = decode(data)
            seen = self._extractor.see_clean(srgb_u8)
            self._advance("read", path.stem)
            return CleanPhoto(owner=owner, number=number, data=data, srgb_u8=srgb_u8, seen=seen) if seen else None

        items = [
            (person.name, number, person.photos[number])
            for person in self._people
            for number in numbers
            if number in person.photos
        ]
        photos = self._each(read, items)
        pairs = zip(items, photos, strict=True)
        self.left_out += [f"{owner}/{path.stem}" for (owner, _, path), photo in pairs if photo is None]
        return [photo for photo in photos if photo is not None]

    def _read_others(self, paths: Sequence[Path]) -> LabeledFaces:
        def read(path: Path) -> ExtractedFace | None:
            seen = self._extractor.see_clean(decode(path.read_bytes()))
            self._advance("read", path.stem)
            return seen

        seen = self._each(read, paths)
        self.left_out += [path.stem for path, item in zip(paths, seen, strict=True) if item is None]
        self._strangers = [(path, item) for path, item in zip(paths, seen, strict=True) if item is not None]
        usable = tuple(item for _, item in self._strangers)
        return LabeledFaces(usable, (OTHER,) * len(usable))

    def _enroll(
        self, protector: Protector, *, guard: Callable[[], None]
    ) -> tuple[dict[str, EnrollmentCost], dict[str, str]]:
        def enroll(person: Person) -> EnrollmentCost | str:
            photos = []
            for path in person.enrolled(self._protocol.enroll_photos):
                data = path.read_bytes()
                # As an uploader would point at themselves: news photos show others too.
                face = self._extractor.person_in(decode(data))
                photos.append(EnrollmentPhoto(data, face=face.box if face else None))
            try:
                outcome: EnrollmentCost | str = protector.enroll(person.name, photos)
            except FaceCloakError as error:
                if error.code not in REFUSALS:
                    raise
                outcome = error.reason
            guard()
            self._advance("enroll", person.name)
            return outcome

        outcomes = dict(zip([person.name for person in self._people], self._each(enroll, self._people), strict=True))
        reports = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, EnrollmentCost)}
        return reports, {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, str)}

    def _cloak(self, protector: Protector, photos: Sequence[CleanPhoto]) -> list[DeliveredPhoto]:
        def cloak(photo: CleanPhoto) -> DeliveredPhoto:
            began = time.perf_counter()
            cloaked = protector.cloak(photo.owner, photo.data, photo.box)
            seconds = time.perf_counter() - began
            self._advance("cloak", photo.owner)
            return DeliveredPhoto(photo, cloaked.outcome, cloaked.photo, decode(cloaked.photo), seconds)

        return self._each(cloak, photos)

    def _visibility(self, protector: Protector, photos: Sequence[DeliveredPhoto]) -> dict[str, Any]:
        """Over the probes that were cloaked: photos left alone would flatter the figure."""

        def measure(photo: DeliveredPhoto) -> dict[str, Visibility]:
            # A PNG comes back without loss, so that what differs is the mask alone.
            png = as_png(photo.clean.srgb_u8)
            lossless = protector.cloak(photo.clean.owner, png, photo.clean.box)
            mask_only = DeliveredPhoto(photo.clean, lossless.outcome, lossless.photo, decode(lossless.photo))
            seen = change_seen(photo) | {f"{place}_mask_only": value for place, value in change_seen(mask_only).items()}
            if isinstance(protector, DisplacingProtector):
                displaced = protector.displace(photo.clean.owner, png, photo.clean.box)
                since = decode(displaced.photo) if displaced else photo.clean.srgb_u8
                seen["face_painted"] = face_change(mask_only, since=since)
            return seen

        measured = self._each(measure, [photo for photo in photos if photo.is_cloaked])
        places = measured[0] if measured else {}
        return {"photos": len(measured)} | {
            place: visibility_summary([item[place] for item in measured]) for place in places
        }

    def _evidence(
        self,
        platform: str,
        enrolled: frozenset[str],
        cloaked_probes: Sequence[DeliveredPhoto],
        cloaked_gallery: Sequence[DeliveredPhoto],
    ) -> Evidence:
        if platform not in self._clean_uploads:
            self._clean_uploads[platform] = self._upload(self._probes, PLATFORMS[platform])
        own = LabeledFaces(tuple(photo.seen for photo in self._gallery), tuple(photo.owner for photo in self._gallery))
        # Whoever was refused stays in the gallery, clean, as a distractor.
        return Evidence(
            clean_probes=self._clean_uploads[platform].of_people(enrolled),
            cloaked_probes=self._upload(cloaked_probes, PLATFORMS[platform]),
            clean_gallery=own + self._others,
            cloaked_gallery=self._upload(cloaked_gallery, PLATFORMS[platform]) + own.not_of(enrolled) + self._others,
        )

    def _try(
        self,
        protector: Protector,
        evidence: Evidence,
        cloaked_probes: Sequence[DeliveredPhoto],
        *,
        results: Sequence[EvaluatorResult],
    ) -> dict[str, Any]:
        trials = Trials(
            protocol=self._protocol,
            evaluator=self.evaluator,
            protector=protector,
            probes=[photo.clean for photo in cloaked_probes],
            cloaked=cloaked_probes,
            uploaded=evidence.cloaked_probes,
            gallery=evidence.clean_gallery,
            results=results,
            strangers=self._strangers,
            upload=self._upload,
            each=self._each,
            advance=self._advance,
        )
        return trials.document()

    def _upload(self, photos: Sequence[CleanPhoto] | Sequence[DeliveredPhoto], platform: Platform) -> LabeledFaces:
        def see(photo: CleanPhoto | DeliveredPhoto) -> ExtractedFace:
            known = _clean(photo).seen.face
            return self._extractor.see_uploaded(photo.srgb_u8, known=known, platform=platform)

        items: list[CleanPhoto | DeliveredPhoto] = list(photos)
        return LabeledFaces(tuple(self._each(see, items)), tuple(_clean(photo).owner for photo in photos))

    def _each(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """In order, `jobs` at a time."""
        with ThreadPoolExecutor(max_workers=self._jobs) as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


REFUSALS = frozenset({"INVALID_ARGUMENT", "FAILED_PRECONDITION"})
"""Codes by which a service refuses a photo; anything else is a fault of the measurement and ends it."""


def _clean(photo: CleanPhoto | DeliveredPhoto) -> CleanPhoto:
    return photo.clean if isinstance(photo, DeliveredPhoto) else photo


def _examples(photos: Sequence[DeliveredPhoto], results: Sequence[EvaluatorResult]) -> tuple[Example, ...]:
    """Worst first: a probe that every evaluator still recognizes with a wide margin."""
    margins = [fmean(float(result.margins[index]) for result in results) for index in range(len(photos))]
    examples = [Example(photo, margin) for photo, margin in zip(photos, margins, strict=True)]
    return tuple(sorted(examples, key=lambda example: -example.margin))


def _cloaking_summary(photos: Sequence[DeliveredPhoto]) -> dict[str, Any]:
    """Time of one ApplyCloak, wall, as the caller sees it."""
    seconds = [photo.seconds for photo in photos]
    return {"photos": len(photos), "milliseconds_median": round(1000 * median(seconds), 1)} if photos else {"photos": 0}


def _enrollment_summary(reports: dict[str, EnrollmentCost]) -> dict[str, Any]:
    seconds = [report.seconds for report in reports.values()]
    cpu_seconds = [report.cpu_seconds for report in reports.values() if report.cpu_seconds is not None]
    memory = [report.peak_memory_mebibytes for report in reports.values() if report.peak_memory_mebibytes is not None]
    stages = sorted({stage for report in reports.values() for stage in report.stages})
    return {
        "people": len(reports),
        "masks_reused": sum(report.reused for report in reports.values()),
        "seconds_median": round(median(seconds), 2),
        "seconds_largest": round(max(seconds), 2),
        "cpu_seconds_median": round(median(cpu_seconds), 2) if cpu_seconds else None,
        "peak_memory_mebibytes": round(max(memory)) if memory else None,
        "seconds_median_by_stage": {
            stage: round(median(report.stages.get(stage, 0.0) for report in reports.values()), 2) for stage in stages
        },
    }


def _displacement_summary(reports: dict[str, EnrollmentCost]) -> dict[str, float] | None:
    """How far masks displace, in percent of the distance between the eyes: the mean over masks, of the largest length
    also the largest of all; None where nothing is known to be displaced."""
    sizes = [size for report in reports.values() for size in report.displacements]
    if not sizes:
        return None
    return {
        "masks": len(sizes),
        "rms_percent": round(fmean(size.rms_percent for size in sizes), 3),
        "largest_percent": round(fmean(size.largest_percent for size in sizes), 3),
        "largest_percent_of_all": round(max(size.largest_percent for size in sizes), 3),
        "asymmetry_percent": round(fmean(size.asymmetry_percent for size in sizes), 3),
    }
