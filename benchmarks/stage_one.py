"""What each way of making variations, and each frame of the mask, adds to protection at equal visibility.

    python -m benchmarks.stage_one --people PEOPLE --others OTHERS --people-slice 21:32 --json docs/results/FILE.json

Follows docs/results/README.md's protocol: enrolled by the service's own code, cloaked as JPEGs by the Cloaker, encoded
again, found afresh by the evaluation's finder, judged by recognizers that no mask saw. On top of it, a person's masks
are scaled until the person's probes have one and the same mean SSIM, so that what is compared is not visibility; and
probes are told apart by how far the head is turned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import click
import numpy as np
import torch

from enroll_service.photo import EnrollmentPhoto
from enroll_service.pipeline import Enroller
from enroll_service.stages import PerturbSettings, StageSettings, SynthesisSettings, SynthesizerName
from enroll_service.stages.intake import Portrait
from enroll_service.stages.synthesize import as_shown
from enroll_service.stages.variations import Variations
from facecloak.adding import add_in_place
from facecloak.cloak import Cloaker, Subject
from facecloak.evaluation.ledger import provenance, write_json
from facecloak.evaluation.metrics import Tally, figure, margins_of, protected_at
from facecloak.evaluation.people import Person, digest_of_photos, read_others, read_people
from facecloak.evaluation.platforms import PLATFORMS
from facecloak.evaluation.reading import Reader, Seen, embed
from facecloak.evaluation.visibility import visibility
from facecloak.faces import AlternateFaceFinder, Face, FaceFinder, aligned_crop
from facecloak.faces.pose import angles_of, fit_pose
from facecloak.faces.shape import face_shape
from facecloak.mask import Mask, MaskGeometry
from facecloak.photos import decode_photo
from facecloak.placement import place_mask
from facecloak.recognizers.onnx_runtime import OnnxRuntime

SCHEMA = "facecloak-stage-one/1"
GALLERY = (1, 2, 3)
PROBES = (4, 5, 6, 7, 8)
YAW_BUCKETS = ((0.0, 8.0), (8.0, 16.0), (16.0, 90.0))
"""Degrees as the face mesh tells them, which falls short of the true angle by about a third on turned pictures."""
_SSIM_CLOSE = 0.002
_STRENGTH_ROUNDS = 4
_RESAMPLES, _SEED = 2000, 1


class Unvaried:
    """The photos themselves, over and over."""

    identity = "none"

    def synthesize(
        self, portraits: Sequence[Portrait], *, count: int, seed: int, checkpoint: Callable[[float], None]
    ) -> Variations:
        """See :class:`enroll_service.stages.synthesize.Synthesizer`."""
        return as_shown(portraits, in_face_frame=False).chosen(torch.arange(count) % len(portraits))


@dataclass(frozen=True)
class Condition:
    """One way to learn a mask."""

    name: str
    synthesizer: SynthesizerName = SynthesizerName.ELASTIC
    geometry: MaskGeometry = MaskGeometry.SQUARE
    elastic_px: float = 2.5
    varied: bool = True
    all_photos: bool = False
    borrows_light: bool = False
    skin_tone: float = 0.0
    jpeg: float = 0.0
    jpeg_after: float = 0.0


CONDITIONS = (
    Condition("no variation, aligned crop", varied=False),
    Condition("photometric, aligned crop", elastic_px=0.0),
    Condition("elastic, aligned crop"),
    Condition("mesh, aligned crop", SynthesizerName.MESH),
    Condition("mesh, face's own frame", SynthesizerName.MESH, MaskGeometry.FACE),
    Condition("ceiling: 9 photos, photometric, aligned crop", elastic_px=0.0, all_photos=True),
    Condition("ceiling: 9 photos, mesh, face's own frame", SynthesizerName.MESH, MaskGeometry.FACE, all_photos=True),
)

LEVERS = (
    Condition("mesh, face's own frame, skin tone", SynthesizerName.MESH, MaskGeometry.FACE, skin_tone=1.0),
    Condition("mesh, face's own frame, JPEG before the mask", SynthesizerName.MESH, MaskGeometry.FACE, jpeg=0.5),
    Condition("mesh, face's own frame, JPEG after the mask", SynthesizerName.MESH, MaskGeometry.FACE, jpeg_after=0.5),
)
"""What is off by default; measured with --levers."""
BORROWED = Condition(
    "mesh, face's own frame, borrowed light", SynthesizerName.MESH, MaskGeometry.FACE, borrows_light=True
)
"""Measured with --light-pool."""


@dataclass(frozen=True)
class Probe:
    """One photo of an evaluated person, as it is and as the services' finder sees it."""

    owner: str
    data: bytes
    srgb_u8: np.ndarray
    seen: Seen
    face: Face
    mesh: np.ndarray | None
    yaw_degrees: float | None


@dataclass
class Outcome:
    """What became of one condition's probes, in order."""

    crops: list[np.ndarray] = field(default_factory=list)
    ssims: list[float] = field(default_factory=list)
    strengths: list[float] = field(default_factory=list)
    seconds: list[dict[str, float]] = field(default_factory=list)
    embeddings: dict[str, list[np.ndarray]] = field(default_factory=dict)


@dataclass
class Bench:
    """Everything that is opened once."""

    repository: Path
    settings: StageSettings
    judges: tuple[str, ...]
    ssim: float
    light_pool: str = ""

    def __post_init__(self) -> None:
        self.runtime = OnnxRuntime(self.repository, names={*self.settings.surrogates, *self.judges}, threads=1)
        self.finder = FaceFinder.load(self.repository, threads=1)
        self.reader = Reader(AlternateFaceFinder.load(self.repository, threads=1), second=self.finder)

    def enroller(self, condition: Condition) -> Enroller:
        """The service's own, as the condition wants it."""
        synthesis = {
            "synthesizer": condition.synthesizer,
            "elastic_px": condition.elastic_px,
            "skin_tone": condition.skin_tone,
            "jpeg": condition.jpeg,
            "light_pool": self.light_pool if condition.borrows_light else "",
        }
        settings = self.settings.model_copy(
            update={
                "geometry": condition.geometry,
                "synthesis": self.settings.synthesis.model_copy(update=synthesis),
                "perturb": self.settings.perturb.model_copy(update={"jpeg": condition.jpeg_after}),
                # That nine photos show one person is known here, and news photos of years ago may look otherwise.
                "intake": self.settings.intake.model_copy(update={"same_person_score": 0.0}),
            }
        )
        synthesizer = None if condition.varied else Unvaried()
        return Enroller(runtime=self.runtime, finder=self.finder, settings=settings, synthesizer=synthesizer)

    def learn(self, enroller: Enroller, person: Person, *, all_photos: bool) -> Mask:
        """One person's mask, from the enrollment photo or from all nine."""
        paths = [person.enroll_photo, *(person.photos.values() if all_photos else ())]
        photos = []
        for path in paths:
            data = path.read_bytes()
            face = self.reader.person_in(decode_photo(data).srgb_u8)
            photos.append(EnrollmentPhoto(data, face=face.box if face else None))
        return enroller.run(photos, progress=lambda _: None, cancelled=lambda: False)

    def probes(self, person: Person) -> Iterator[Probe]:
        """The person's probes in which both finders see the face."""
        for path in person.numbered(PROBES):
            data = path.read_bytes()
            srgb_u8 = decode_photo(data).srgb_u8
            seen = self.reader.see_clean(srgb_u8)
            face = None if seen is None else self.finder.landmarks_for(srgb_u8, seen.face.box)
            if seen is None or face is None:
                continue
            mesh = self.finder.mesh_of(srgb_u8, face.landmarks)
            yaw = None
            if mesh is not None:
                yaw = float(np.degrees(angles_of(fit_pose(face_shape().mean.astype(np.float64), mesh).rotation)[0]))
            yield Probe(person.name, data, srgb_u8, seen, face, mesh, yaw)

    def wear(self, mask: Mask, probes: Sequence[Probe], outcome: Outcome) -> None:
        """Cloak one person's probes at the strength that gives the wanted SSIM, upload them, look at them afresh."""
        strength = 1.0
        for _ in range(_STRENGTH_ROUNDS):
            ssims = [_ssim(mask, probe, strength) for probe in probes]
            if abs(fmean(ssims) - self.ssim) < _SSIM_CLOSE:
                break
            strength *= ((1 - self.ssim) / (1 - fmean(ssims))) ** 0.5
        cloaker = Cloaker(self.finder, _OneMask(mask), strength=strength, mark=False)
        for probe in probes:
            result = cloaker.cloak(probe.data, [Subject("user", box=probe.seen.face.box)])
            self.look(decode_photo(result.photo).srgb_u8, probe, outcome)
            outcome.ssims.append(_ssim(mask, probe, strength))
        outcome.strengths.append(strength)

    def look(self, delivered_srgb_u8: np.ndarray, probe: Probe, outcome: Outcome) -> None:
        """Add what a stranger sees of a delivered photo."""
        seen = self.reader.see_uploaded(delivered_srgb_u8, known=probe.seen.face, platform=PLATFORMS["jpeg85"])
        outcome.crops.append(seen.crop_u8)


class _OneMask:
    def __init__(self, mask: Mask) -> None:
        self._mask = mask

    def get(self, user_id: str) -> Mask:
        return self._mask


def _ssim(mask: Mask, probe: Probe, strength: float) -> float:
    """Of the aligned crop, with the mask alone and no JPEG."""
    cloaked = probe.srgb_u8.copy()
    add_in_place(cloaked, place_mask(mask, probe.face, mesh=probe.mesh, strength=strength))
    landmarks = probe.face.landmarks
    return visibility(aligned_crop(probe.srgb_u8, landmarks), aligned_crop(cloaked, landmarks)).ssim


def _gallery(bench: Bench, everybody: Sequence[Person], others: Sequence[Path]) -> tuple[dict[str, np.ndarray], list]:
    paths = [("", path) for path in others]
    paths += [(person.name, path) for person in everybody for path in person.numbered(GALLERY)]
    crops, owners = [], []
    for owner, path in paths:
        seen = bench.reader.see_clean(decode_photo(path.read_bytes()).srgb_u8)
        if seen is not None:
            crops.append(seen.crop_u8)
            owners.append(owner)
    return {judge: embed(bench.runtime, judge, crops) for judge in bench.judges}, owners


def _result(
    outcome: Outcome, probes: Sequence[Probe], gallery: dict[str, np.ndarray], owners: list[str], people: list[str]
) -> dict[str, Any]:
    """One condition's figures."""
    whose = [probe.owner for probe in probes]
    yaws = np.array([np.nan if probe.yaw_degrees is None else abs(probe.yaw_degrees) for probe in probes])
    result: dict[str, Any] = {"judges": {}}
    for judge, rows in gallery.items():
        probe_rows = np.stack(outcome.embeddings[judge])
        protected = protected_at(probe_rows, whose, gallery=rows, gallery_owners=owners, rank=1)
        margins = margins_of(probe_rows, whose, gallery=rows, gallery_owners=owners)
        own = np.asarray(whose, object)[:, None] == np.asarray(owners, object)[None, :]
        buckets = {}
        for low, high in YAW_BUCKETS:
            chosen = (yaws >= low) & (yaws < high)
            buckets[f"{low:.0f}-{high:.0f}"] = {
                "probes": int(chosen.sum()),
                "psr_at_1": round(float(protected[chosen].mean()), 4) if chosen.any() else None,
            }
        result["judges"][judge] = {
            "psr_at_1": figure(Tally.of(protected, whose, people=people), resamples=_RESAMPLES, seed=_SEED).as_json(),
            "psr_at_1_by_yaw_degrees": buckets,
            "cosine_to_own": round(float((probe_rows @ rows.T)[own].mean()), 4),
            "margin": round(float(margins.mean()), 4),
        }
    if outcome.ssims:
        result["ssim_crop112_mean"] = round(fmean(outcome.ssims), 4)
        result["strength_mean"] = round(fmean(outcome.strengths), 3)
        stages = outcome.seconds[0]
        result["seconds_median"] = {
            stage: round(median(each[stage] for each in outcome.seconds), 2) for stage in stages
        }
    return result


@click.command()
@click.option("--people", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--others", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--people-slice", default="21:32", show_default=True)
@click.option("--iterations", default=40, show_default=True)
@click.option("--ssim", default=0.86, show_default=True)
@click.option("--surrogate", "surrogates", multiple=True, default=("dlib_resnet", "mobileface"), show_default=True)
@click.option("--judge", "judges", multiple=True, default=("fr_feature", "faceres"), show_default=True)
@click.option("--repository", default=Path("model_repository"), type=click.Path(exists=True, path_type=Path))
@click.option("--condition", "wanted", multiple=True, help="Only these conditions, by name.")
@click.option("--levers", is_flag=True, help="Measure what is off by default, too.")
@click.option("--light-pool", type=click.Path(exists=True, dir_okay=False), help="Measure borrowed light, too.")
@click.option("--json", "json_path", required=True, type=click.Path(dir_okay=False, path_type=Path))
def main(
    *, people: Path, others: Path, people_slice: str, iterations: int, ssim: float, surrogates: tuple[str, ...],
    judges: tuple[str, ...], repository: Path, wanted: tuple[str, ...], levers: bool, light_pool: str | None,
    json_path: Path,
) -> None:  # fmt: skip
    """Measure all conditions; the file is written anew after each person."""
    import cv2

    if set(surrogates) & set(judges):
        raise click.UsageError("a judge must not be a surrogate")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    settings = StageSettings(
        surrogates=surrogates, perturb=PerturbSettings(iterations=iterations), synthesis=SynthesisSettings()
    )
    bench = Bench(repository, settings, judges, ssim, light_pool or "")
    conditions = [*CONDITIONS, *(LEVERS if levers else ()), *([BORROWED] if light_pool else [])]
    if unknown := set(wanted) - {condition.name for condition in conditions}:
        raise click.UsageError(f"no such condition: {', '.join(sorted(unknown))}")
    conditions = [condition for condition in conditions if not wanted or condition.name in wanted]
    chosen = read_people(people, selection=people_slice)
    gallery, owners = _gallery(bench, read_people(people), read_others(others))
    enrollers = {condition.name: bench.enroller(condition) for condition in conditions}
    outcomes = {name: Outcome() for name in ("no mask", *enrollers)}
    all_probes: list[Probe] = []
    for index, person in enumerate(chosen):
        probes = list(bench.probes(person))
        all_probes += probes
        for probe in probes:
            bench.look(probe.srgb_u8, probe, outcomes["no mask"])
        for condition in conditions:
            outcome = outcomes[condition.name]
            mask = bench.learn(enrollers[condition.name], person, all_photos=condition.all_photos)
            outcome.seconds.append(dict(mask.report["seconds"]))
            bench.wear(mask, probes, outcome)
        for outcome in outcomes.values():
            for judge in judges:
                outcome.embeddings.setdefault(judge, []).extend(embed(bench.runtime, judge, outcome.crops))
            outcome.crops.clear()
        done = [each.name for each in chosen[: index + 1]]
        document = {
            "schema": SCHEMA,
            "repeat": f"python -m benchmarks.stage_one --people PEOPLE --others OTHERS --people-slice {people_slice}"
            f" --iterations {iterations} --ssim {ssim}{' --levers' if levers else ''}"
            f"{' --light-pool POOL' if light_pool else ''}{''.join(f' --condition {name!r}' for name in wanted)}"
            " --json RESULT.json",
            **provenance(),
            "people": done,
            "people_photos_sha256": digest_of_photos([each.enroll_photo for each in chosen[: index + 1]]),
            "probes": len(all_probes),
            "gallery_photos": len(owners),
            "platform": "JPEG as delivered by the Cloaker, then " + PLATFORMS["jpeg85"].description,
            "surrogates": list(surrogates),
            "settings": settings.model_dump(mode="json", exclude={"synthesis": {"light_pool"}}),
            "equal_ssim_crop112": ssim,
            "conditions": {
                name: _result(outcome, all_probes, gallery, owners, done) for name, outcome in outcomes.items()
            },
        }
        write_json(json_path, document)
        click.echo(f"{person.name}: {len(all_probes)} probes", err=True)
    click.echo(_table(document))


def _table(document: dict[str, Any]) -> str:
    judges = list(document["conditions"]["no mask"]["judges"])
    lines = ["| variations, mask's frame | " + " | ".join(f"PSR@1 {judge}" for judge in judges) + " | SSIM | seconds |"]
    lines.append("|---" * (len(judges) + 3) + "|")
    for name, result in document["conditions"].items():
        cells = []
        for judge in judges:
            share = result["judges"][judge]["psr_at_1"]
            cells.append(f"{share['value']:.2f} [{share['low']:.2f}, {share['high']:.2f}]")
        seconds = sum(result.get("seconds_median", {}).values())
        lines.append(f"| {name} | {' | '.join(cells)} | {result.get('ssim_crop112_mean', 1):.3f} | {seconds:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
