"""The mask held to its budget at the photo's own size, where it shows more than the aligned crop says."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from skimage.metrics import structural_similarity
from torch import Tensor

from enroll_service.pipeline.intake.view import PhotoView
from enroll_service.pipeline.ops.quantize import quantize
from facecloak.masks.mask import Mask, MaskGeometry

# Rounding to whole levels moves the similarity by less than _NEAR; two or three rounds do.
_ROUNDS = 12
_NEAR = 0.0005
_BACK_OFF = 0.998


def similarity_seen(mask: Mask, views: Sequence[PhotoView]) -> float:
    """Structural similarity of the views with and without a mask, their mean; the figure that an evaluation reports of
    a face at its own size. At least one view."""
    return fmean(
        float(structural_similarity(view.srgb_u8, view.masked(mask), channel_axis=2, data_range=255)) for view in views
    )


def shrink_to_view(paint: Tensor, views: Sequence[PhotoView], *, geometry: MaskGeometry, kept: float) -> Tensor:
    """What a mask paints (1, 3, 112, 112), in levels, made weaker until ``views`` keep the similarity ``kept``; the
    very same where they do."""
    for _ in range(_ROUNDS):
        similarity = similarity_seen(Mask.new(quantize(paint), seed=0, geometry=geometry), views)
        if similarity >= kept - _NEAR:
            break
        paint = paint * (((1 - kept) / (1 - similarity)) ** 0.5 * _BACK_OFF)
    return paint
