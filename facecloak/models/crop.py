"""The aligned crop that every recognizer is fed, and the way from it to a recognizer's own input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facecloak.models.errors import SpecInvalid

CROP_SIZE = 112
"""Side in px of the one aligned crop that every recognizer is fed (ArcFace, arXiv 1801.07698)."""

ARCFACE_TEMPLATE_112 = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""Eyes, nose tip, mouth corners in px of the 112 crop (ArcFace, arXiv 1801.07698)."""

MAX_ROTATION_DEGREES = 3.0
"""Above this the served graph, which only scales and shifts, would misplace the eyes by more than 2 px of 112."""


@dataclass(frozen=True)
class CropTransform:
    """From the aligned 112 crop to the recognizer's own input: ``u = scale * x + offset_x`` (likewise y), in px.

    Pixel centers are whole numbers (the convention of cv2.warpAffine). Beyond the crop its border is repeated.
    """

    width: int = CROP_SIZE
    height: int = CROP_SIZE
    scale: float = 1.0
    offset_x: float = 0.0
    offset_y: float = 0.0

    @property
    def is_identity(self) -> bool:
        return self == CropTransform()


def crop_from_template(points: Sequence[Sequence[float]], *, width: int, height: int) -> CropTransform:
    """Fit scale and offset from the ArcFace 112 template to another one, least squares.

    Args:
        points: five (x, y) in px of the recognizer's own width x height input.

    Raises:
        SpecInvalid: the points coincide, or the template is rotated against ArcFace's by more than 3 degrees.
    """
    source = np.asarray(ARCFACE_TEMPLATE_112, np.float64)
    target = np.asarray(points, np.float64)
    if not np.isfinite(target).all():
        raise SpecInvalid("spec.toml: crop.template must hold finite numbers", field="crop.template")
    p, q = source - source.mean(0), target - target.mean(0)
    parallel, cross = float((p * q).sum()), float((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum())
    if parallel <= 0:
        raise SpecInvalid("spec.toml: crop.template is not an upright face", field="crop.template")
    rotation = abs(math.degrees(math.atan2(cross, parallel)))
    if rotation > MAX_ROTATION_DEGREES:
        raise SpecInvalid(
            f"spec.toml: crop.template is rotated by {rotation:.1f} degrees, at most {MAX_ROTATION_DEGREES}",
            field="crop.template",
        )
    scale = parallel / float((p * p).sum())
    offset = target.mean(0) - scale * source.mean(0)
    return CropTransform(width=width, height=height, scale=scale, offset_x=float(offset[0]), offset_y=float(offset[1]))
