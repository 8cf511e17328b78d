"""Stage three: from a perturbation to the user's mask, with its own measurement on pictures it was not learned on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean

import numpy as np
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from enroll_service.pipeline.ops.jpeg import compressed
from enroll_service.pipeline.ops.mask_parts import MaskParts
from enroll_service.pipeline.ops.similarity_scale import NEAREST_STRANGER, TYPICAL_SIMILARITY, as_crops, share_left
from enroll_service.pipeline.ops.ssim import structural_similarity
from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.ops.visibility import CropEyes
from enroll_service.pipeline.perturb.ensemble import Target
from enroll_service.pipeline.report import BankReport, DisplacementReport, EnrollmentReport, Measurement, Similarity
from facecloak.cloaking.visibility import predicted
from facecloak.masks.displacement import displacement_size
from facecloak.masks.mask import Mask
from facecloak.recognizers import RecognizerRuntime

# What most platforms re-encode uploads to, or worse (method's condition "q85").
_JPEG_QUALITY = 85

# A surrogate still knows the person where more than this is left of what lifts the person above strangers: half way.
_WEAK_SHARE = 0.5

# Between the eyes of the enrolled photo, px: in the aligned crop it is 35, and what a smaller face lacks is made up.
_COMFORTABLE_EYE_DISTANCE_PX = 30


def measure(
    mask: Mask,
    *,
    shown: Variations,
    held_out: Variations,
    runtime: RecognizerRuntime,
    targets: Mapping[str, Target],
) -> Measurement:
    """What the mask does: visible change on the enrolled crops, similarity on pictures that it was not learned on.

    Args:
        shown: the enrolled photos as they are.
        held_out: variations that the mask was not learned on.
        targets: by surrogate, whose person it is.
    """
    parts = MaskParts.of(mask)
    masked = shown.masked(parts.paint, parts.displacement).round()
    moved = shown.crops if parts.displacement is None else shown.displaced(parts.displacement)
    before, after = (
        _through_jpeg(crops) for crops in (held_out.crops, held_out.masked(parts.paint, parts.displacement))
    )
    similarities = {name: _similarities(name, before, after, runtime, target) for name, target in targets.items()}
    jod, ssimulacra2 = _seen(parts.paint, shown)
    changes = bool(mask.paints or mask.moves)
    psnr = peak_signal_noise_ratio(shown.crops.numpy(), masked.numpy(), data_range=255) if changes else None
    return Measurement(
        condition=f"held-out variations of the enrolled photos, JPEG {_JPEG_QUALITY} 4:2:0, seen by the surrogates",
        variations=len(held_out),
        similarities=similarities,
        psr_estimate=_mean_estimate(similarities),
        jod=jod,
        ssimulacra2=ssimulacra2,
        displacement=DisplacementReport(**asdict(displacement_size(mask.displacement))) if mask.moves else None,
        ssim=round(float(structural_similarity(shown.crops, masked).mean()), 4),
        ssim_painted=round(float(structural_similarity(moved, masked).mean()), 4),
        psnr_db=None if psnr is None else round(float(psnr), 2),
        max_level=int(np.abs(mask.pixels.astype(np.int16)).max()),
        chroma_share=_chroma_share(parts.paint),
    )


def _seen(paint: Tensor, shown: Variations) -> tuple[float, float]:
    """JOD and SSIMULACRA2 that the crops keep, predicted, their means."""
    visibilities = CropEyes(shown.crops).visibilities(shown.warped(paint)).numpy()
    jod, ssimulacra2 = np.mean([predicted(one) for one in visibilities], axis=0)
    return round(float(jod), 3), round(float(ssimulacra2), 2)


def _chroma_share(paint: Tensor) -> float:
    energy = float(paint.square().sum())
    color = float((paint - paint.mean(dim=1, keepdim=True)).square().sum())
    return round(color / energy, 4) if energy else 0.0


def _similarities(
    name: str, before: np.ndarray, after: np.ndarray, runtime: RecognizerRuntime, target: Target
) -> Similarity:
    """One surrogate's similarities to the person, and the share of masked variations that it would match to a stranger.

    Variations of one photo are more alike than two photos of a person are. So what a mask leaves of a variation's
    similarity (0: a stranger's, 1: all of it) is put on the scale between two photos; matched to a stranger is what
    then lies below the most similar of 400 strangers.
    """
    cosines = [runtime.embed(name, crops) @ target.near[0] for crops in (before, after)]
    mean_before, mean_after = (round(float(cosine.mean()), 4) for cosine in cosines)
    estimate = None
    if name in TYPICAL_SIMILARITY:
        stranger, same = TYPICAL_SIMILARITY[name]
        left = (cosines[1] - stranger) / np.maximum(cosines[0] - stranger, 1e-6)
        missed = stranger + left * (same - stranger) < NEAREST_STRANGER[name]
        estimate = round(float(missed.mean()), 4)
    return Similarity(before=mean_before, after=mean_after, psr_estimate=estimate)


def _mean_estimate(similarities: Mapping[str, Similarity]) -> float | None:
    estimates = [one.psr_estimate for one in similarities.values() if one.psr_estimate is not None]
    return round(fmean(estimates), 4) if estimates else None


def bank_report(
    reports: Sequence[EnrollmentReport], *, between: Mapping[str, float], mask_seconds: Sequence[float]
) -> BankReport:
    """What the masks of a bank come to together: means of their reports, and every warning once.

    Args:
        between: by surrogate, how alike photos with different masks are.
        mask_seconds: wall time of learning each mask.
    """
    similarities = {
        name: Similarity(
            before=round(fmean(report.similarities[name].before for report in reports), 4),
            after=round(fmean(report.similarities[name].after for report in reports), 4),
            psr_estimate=_mean_estimate({str(index): one.similarities[name] for index, one in enumerate(reports)}),
        )
        for name in reports[0].similarities
    }
    return BankReport(
        masks=len(reports),
        similarity_between_masks=dict(between),
        mask_seconds=tuple(mask_seconds),
        ssim=round(fmean(report.ssim for report in reports), 4),
        jod=_mean([report.jod for report in reports]),
        ssimulacra2=_mean([report.ssimulacra2 for report in reports]),
        similarities=similarities,
        psr_estimate=_mean_estimate(similarities),
        warnings=tuple(dict.fromkeys(warning for report in reports for warning in report.warnings)),
    )


def _mean(figures: Sequence[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return round(fmean(known), 3) if known else None


def warnings_for(measured: Measurement, *, eye_distances_px: Sequence[float]) -> list[str]:
    """Sentences that the user should see; empty for a mask that is as good as usual."""
    warnings = []
    known = {name: pair for name, pair in measured.similarities.items() if name in TYPICAL_SIMILARITY}
    weak = [
        name for name, pair in known.items() if share_left(name, before=pair.before, after=pair.after) > _WEAK_SHARE
    ]
    if len(weak) * 2 > len(known):
        warnings.append("The mask is weak: most surrogates still find the masked variations similar to the person.")
    if max(eye_distances_px) < _COMFORTABLE_EYE_DISTANCE_PX:
        warnings.append("The enrolled face is small; a larger photo gives a better mask.")
    return warnings


def _through_jpeg(crops: Tensor) -> np.ndarray:
    """Crops (N, 3, 112, 112) after JPEG 85 with 4:2:0 chroma, as float32."""
    return as_crops(compressed(crops, [_JPEG_QUALITY] * len(crops)))
