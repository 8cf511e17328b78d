"""Placing five landmarks precisely: look, align by what was seen, look again.

A landmark network answers best, and most alike, when the face sits in its input as it did in training. So the first
look is at the detector's square, each further one at the square that the last landmarks themselves align.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin
from typing import Protocol

import numpy as np

from facecloak.faces.align import (
    ARCFACE_TEMPLATE,
    aligning_transform,
    inverse_transform,
    scale_of,
    similarity_transform,
    transform_points,
)
from facecloak.faces.detector import Detection
from facecloak.faces.errors import InvalidLandmarks
from facecloak.models.crop import CROP_SIZE

# How far the refined face may stray from where the detector saw it, as a ratio of sizes and in sides of the detector's
# square. Beyond, it is another face, or none.
_SIZE_RATIO = (0.35, 2.8)
_MAX_SHIFT = 0.6
# An upright face settles in three looks, one tilted by 45 degrees in five.
_MAX_LOOKS = 6


class FivePoints(Protocol):
    """A network that places five landmarks in a square look at a photo."""

    identity: str
    settled_px: float
    """Looks end when the landmarks move less than this, in px of the aligned 112 crop."""
    aligned_center: tuple[float, float]
    """Center of the square that it wants, in px of the aligned 112 crop."""
    aligned_side: float
    """Side of that square, in px of the aligned 112 crop."""
    bias: np.ndarray
    """(5, 2), px of the aligned 112 crop: its points minus those of the aligners that recognizers were trained with."""

    def place(self, srgb_u8: np.ndarray, transform: np.ndarray) -> np.ndarray:
        """(5, 2) float64 landmarks in photo px, seen through ``transform`` (photo px to px of a square of side 1)."""
        ...


def square_transform(center: tuple[float, float], side: float, angle: float) -> np.ndarray:
    """(2, 3) similarity that takes a square of ``side`` px, turned clockwise by ``angle`` radians, to 0..1 x 0..1."""
    cosine, sine = cos(angle) / side, sin(angle) / side
    x, y = center
    # Pixel centers lie at whole numbers, so a photo's edge lies at -1/2.
    return np.array([[cosine, sine, 0.5 - cosine * x - sine * y], [-sine, cosine, 0.5 + sine * x - cosine * y]])


@dataclass(frozen=True, eq=False)
class Settled:
    """Five landmarks as several looks left them.

    Attributes:
        points: (5, 2) float64 in photo px, in ArcFace's convention.
        moved_px: how far the last look moved them, px of the aligned 112 crop.
    """

    points: np.ndarray
    moved_px: float


def refined_landmarks(
    srgb_u8: np.ndarray, detection: Detection, network: FivePoints, *, first_side: float
) -> Settled | None:
    """The five landmarks of a detection, or None where they stray from it.

    ``first_side`` is the side of the first look in sides of the detection.
    """
    transform = square_transform(detection.center, detection.side * first_side, detection.angle)
    settled = settled_landmarks(srgb_u8, network.place(srgb_u8, transform), network)
    return None if settled is None or strays(settled.points, detection) else settled


def settled_landmarks(srgb_u8: np.ndarray, points: np.ndarray, network: FivePoints) -> Settled | None:
    """Looks again from rough ``points`` on until they rest; otherwise as :func:`refined_landmarks`."""
    moved = float("inf")
    try:
        for _ in range(_MAX_LOOKS - 1):
            before, points = points, network.place(srgb_u8, aligned_square(points, network))
            moved = distance_px(before, points)
            if moved < network.settled_px:
                break
        points = unbiased(points, network)
    except InvalidLandmarks:
        return None
    return Settled(points, moved) if np.isfinite(points).all() else None


def unbiased(points: np.ndarray, network: FivePoints) -> np.ndarray:
    """Landmarks as ``network`` places them, moved to where ArcFace's aligners would place them."""
    aligned = aligning_transform(points)
    return transform_points(inverse_transform(aligned), transform_points(aligned, points) - network.bias)


def aligned_square(points: np.ndarray, network: FivePoints) -> np.ndarray:
    """The look that ``network`` wants at the face with these five landmarks: photo px to a square of side 1."""
    to_photo = inverse_transform(aligning_transform(points))
    center = transform_points(to_photo, np.array([network.aligned_center], np.float64))[0]
    angle = float(np.arctan2(to_photo[1, 0], to_photo[0, 0]))
    return square_transform((center[0], center[1]), network.aligned_side * scale_of(to_photo), angle)


def distance_px(one: np.ndarray, other: np.ndarray) -> float:
    """Root mean square distance of two sets of five landmarks, in px of the second's aligned 112 crop."""
    return float(np.sqrt(((other - one) ** 2).sum(axis=1).mean()) * scale_of(aligning_transform(other)))


def strays(points: np.ndarray, detection: Detection) -> bool:
    """Whether landmarks lie so far from a detection that they are another face's, or none."""
    size = CROP_SIZE / scale_of(similarity_transform(points, ARCFACE_TEMPLATE.astype(np.float64)))
    shift = np.linalg.norm(points.mean(axis=0) - detection.center)
    low, high = _SIZE_RATIO
    return not (low <= size / detection.side <= high and shift <= _MAX_SHIFT * max(detection.side, size))
