"""From a photo to the 112x112 crop that recognizers see, and back.

The frame is ArcFace's: a similarity transform (rotation, one scale, translation) that brings five landmarks as near as
possible, in the least squares sense, to a fixed template.
"""

from __future__ import annotations

from math import hypot, sqrt

import cv2
import numpy as np

from facecloak.faces.errors import InvalidLandmarks
from facecloak.faces.face import checked_landmarks
from facecloak.faces.pixels import checked_photo
from facecloak.models.crop import ARCFACE_TEMPLATE_112, CROP_SIZE

ALIGNED_SIZE = CROP_SIZE
"""Side of the aligned crop in px."""

ARCFACE_TEMPLATE = np.array(ARCFACE_TEMPLATE_112, dtype=np.float32)
ARCFACE_TEMPLATE.setflags(write=False)

# Averaging 16x16 samples a crop pixel serves faces of up to 1800 px; above that the samples merely lie apart.
_MAX_OVERSAMPLING = 16


def similarity_transform(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The least squares similarity from ``source`` points to ``target`` points, both (N, 2): a (2, 3) float64 matrix.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991. In the plane
    it needs no SVD: with points as complex numbers it is a linear regression, and it never mirrors.
    Raises :class:`InvalidLandmarks` where the points give no scale.
    """
    # Of five points, NumPy's calls take ten times as long as the arithmetic.
    pairs = [(x, y, u, v) for (x, y), (u, v) in zip(source.tolist(), target.tolist(), strict=True)]
    mean_x, mean_y, mean_u, mean_v = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
    spread = along = across = 0.0
    for x, y, u, v in pairs:
        x, y, u, v = x - mean_x, y - mean_y, u - mean_u, v - mean_v
        spread += x * x + y * y
        along += x * u + y * v
        across += x * v - y * u
    if spread < 1e-9:
        raise InvalidLandmarks("the landmarks all lie in one place")
    cosine, sine = along / spread, across / spread
    if hypot(cosine, sine) < 1e-9:
        raise InvalidLandmarks("the landmarks do not form a face")
    return np.array(
        [
            [cosine, -sine, mean_u - cosine * mean_x + sine * mean_y],
            [sine, cosine, mean_v - sine * mean_x - cosine * mean_y],
        ]
    )


def aligning_transform(landmarks: np.ndarray) -> np.ndarray:
    """The (2, 3) float64 similarity from photo px to px of the aligned crop, for five landmarks (5, 2) in photo px."""
    return similarity_transform(checked_landmarks(landmarks), ARCFACE_TEMPLATE.astype(np.float64))


def inverse_transform(transform: np.ndarray) -> np.ndarray:
    """The inverse of a (2, 3) affine transform, as (2, 3) float64."""
    (a, b, x), (c, d, y) = transform.tolist()
    area = a * d - b * c
    if area == 0:
        raise np.linalg.LinAlgError("Singular matrix")
    a, b, c, d = d / area, -b / area, -c / area, a / area
    return np.array([[a, b, -a * x - b * y], [c, d, -c * x - d * y]])


def transform_points(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """``points`` (N, 2) moved by a (2, 3) affine ``transform``."""
    return points @ transform[:, :2].T + transform[:, 2]


def scale_of(transform: np.ndarray) -> float:
    """How many target px one source px becomes under a (2, 3) similarity."""
    (a, b), (c, d) = transform[:, :2].tolist()
    return sqrt(abs(a * d - b * c))


def warp_crop(srgb_u8: np.ndarray, transform: np.ndarray, *, width: int, height: int, fill: int = 0) -> np.ndarray:
    """The (height, width, ...) crop of a photo under a (2, 3) similarity from photo px to crop px, bilinear.

    Where the photo shrinks, each crop pixel is the mean of a grid of samples about one photo px apart, so that fine
    texture does not alias. Outside the photo the crop has the level ``fill``.
    """
    oversampling = int(np.clip(np.round(1 / max(scale_of(transform), 1e-6)), 1, _MAX_OVERSAMPLING))
    # Pixel centers lie at whole numbers: crop pixel u becomes fine pixels around (u + 1/2) * oversampling - 1/2.
    fine = transform * oversampling
    fine[:, 2] += (oversampling - 1) / 2
    size = (width * oversampling, height * oversampling)
    crop = cv2.warpAffine(
        srgb_u8, fine, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(fill, fill, fill)
    )
    return crop if oversampling == 1 else cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA)


def aligned_crop(srgb_u8: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The (112, 112, 3) uint8 RGB crop that recognizers see, black outside the photo (as insightface's `norm_crop`).

    ``srgb_u8`` is (H, W, 3) uint8 RGB; ``landmarks`` (5, 2) in its px. Raises :class:`InvalidPixels`,
    :class:`InvalidLandmarks`.
    """
    return warp_crop(checked_photo(srgb_u8), aligning_transform(landmarks), width=ALIGNED_SIZE, height=ALIGNED_SIZE)
