"""Stage three: from a perturbation to the user's mask, with its own measurement on pictures it was not learned on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from enroll_service.pipeline.ops.jpeg import compressed
from enroll_service.pipeline.ops.quantize import unquantize
from enroll_service.pipeline.ops.similarity_scale import NEAREST_STRANGER, TYPICAL_SIMILARITY, as_crops, share_left
from enroll_service.pipeline.ops.ssim import structural_similarity
from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.perturb.ensemble import Target
from facecloak.recognizers import RecognizerRuntime

# What most platforms re-encode uploads to, or worse (method's condition "q85").
_JPEG_QUALITY = 85

# A surrogate still knows the person where more than this is left of what lifts the person above strangers: half way.
_WEAK_SHARE = 0.5

# Between the eyes of the enrolled photo, px: in the aligned crop it is 35, and what a smaller face lacks is made up.
_COMFORTABLE_EYE_DISTANCE_PX = 30


def measure(
    pixels: np.ndarray,
    *,
    shown: Variations,
    held_out: Variations,
    runtime: RecognizerRuntime,
    targets: Mapping[str, Target],
) -> dict[str, Any]:
    """What the mask does, as JSON values.

    Args:
        pixels: (112, 112, 3) int8 mask.
        shown: the enrolled photos as they are.
        held_out: variations that the mask was not learned on.

    Returns:
        ``ssim`` and ``psnr_db`` of the enrolled crops, ``max_level``, ``chroma_share`` (share of the mask's energy
        that is color); ``similarities``: by surrogate the mean cosine to the person ``before`` and ``after``, both
        through JPEG 85, and its ``psr_estimate`` where the recognizer's usual similarities are known; ``psr_estimate``:
        the mean of these, None without any.
    """
    mask = unquantize(pixels)
    masked = shown.masked(mask).round()
    before, after = _through_jpeg(held_out.crops), _through_jpeg(held_out.masked(mask))
    similarities = {name: _similarities(name, before, after, runtime, target) for name, target in targets.items()}
    energy = float(mask.square().sum())
    color = float((mask - mask.mean(dim=1, keepdim=True)).square().sum())
    return {
        "condition": f"held-out variations of the enrolled photos, JPEG {_JPEG_QUALITY} 4:2:0, seen by the surrogates",
        "variations": len(held_out),
        "similarities": similarities,
        "psr_estimate": _mean_estimate(similarities),
        "ssim": round(float(structural_similarity(shown.crops, masked).mean()), 4),
        "psnr_db": round(float(peak_signal_noise_ratio(shown.crops.numpy(), masked.numpy(), data_range=255)), 2)
        if energy
        else None,
        "max_level": int(np.abs(pixels.astype(np.int16)).max()),
        "chroma_share": round(color / energy, 4) if energy else 0.0,
    }


def _similarities(
    name: str, before: np.ndarray, after: np.ndarray, runtime: RecognizerRuntime, target: Target
) -> dict[str, float]:
    """One surrogate's similarities to the person, and the share of masked variations that it would match to a stranger.

    Variations of one photo are more alike than two photos of a person are. So what a mask leaves of a variation's
    similarity (0: a stranger's, 1: all of it) is laid on the scale between two photos; matched to a stranger is what
    then lies below the most similar of 400 strangers.
    """
    cosines = [runtime.embed(name, crops) @ target.near[0] for crops in (before, after)]
    pair = dict(zip(("before", "after"), (round(float(cosine.mean()), 4) for cosine in cosines), strict=True))
    if name in TYPICAL_SIMILARITY:
        stranger, same = TYPICAL_SIMILARITY[name]
        left = (cosines[1] - stranger) / np.maximum(cosines[0] - stranger, 1e-6)
        missed = stranger + left * (same - stranger) < NEAREST_STRANGER[name]
        pair["psr_estimate"] = round(float(missed.mean()), 4)
    return pair


def _mean_estimate(similarities: Mapping[str, Mapping[str, float]]) -> float | None:
    estimates = [pair["psr_estimate"] for pair in similarities.values() if "psr_estimate" in pair]
    return round(fmean(estimates), 4) if estimates else None


def summary_of(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the masks of a bank come to together, from what :func:`measure` and :func:`warnings_for` gave for each: mean
    ``ssim``, ``similarities`` and ``psr_estimate``, and every warning once."""
    similarities = {
        name: {when: round(fmean(report["similarities"][name][when] for report in reports), 4) for when in pair}
        for name, pair in reports[0]["similarities"].items()
    }
    return {
        "ssim": round(fmean(report["ssim"] for report in reports), 4),
        "similarities": similarities,
        "psr_estimate": _mean_estimate(similarities),
        "warnings": list(dict.fromkeys(warning for report in reports for warning in report["warnings"])),
    }


def warnings_for(report: Mapping[str, Any], *, eye_distances_px: Sequence[float]) -> list[str]:
    """Sentences that the user should see; empty for a mask that is as good as usual."""
    warnings = []
    known = {name: pair for name, pair in report["similarities"].items() if name in TYPICAL_SIMILARITY}
    weak = [
        name
        for name, pair in known.items()
        if share_left(name, before=pair["before"], after=pair["after"]) > _WEAK_SHARE
    ]
    if len(weak) * 2 > len(known):
        warnings.append("The mask is weak: most surrogates still find the masked variations similar to the person.")
    if max(eye_distances_px) < _COMFORTABLE_EYE_DISTANCE_PX:
        warnings.append("The enrolled face is small; a larger photo gives a better mask.")
    return warnings


def _through_jpeg(crops: Tensor) -> np.ndarray:
    """Crops (N, 3, 112, 112) after JPEG 85 with 4:2:0 chroma, as float32."""
    return as_crops(compressed(crops, [_JPEG_QUALITY] * len(crops)))
