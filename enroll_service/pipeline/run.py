"""One enrollment, from photos to a mask: one function a stage, as the README's diagram has them.

intake -> synthesize -> perturb -> personalize
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic.main import IncEx

from enroll_service.pipeline.context import Material, RunContext
from enroll_service.pipeline.errors import MaskNotRefinable
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.intake.portrait import Portrait
from enroll_service.pipeline.intake.quality import shared_doubts
from enroll_service.pipeline.intake.selection import PhotoSelection, select_photos
from enroll_service.pipeline.intake.view import PhotoView
from enroll_service.pipeline.ops.mask_parts import MaskParts
from enroll_service.pipeline.ops.quantize import quantize
from enroll_service.pipeline.ops.similarity_scale import as_crops
from enroll_service.pipeline.personalize.measure import bank_report, measure, warnings_for
from enroll_service.pipeline.personalize.own_size import shrink_to_view, similarity_seen
from enroll_service.pipeline.perturb.bank import Learned, learn_bank, similarity_between_masks
from enroll_service.pipeline.perturb.targets import targets_of
from enroll_service.pipeline.perturb.task import LearningTask
from enroll_service.pipeline.progress import Stage
from enroll_service.pipeline.report import EnrollmentReport, PhotoLeftOut
from enroll_service.pipeline.settings import PipelineSettings
from enroll_service.pipeline.strengths import MaskKind
from enroll_service.pipeline.synthesize.elastic import as_shown
from facecloak.masks.bank import MaskBank, StoredMask
from facecloak.masks.mask import Mask, MaskGeometry

# Where files lie on this machine is no part of how a mask was made; versions hold what is in them.
_PATHS: Mapping[str, IncEx | bool] = {"anchors": True, "face_pool": True, "arc2face": {"weights", "base"}}

# Variations that the mask is measured on. Their seed lies apart from the learning ones'.
_HELD_OUT = 16
_HELD_OUT_SEED_OFFSET = 1_000_003

# Variations that tell who the person is, beside the photos: more move the centroid by less than photos differ.
_TELLING = 48


def run(photos: Sequence[EnrollmentPhoto], context: RunContext, *, leave_out_unfit: bool) -> StoredMask:
    """All stages; see :meth:`enroll_service.pipeline.enroller.Enroller.run`."""
    with context.timed(Stage.SYNTHESIZE):
        selection = intake(photos, context, leave_out_unfit=leave_out_unfit)
        material = synthesize(selection, context)
    with context.timed(Stage.PERTURB):
        learned = perturb(material, context)
    with context.timed(Stage.PERSONALIZE):
        masks = personalize(learned, material, selection, context)
    context.tell(Stage.PERSONALIZE, 1.0, "done")
    return with_reports(masks, context)


def intake(photos: Sequence[EnrollmentPhoto], context: RunContext, *, leave_out_unfit: bool) -> PhotoSelection:
    """The one usable face of each photo, all of one person."""
    context.tell(Stage.SYNTHESIZE, 0.0, "looking for the face")
    return select_photos(
        photos,
        leave_out_unfit=leave_out_unfit,
        finder=context.finder,
        runtime=context.runtime,
        surrogates=context.settings.surrogates,
        settings=context.settings.intake,
    )


def synthesize(selection: PhotoSelection, context: RunContext) -> Material:
    """Stage one: varied pictures of the person, and what the surrogates take the person for."""
    portraits = selection.portraits
    geometry = geometry_for(portraits, context.settings, earlier=context.earlier)
    context.making(0.0)
    variations = context.synthesizer.synthesize(
        portraits, count=context.settings.recipe.synthesis.variations, seed=context.seed, checkpoint=context.making
    )
    targets = targets_of(
        np.concatenate([portrait.crop for portrait in portraits]),
        as_crops(variations.crops[:_TELLING]),
        runtime=context.runtime,
        names=context.settings.surrogates,
        pool=context.anchor_pool,
    )
    shown = as_shown(portraits, in_face_frame=geometry is MaskGeometry.FACE)
    return Material(portraits, geometry, shown, variations, targets)


def perturb(material: Material, context: RunContext) -> list[Learned]:
    """Stage two: the masks, learned on the variations against the surrogates."""
    earlier = () if context.earlier is None else tuple(MaskParts.of(mask) for mask in context.earlier.masks)
    task = LearningTask(
        variations=material.variations,
        shown=material.shown,
        targets=material.targets,
        runtime=context.runtime,
        settings=context.settings,
        seed=context.seed,
        morphing=context.morphing,
        earlier=earlier,
    )
    return learn_bank(task, checkpoint=lambda done, detail: context.within(Stage.PERTURB, done, detail))


def personalize(
    learned: Sequence[Learned], material: Material, selection: PhotoSelection, context: RunContext
) -> list[tuple[Mask, EnrollmentReport]]:
    """Stage three: each mask as it is kept, in whole units, and what it does."""

    def measuring(_done: float = 0.0) -> None:
        context.within(Stage.PERSONALIZE, 0.0, "measuring the mask")

    measuring()
    portraits = material.portraits
    views = [portrait.view for portrait in portraits if portrait.view is not None]
    masks = [_kept_form(one.parts, views, material, context) for one in learned]
    held_out = context.synthesizer.synthesize(
        portraits, count=_HELD_OUT, seed=(context.seed + _HELD_OUT_SEED_OFFSET) % 2**63, checkpoint=measuring
    )
    common = _report_fields(material, selection, context)
    reports = []
    for mask in masks:
        measuring()
        measured = measure(
            mask, shown=material.shown, held_out=held_out, runtime=context.runtime, targets=material.targets
        )
        if views:
            measured = measured.model_copy(update={"ssim_at_own_size": round(similarity_seen(mask, views), 4)})
        warnings = (
            *(one.warning for one in selection.left_out),
            *material.variations.warnings,
            *shared_doubts(portrait.doubts for portrait in portraits),
            *warnings_for(measured, eye_distances_px=[portrait.eye_distance_px for portrait in portraits]),
        )
        reports.append(EnrollmentReport(**dict(measured), **common, warnings=warnings))
    if len(masks) > 1:
        between = similarity_between_masks(
            [MaskParts.of(mask) for mask in masks],
            held_out=held_out,
            runtime=context.runtime,
            names=context.settings.surrogates,
        )
        bank = bank_report(reports, between=between, mask_seconds=[one.seconds for one in learned])
        reports[0] = reports[0].model_copy(update={"bank": bank})
    return list(zip(masks, reports, strict=True))


def _kept_form(parts: MaskParts, views: Sequence[PhotoView], material: Material, context: RunContext) -> Mask:
    """A mask in whole units. One that only paints is held to its similarity at the photo's own size; others follow
    every photo when they are applied, the enrolled one, too."""
    settings, paint = context.settings, parts.paint
    if settings.kind is MaskKind.PAINT and views:
        paint = shrink_to_view(paint, views, geometry=material.geometry, kept=settings.similarity_kept)
    budget = settings.budget if settings.kind is MaskKind.FULL else None
    return Mask.new(
        quantize(paint),
        seed=context.seed,
        versions=context.versions,
        geometry=material.geometry,
        displacement=parts.displacement_units(longest_px=settings.budget.displacement_largest_px),
        target_jod=None if budget is None else budget.jod,
        target_ssimulacra2=None if budget is None else budget.ssimulacra2,
    )


def with_reports(masks: Sequence[tuple[Mask, EnrollmentReport]], context: RunContext) -> StoredMask:
    """The masks with their reports and the time that all stages took, as a store keeps them."""
    seconds = {"seconds": dict(context.seconds)}
    kept = [replace(mask, report=report.model_copy(update=seconds).document()) for mask, report in masks]
    return MaskBank.of(kept)


def geometry_for(
    portraits: Sequence[Portrait], settings: PipelineSettings, *, earlier: StoredMask | None
) -> MaskGeometry:
    """The frame that the mask lies in: where no photo has a mesh, what is learned is of the aligned crop. Raises
    MaskNotRefinable where ``earlier`` lies in another."""
    has_mesh = any(portrait.mesh is not None for portrait in portraits)
    geometry = settings.recipe.geometry if has_mesh else MaskGeometry.SQUARE
    if earlier is not None and any(mask.geometry is not geometry for mask in earlier.masks):
        raise MaskNotRefinable("The stored mask lies in another frame than these photos ask for: enroll anew.")
    return geometry


def _report_fields(material: Material, selection: PhotoSelection, context: RunContext) -> dict[str, Any]:
    """What all masks of a run say alike."""
    settings, earlier = context.settings, context.earlier
    before = 0 if earlier is None else EnrollmentReport.read(earlier.report).photo_count
    own_similarity = settings.kind is MaskKind.PAINT and settings.recipe.ssim_paint.ssim_target is not None
    synthesis = material.variations.record.model_copy(update={"synthesizer": context.synthesizer.identity})
    return {
        "surrogates": settings.surrogates,
        "synthesis": synthesis,
        "photo_count": before + len(material.portraits),
        "photos_before": before,
        "photos_left_out": tuple(PhotoLeftOut(photo=one.photo, reason=one.reason) for one in selection.left_out),
        "strength": "" if own_similarity else settings.strength.value,
        "kind": settings.kind.value,
        "geometry": material.geometry.value,
        "settings": settings.model_dump(mode="json", exclude=dict(_PATHS)),
    }
