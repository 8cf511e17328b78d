"""Enrollment from photos to mask: intake, then the three stages. No gRPC, no store."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic.main import IncEx

import facecloak
from enroll_service.pipeline.errors import EnrollmentCancelled, MaskNotRefinable
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.intake.portrait import Portrait
from enroll_service.pipeline.intake.quality import shared_doubts
from enroll_service.pipeline.intake.selection import PhotoSelection, select_photos
from enroll_service.pipeline.ops.quantize import quantize, unquantize
from enroll_service.pipeline.ops.similarity_scale import as_crops
from enroll_service.pipeline.personalize.measure import measure, summary_of, warnings_for
from enroll_service.pipeline.personalize.own_size import shrink_to_view, similarity_seen
from enroll_service.pipeline.perturb.anchors import AnchorPool, mirrored, opposite
from enroll_service.pipeline.perturb.bank import learn_bank, measure_bank
from enroll_service.pipeline.perturb.ensemble import Target, own_identity
from enroll_service.pipeline.settings import StageSettings, Strength
from enroll_service.pipeline.synthesize.elastic import Synthesizer, as_shown
from enroll_service.pipeline.synthesize.face_morphing import FacePool, Morphing
from enroll_service.pipeline.synthesize.factory import build_synthesizer
from facecloak.faces import FaceFinder
from facecloak.masks.bank import MaskBank, StoredMask
from facecloak.masks.mask import Mask, MaskGeometry
from facecloak.recognizers import RecognizerRuntime

# Where each stage begins on the scale of Progress.fraction: shares of the time that an enrollment takes on two cores.
_SYNTHESIS_BEGINS = 0.02
_PERTURB_BEGINS = 0.25
_PERSONALIZE_BEGINS = 0.95

# Where files lie on this machine is no part of how a mask was made; versions hold what is in them.
_PATHS: Mapping[str, IncEx | bool] = {
    "anchors": True,
    "arc2face": {"weights", "base"},
    "synthesis": {"face_pool"},
}

# Variations that the mask is measured on. Their seed lies apart from the learning ones'.
_HELD_OUT = 16
_HELD_OUT_SEED_OFFSET = 1_000_003

# Variations that tell who the person is, beside the photos: more move the centroid by less than photos differ.
_TELLING = 48


@dataclass(frozen=True)
class Progress:
    """How far an enrollment is: the running stage, the share of the whole done (0..1), and a short sentence."""

    stage: str
    fraction: float
    detail: str = ""


class Enroller:
    """Makes masks. Holds no state between runs; several runs may go on at once.

    Args:
        runtime: where the recognizers run.
        finder: finds the faces.
        settings: everything that shapes the mask.
        synthesizer: stage one; by default the one that the settings name.

    Raises:
        RecognizerUnknown: a recognizer of the settings is not served by ``runtime``.
        SynthesizerUnavailable: the settings' synthesizer cannot be had here.
        FacePoolUnusable: ``settings.synthesis.face_pool`` names a pool that cannot be used.
        AnchorPoolUnusable: ``settings.anchors`` names a pool that cannot be used.
    """

    def __init__(
        self,
        *,
        runtime: RecognizerRuntime,
        finder: FaceFinder,
        settings: StageSettings,
        synthesizer: Synthesizer | None = None,
    ) -> None:
        self._runtime = runtime
        self._finder = finder
        self._settings = settings
        self._synthesizer = synthesizer or build_synthesizer(settings, runtime=runtime, finder=finder)
        self._morphing = _morphing(settings)
        self._pool = AnchorPool.load(Path(settings.anchors)) if settings.anchors else None
        for name in settings.recognizers:
            runtime.spec(name)
        for name in settings.surrogates:
            if self._pool is not None:
                self._pool.center(name, runtime=runtime)

    def run(
        self,
        photos: Sequence[EnrollmentPhoto],
        *,
        progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
        seed: int | None = None,
        strength: Strength | None = None,
        earlier: StoredMask | None = None,
        leave_out_unfit: bool = False,
    ) -> StoredMask:
        """Learn one mask, or a bank of them, from 1 to 16 photos of one person.

        Args:
            progress: told the state, from this thread, at least once an iteration.
            cancelled: asked at least once an iteration.
            seed: in place of the settings' seed.
            strength: in place of the settings' strength, and of their similarity where they have one.
            earlier: the person's mask from photos that are gone, to be refined with these.
            leave_out_unfit: leave out photos that do not qualify, as long as one is left; the report names them.

        Raises:
            MaskNotRefinable: ``earlier`` lies in another frame than what is learned from these photos.
            EnrollmentRefused: a photo does not qualify (its subclasses say why).
            EnrollmentCancelled: ``cancelled`` returned True.
            PhotoError: a photo cannot be decoded.
            RecognizerFailed: a recognizer gave up.
        """
        settings = self._settings if strength is None else self._settings.of_strength(strength)
        seed = settings.seed if seed is None else seed
        clock = _StageClock()

        def tell(stage: str, fraction: float, detail: str = "") -> None:
            if cancelled():
                raise EnrollmentCancelled("The enrollment was cancelled.")
            progress(Progress(stage=stage, fraction=fraction, detail=detail))

        tell("synthesize", 0.0, "looking for the face")
        admission = self._admit(photos, leave_out_unfit=leave_out_unfit)
        portraits = admission.portraits
        geometry = self._geometry(portraits)
        if earlier is not None and any(mask.geometry is not geometry for mask in earlier.masks):
            raise MaskNotRefinable("The stored mask lies in another frame than these photos ask for: enroll anew.")
        photos_before = _photo_count(earlier)
        tell("synthesize", _SYNTHESIS_BEGINS, "making variations")

        def making(done: float) -> None:
            tell("synthesize", _SYNTHESIS_BEGINS + done * (_PERTURB_BEGINS - _SYNTHESIS_BEGINS), "making variations")

        variations = self._synthesizer.synthesize(
            portraits, count=settings.synthesis.variations, seed=seed, checkpoint=making
        )
        shown = as_shown(portraits, in_face_frame=geometry is MaskGeometry.FACE)
        targets = self._targets(portraits, as_crops(variations.crops[:_TELLING]))
        clock.stage_ends("synthesize")

        def checkpoint(done: float, detail: str) -> None:
            tell("perturb", _PERTURB_BEGINS + done * (_PERSONALIZE_BEGINS - _PERTURB_BEGINS), detail)

        learned, mask_seconds = learn_bank(
            variations,
            shown=shown,
            runtime=self._runtime,
            targets=targets,
            settings=settings,
            seed=seed,
            checkpoint=checkpoint,
            earlier=[unquantize(mask.pixels) for mask in earlier.masks] if earlier is not None else (),
            morphing=self._morphing,
        )
        clock.stage_ends("perturb")

        def measuring(done: float = 0.0) -> None:
            tell("personalize", _PERSONALIZE_BEGINS, "measuring the mask")

        measuring()
        views = [portrait.view for portrait in portraits if portrait.view is not None]
        kept = settings.perturb.similarity_kept
        if views:
            learned = [shrink_to_view(one, views, geometry=geometry, kept=kept) for one in learned]
        masks = [quantize(one) for one in learned]
        held_out_seed = (seed + _HELD_OUT_SEED_OFFSET) % 2**63
        held_out = self._synthesizer.synthesize(portraits, count=_HELD_OUT, seed=held_out_seed, checkpoint=measuring)
        reports = []
        for pixels in masks:
            measuring()
            report = measure(pixels, shown=shown, held_out=held_out, runtime=self._runtime, targets=targets)
            if views:
                report["ssim_at_own_size"] = round(similarity_seen(pixels, views, geometry=geometry), 4)
            report["warnings"] = [
                *(one.warning for one in admission.left_out),
                *variations.warnings,
                *shared_doubts(portrait.doubts for portrait in portraits),
                *warnings_for(report, eye_distances_px=[portrait.eye_distance_px for portrait in portraits]),
            ]
            reports.append(report)
        if len(masks) > 1:
            bank = measure_bank(masks, held_out=held_out, runtime=self._runtime, names=settings.surrogates)
            reports[0] |= {"bank": bank | summary_of(reports) | {"mask_seconds": mask_seconds}}
        clock.stage_ends("personalize")
        for report in reports:
            report |= {
                "surrogates": list(settings.surrogates),
                "synthesis": {"synthesizer": self._synthesizer.identity, **variations.record},
                "photo_count": photos_before + len(portraits),
                "photos_before": photos_before,
                "photos_left_out": [one.record for one in admission.left_out],
                "strength": settings.perturb.strength.value if settings.perturb.ssim_target is None else "",
                "geometry": geometry.value,
                "settings": settings.model_dump(mode="json", exclude=_PATHS),
                "seconds": clock.seconds,
            }
        tell("personalize", 1.0, "done")
        versions = self._versions()
        return MaskBank.of(
            [
                Mask.new(pixels, seed=seed, versions=versions, report=report, geometry=geometry)
                for pixels, report in zip(masks, reports, strict=True)
            ]
        )

    def _admit(self, photos: Sequence[EnrollmentPhoto], *, leave_out_unfit: bool) -> PhotoSelection:
        return select_photos(
            photos,
            leave_out_unfit=leave_out_unfit,
            finder=self._finder,
            runtime=self._runtime,
            surrogates=self._settings.surrogates,
            settings=self._settings.intake,
        )

    def _geometry(self, portraits: Sequence[Portrait]) -> MaskGeometry:
        """The frame that the mask lies in: where no photo has a mesh, what was learned is of the aligned crop."""
        if all(portrait.mesh is None for portrait in portraits):
            return MaskGeometry.SQUARE
        return self._settings.geometry

    def _targets(self, portraits: Sequence[Portrait], variations: np.ndarray) -> dict[str, Target]:
        """For each surrogate the identity to leave and the anchor to approach. The same all through the run."""
        crops = np.concatenate([portrait.crop for portrait in portraits])
        own = np.concatenate([crops, variations])
        targets = {}
        for name in self._settings.surrogates:
            near = own_identity(self._runtime, name, own)
            if self._pool is None:
                far = opposite(near)
            else:
                far = mirrored(near, self._pool.center(name, runtime=self._runtime))
            targets[name] = Target(near=near, far=far)
        return targets

    def _versions(self) -> dict[str, str]:
        recognizers = {
            f"recognizer.{name}": self._runtime.spec(name).model_sha256 for name in self._settings.recognizers
        }
        return {
            "facecloak": facecloak.__version__,
            "torch": importlib.metadata.version("torch"),
            "finder": self._finder.identity,
            "synthesizer": self._synthesizer.identity,
            **({} if self._morphing is None else {"faces": self._morphing.pool.identity}),
            **recognizers,
        }


def _morphing(settings: StageSettings) -> Morphing | None:
    """How variations are morphed with other faces; None where the settings want none."""
    synthesis = settings.synthesis
    if not synthesis.morphed or not synthesis.morph:
        return None
    pool = FacePool.load(Path(synthesis.face_pool) if synthesis.face_pool else None)
    return Morphing(pool, share=synthesis.morphed, most=synthesis.morph)


def _photo_count(earlier: StoredMask | None) -> int:
    """Photos that a mask was learned from; masks of other releases may not say."""
    count = earlier.report.get("photo_count", 0) if earlier is not None else 0
    return count if isinstance(count, int) else 0


class _StageClock:
    """Wall seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    def stage_ends(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = round(now - self._began, 2)
        self._began = now
