"""One person's photos, enrolled in every way, cloaked, uploaded, and looked for by recognizers that no mask saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.stage_one.conditions import Condition, PhotoChoice, Unvaried
from enroll_service.pipeline import PipelineSettings
from enroll_service.pipeline.enroller import Enroller
from enroll_service.pipeline.errors import EnrollmentRefused
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from facecloak.cloaking.blend import add_in_place
from facecloak.cloaking.cloaker import Cloaker, MasksInMemory, Subject
from facecloak.cloaking.placement import place_mask
from facecloak.faces import Face, FaceFinder, aligned_crop
from facecloak.faces.pose import angles_of, fit_pose
from facecloak.faces.shape import face_shape
from facecloak.masks.mask import Mask
from facecloak.photos import decode_photo
from facecloak.recognizers.onnx_runtime import OnnxRuntime
from facecloak_evaluation.dataset import Person
from facecloak_evaluation.delivered_photo import mask_box
from facecloak_evaluation.face_extraction import ExtractedFace, FaceExtractor, embed
from facecloak_evaluation.independent_finder import AlternateFaceFinder
from facecloak_evaluation.metrics import margins_of, protected_at
from facecloak_evaluation.platforms import PLATFORMS
from facecloak_evaluation.visibility import crop_to_box, visibility, visibility_to_people

GALLERY = (1, 2, 3)
PROBES = (4, 5, 6, 7, 8)
NO_MASK = "no mask"
_SSIM_CLOSE = 0.002
_STRENGTH_ROUNDS = 4


@dataclass(frozen=True)
class BenchRound:
    """Recognizers that masks are learned against, and those that judge them."""

    surrogates: tuple[str, ...]
    judges: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Everything that is measured of each person."""

    repository: Path
    settings: PipelineSettings
    rounds: tuple[BenchRound, ...]
    conditions: tuple[Condition, ...]
    ssim: float

    @property
    def judges(self) -> tuple[str, ...]:
        """Of all rounds; each judges in one of them."""
        return tuple(judge for round_ in self.rounds for judge in round_.judges)


@dataclass(frozen=True)
class Gallery:
    """Clean photos that are looked through: by judge their embeddings (G, D), and whose they are."""

    embeddings: Mapping[str, np.ndarray]
    owners: tuple[str, ...]


@dataclass(frozen=True)
class Probe:
    """One photo of an evaluated person, as it is and as the services' finder sees it."""

    number: int
    data: bytes
    srgb_u8: np.ndarray
    seen: ExtractedFace
    face: Face
    mesh: np.ndarray | None
    yaw_degrees: float | None


class Bench:
    """Everything that is opened once."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        names = {name for round_ in plan.rounds for name in (*round_.surrogates, *round_.judges)}
        self._runtime = OnnxRuntime(plan.repository, names=names, threads=1)
        self._finder = FaceFinder.load(plan.repository, threads=1)
        self._extractor = FaceExtractor(AlternateFaceFinder.load(plan.repository, threads=1), second=self._finder)

    def gallery(self, people: Sequence[Person], others: Sequence[Path]) -> Gallery:
        """The strangers' photos and three of each person's."""
        paths = [("", path) for path in others]
        paths += [(person.name, path) for person in people for path in person.numbered(GALLERY)]
        crops, owners = [], []
        for owner, path in paths:
            seen = self._extractor.see_clean(decode_photo(path.read_bytes()).srgb_u8)
            if seen is not None:
                crops.append(seen.crop_u8)
                owners.append(owner)
        embeddings = {judge: embed(self._runtime, judge, crops) for judge in self._plan.judges}
        return Gallery(embeddings, tuple(owners))

    def measure(self, person: Person, gallery: Gallery) -> dict[str, Any]:
        """What became of a person's probes in every condition; JSON values, one a probe and judge.

        Raises:
            EnrollmentRefused: the person's enrollment photo does not qualify.
        """
        probes = list(self._probes(person))
        outcomes = {NO_MASK: self._judged([self._upload(probe.srgb_u8, probe) for probe in probes], person, gallery)}
        for condition in self._plan.conditions:
            outcome: dict[str, Any] = {"ssim": [], "people_see": [], "strength": [], "seconds": [], "judges": {}}
            for round_ in self._plan.rounds:
                crops: dict[int, np.ndarray] = {}
                enroller = self._enroller(condition, round_)
                for learned_from, judged in _masks_of(condition.photos, person, probes):
                    mask = self._learn(enroller, learned_from)
                    outcome["seconds"].append(dict(mask.report["seconds"]))
                    strength, ssim = self._strength(mask, judged)
                    outcome["strength"].append(round(strength, 4))
                    outcome["ssim"].append(round(ssim, 4))
                    outcome["people_see"] += [_people_see(mask, probe, strength) for probe in judged]
                    crops |= self._worn(mask, judged, strength=strength)
                ordered = [crops[probe.number] for probe in probes]
                outcome["judges"] |= self._judged(ordered, person, gallery, round_.judges)["judges"]
            outcomes[condition.name] = outcome
        yaws = [None if probe.yaw_degrees is None else round(probe.yaw_degrees, 1) for probe in probes]
        return {"yaw_degrees": yaws, "conditions": outcomes}

    def _enroller(self, condition: Condition, round_: BenchRound) -> Enroller:
        """The service's own, as the condition wants it."""
        settings = self._plan.settings
        morphed = settings.recipe.synthesis.morphed if condition.morphed else 0.0
        synthesis = settings.recipe.synthesis.model_copy(
            update={"elastic_px": condition.elastic_px, "morphed": morphed}
        )
        recipe = settings.recipe.model_copy(update={"geometry": condition.geometry, "synthesis": synthesis})
        settings = settings.model_copy(
            update={
                "surrogates": round_.surrogates,
                "synthesizer": condition.synthesizer,
                "recipe": recipe,
                # That the photos show one person is known here, and news photos of years ago may look otherwise.
                "intake": settings.intake.model_copy(update={"same_person_score": 0.0}),
            }
        )
        synthesizer = None if condition.varied else Unvaried()
        return Enroller(runtime=self._runtime, finder=self._finder, settings=settings, synthesizer=synthesizer)

    def _learn(self, enroller: Enroller, paths: Sequence[Path]) -> Mask:
        """A mask from the enrollment photo and those of the others that qualify."""
        photos = []
        for path in paths:
            data = path.read_bytes()
            face = self._extractor.person_in(decode_photo(data).srgb_u8)
            photos.append(EnrollmentPhoto(data, face=face.box if face else None))
        for _ in paths:
            try:
                return enroller.run(photos, progress=lambda _: None, cancelled=lambda: False, seed=0).masks[0]
            except EnrollmentRefused as error:
                unfit = int(error.metadata.get("photo", 0))
                if unfit == 0:
                    raise
                del photos[unfit]
        raise AssertionError("each refusal but the first photo's takes one photo away")

    def _probes(self, person: Person) -> Iterator[Probe]:
        """The person's probes in which both finders see the face."""
        for number in PROBES:
            for path in person.numbered((number,)):
                data = path.read_bytes()
                srgb_u8 = decode_photo(data).srgb_u8
                seen = self._extractor.see_clean(srgb_u8)
                face = None if seen is None else self._finder.landmarks_for(srgb_u8, seen.face.box)
                if seen is None or face is None:
                    continue
                mesh = self._finder.mesh_of(srgb_u8, face.landmarks)
                yaw = None
                if mesh is not None:
                    yaw = float(np.degrees(angles_of(fit_pose(face_shape().mean.astype(np.float64), mesh).rotation)[0]))
                yield Probe(number, data, srgb_u8, seen, face, mesh, yaw)

    def _strength(self, mask: Mask, probes: Sequence[Probe]) -> tuple[float, float]:
        """The strength that brings the probes to the wanted mean SSIM, and what they have with it."""
        strength = 1.0
        for _ in range(_STRENGTH_ROUNDS):
            ssim = fmean(_ssim(mask, probe, strength) for probe in probes)
            if abs(ssim - self._plan.ssim) < _SSIM_CLOSE:
                return strength, ssim
            strength *= ((1 - self._plan.ssim) / (1 - ssim)) ** 0.5
        return strength, fmean(_ssim(mask, probe, strength) for probe in probes)

    def _worn(self, mask: Mask, probes: Sequence[Probe], *, strength: float) -> dict[int, np.ndarray]:
        """By probe the aligned crop of the cloaked and uploaded photo."""
        cloaker = Cloaker(self._finder, MasksInMemory({"user": mask}), strength=strength, tag=False)
        crops = {}
        for probe in probes:
            result = cloaker.cloak(probe.data, [Subject("user", box=probe.seen.face.box)])
            crops[probe.number] = self._upload(decode_photo(result.photo).srgb_u8, probe)
        return crops

    def _upload(self, delivered_srgb_u8: np.ndarray, probe: Probe) -> np.ndarray:
        """What a stranger sees of a delivered photo, (112, 112, 3) uint8."""
        platform = PLATFORMS["jpeg85"]
        return self._extractor.see_uploaded(delivered_srgb_u8, known=probe.seen.face, platform=platform).crop_u8

    def _judged(
        self, crops: Sequence[np.ndarray], person: Person, gallery: Gallery, judges: Sequence[str] = ()
    ) -> dict[str, Any]:
        whose = [person.name] * len(crops)
        own = np.asarray(gallery.owners, object) == person.name
        found: dict[str, Any] = {}
        for judge in judges or self._plan.judges:
            rows, known = embed(self._runtime, judge, crops), gallery.embeddings[judge]
            missed = protected_at(rows, whose, gallery=known, gallery_owners=gallery.owners, rank=1)
            margins = margins_of(rows, whose, gallery=known, gallery_owners=gallery.owners)
            found[judge] = {
                "missed": missed.astype(int).tolist(),
                "margin": margins.round(4).tolist(),
                "cosine_to_own": (rows @ known[own].T).mean(axis=1).astype(float).round(4).tolist(),
            }
        return {"judges": found}


def _masks_of(photos: PhotoChoice, person: Person, probes: Sequence[Probe]) -> list[tuple[list[Path], Sequence[Probe]]]:
    """What each mask of a condition is learned from and which probes wear it."""
    everything = [person.enroll_photo, *person.photos.values()]
    if photos is PhotoChoice.ENROLLED:
        return [(everything[:1], probes)]
    if photos is PhotoChoice.ALL:
        return [(everything, probes)]
    masks: list[tuple[list[Path], Sequence[Probe]]] = []
    for half in (probes[::2], probes[1::2]):
        judged = {person.photos[probe.number] for probe in half}
        if half:
            masks.append(([path for path in everything if path not in judged], half))
    return masks


def _ssim(mask: Mask, probe: Probe, strength: float) -> float:
    """Of the aligned crop, with the mask alone and no JPEG."""
    landmarks, cloaked = probe.face.landmarks, _masked(mask, probe, strength)
    return visibility(aligned_crop(probe.srgb_u8, landmarks), aligned_crop(cloaked, landmarks)).ssim


def _people_see(mask: Mask, probe: Probe, strength: float) -> dict[str, float]:
    """SSIMULACRA2, FLIP and, where it is installed, JOD: the face at its own size, the mask alone and no JPEG."""
    box, cloaked = mask_box(probe.face.landmarks), _masked(mask, probe, strength)
    seen = visibility_to_people(crop_to_box(probe.srgb_u8, box), crop_to_box(cloaked, box))
    values = {"jod": seen.jod, "ssimulacra2": seen.ssimulacra2, "flip_99": seen.flip_99}
    return {name: round(value, 4) for name, value in values.items() if value is not None}


def _masked(mask: Mask, probe: Probe, strength: float) -> np.ndarray:
    cloaked = probe.srgb_u8.copy()
    add_in_place(cloaked, place_mask(mask, probe.face, mesh=probe.mesh, strength=strength))
    return cloaked
