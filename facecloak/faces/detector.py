"""What a detector is, and the search over a photo that every detector shares."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from facecloak.faces.align import inverse_transform, scale_of, transform_points
from facecloak.faces.views import (
    CanvasView,
    WorkingCopy,
    canvas_of,
    chained,
    parts_of,
    tile_views,
    whole_view,
    working_copy_of,
)
from facecloak.limits import MAX_SUBJECTS

MAX_FACES = MAX_SUBJECTS
"""Bound on the faces of one photo, and so on the time that a crowd costs."""

_GRAY = 127
_MAX_IOU = 0.3  # mediapipe, face_detection: min_suppression_threshold; boxes of neighbors overlap little
# A face whose long side exceeds the overlap of two tiles may be cut in both; the whole view shows it well.
_LARGEST_IN_TILE = 0.33
_EDGE_PX = 3.0
_PADDED_ZOOM = 1 / 1.6

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CanvasDetections:
    """What a detector saw: ``boxes`` (N, 4) x1 y1 x2 y2, ``scores`` (N,), ``angles`` (N,) in radians clockwise, and
    ``points`` (N, 5, 2), rough landmarks, where it places any."""

    boxes: np.ndarray
    scores: np.ndarray
    angles: np.ndarray
    points: np.ndarray | None = None

    @property
    def sides(self) -> np.ndarray:
        """(N,) of squares of the boxes' areas."""
        return np.sqrt(np.prod(self.boxes[:, 2:] - self.boxes[:, :2], axis=1))


@dataclass(frozen=True)
class Detection:
    """A place where a face seems to be, in photo px: the center and side of a square, the head's tilt, a score 0..1,
    and (5, 2) rough landmarks where the detector places any."""

    center: tuple[float, float]
    side: float
    angle: float
    score: float
    points: np.ndarray | None = None

    def seen_in(self, copy: WorkingCopy) -> Detection:
        """The same place in px of a copy of the photo."""
        to_copy = inverse_transform(copy.to_photo)
        x, y = transform_points(to_copy, np.array([self.center]))[0].tolist()
        points = None if self.points is None else transform_points(to_copy, self.points)
        return Detection((x, y), self.side * scale_of(to_copy), self.angle, self.score, points)


class BoxDetector(Protocol):
    """A network that finds face boxes on a canvas of fixed size."""

    canvas: tuple[int, int]
    """Width and height of the input in px."""
    identity: str

    def detect(self, canvas_srgb_u8: np.ndarray) -> CanvasDetections: ...


def search(srgb_u8: np.ndarray, detector: BoxDetector) -> list[Detection]:
    """At most 64 places of faces in a photo, best score first.

    Faces from 24 px (or 1/53 of the photo's long side, where that is more; of a panorama's, 1/17 of the short side) up
    to the whole photo. A photo larger than three canvases is looked at again in overlapping tiles; one where nothing
    was found, again with a wide margin, for a face that fills it.
    """
    return search_in(WorkingCopy(srgb_u8, np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])), detector)


def search_in(whole: WorkingCopy, detector: BoxDetector) -> list[Detection]:
    """As :func:`search`, in a copy of a photo that is at hand in no larger size."""
    parts = [(working_copy_of(part), size_in_photo(part)) for part in parts_of(whole)]
    found = merged([look(copy, view, detector) for copy, size in parts for view in views_of(copy, size, detector)])
    return found or merged([look(copy, padded(copy, detector), detector) for copy, _ in parts])


def views_of(copy: WorkingCopy, size: tuple[int, int], detector: BoxDetector) -> list[CanvasView]:
    """All of a copy, and closer looks where its ``size``, px of the photo, is large."""
    height, width = copy.srgb_u8.shape[:2]
    canvas, (photo_width, photo_height) = detector.canvas, size
    tiles = tile_views(width=width, height=height, photo_width=photo_width, photo_height=photo_height, canvas=canvas)
    return [whole_view(width=width, height=height, canvas=canvas), *tiles]


def padded(copy: WorkingCopy, detector: BoxDetector) -> CanvasView:
    """All of a copy with a wide margin, for a face that fills it."""
    height, width = copy.srgb_u8.shape[:2]
    return whole_view(width=width, height=height, canvas=detector.canvas, zoom=_PADDED_ZOOM)


def size_in_photo(part: WorkingCopy) -> tuple[int, int]:
    """Width and height of what a copy shows, px of the photo."""
    height, width = part.srgb_u8.shape[:2]
    return round(width * part.to_photo[0, 0]), round(height * part.to_photo[1, 1])


def look(copy: WorkingCopy, view: CanvasView, detector: BoxDetector) -> CanvasDetections:
    """The detections of one view, in photo px."""
    width, height = detector.canvas
    canvas, transform = canvas_of(copy.srgb_u8, view.transform, width=width, height=height, fill=_GRAY)
    seen = detector.detect(canvas)
    keep = np.isfinite(seen.boxes).all(axis=1) & (seen.boxes[:, 2:] > seen.boxes[:, :2]).all(axis=1)
    if any(view.cuts):
        keep &= (seen.boxes[:, 2:] - seen.boxes[:, :2]).max(axis=1, initial=0) <= _LARGEST_IN_TILE * max(width, height)
        limits = (0, 0, width, height)
        for edge, cut in enumerate(view.cuts):
            if cut:
                inside = seen.boxes[:, edge] - limits[edge]
                keep &= (inside if edge < 2 else -inside) > _EDGE_PX
    return moved(seen, keep, chained(inverse_transform(transform), copy.to_photo))


def moved(seen: CanvasDetections, keep: np.ndarray, to_photo: np.ndarray) -> CanvasDetections:
    """Those of ``keep`` (N,) in photo px, under a (2, 3) similarity that may turn by quarters."""
    # A box's corners are edges of pixels, whose centers are whole numbers.
    corners = transform_points(to_photo, seen.boxes[keep].reshape(-1, 2) - 0.5).reshape(-1, 2, 2)
    points = seen.points
    if points is not None:
        points = points[keep]
        points = transform_points(to_photo, points.reshape(-1, 2)).reshape(points.shape)
    turn = float(np.arctan2(to_photo[1, 0], to_photo[0, 0]))
    return CanvasDetections(
        boxes=np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1),
        scores=seen.scores[keep],
        angles=seen.angles[keep] + turn,
        points=points,
    )


def merged(parts: list[CanvasDetections]) -> list[Detection]:
    """At most 64 of what one detector saw in several looks, best score first, each face once."""
    boxes = np.concatenate([part.boxes for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    angles = np.concatenate([part.angles for part in parts])
    placed = [part.points for part in parts if part.points is not None]
    points = np.concatenate(placed) if len(placed) == len(parts) else None
    detections = []
    for index in best_boxes(boxes, scores, max_iou=_MAX_IOU, limit=MAX_FACES):
        x1, y1, x2, y2 = boxes[index].tolist()
        center, side = ((x1 + x2) / 2, (y1 + y2) / 2), ((x2 - x1) * (y2 - y1)) ** 0.5
        own = None if points is None else points[index]
        detections.append(Detection(center, side, float(angles[index]), float(scores[index]), own))
    if len(detections) == MAX_FACES:
        log.info("a photo shows at least as many faces as are looked at")
    return detections


def best_boxes(boxes: np.ndarray, scores: np.ndarray, *, max_iou: float, limit: int) -> list[int]:
    """Greedy non-maximum suppression: indices of at most ``limit`` boxes (N, 4; x1 y1 x2 y2), best score first.

    Takes at most ``limit`` x N steps, whatever the boxes.
    """
    remaining = np.argsort(-scores, kind="stable")
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    kept: list[int] = []
    while remaining.size and len(kept) < limit:
        best, remaining = int(remaining[0]), remaining[1:]
        kept.append(best)
        upper = np.maximum(boxes[best, :2], boxes[remaining, :2])
        lower = np.minimum(boxes[best, 2:], boxes[remaining, 2:])
        shared = np.prod(np.maximum(lower - upper, 0), axis=1)
        remaining = remaining[shared <= max_iou * (areas[best] + areas[remaining] - shared)]
    return kept
