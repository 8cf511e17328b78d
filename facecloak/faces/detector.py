"""What a detector is, and the search over a photo that every detector shares."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from facecloak.faces.align import inverse_transform, scale_of, transform_points, warp_crop
from facecloak.faces.views import CanvasView, WorkingCopy, parts_of, tile_views, whole_view, working_copy_of
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
    """What a detector saw: ``boxes`` (N, 4) x1 y1 x2 y2, ``scores`` (N,), ``angles`` (N,) in radians clockwise."""

    boxes: np.ndarray
    scores: np.ndarray
    angles: np.ndarray


@dataclass(frozen=True)
class Detection:
    """A place where a face seems to be, in photo px: the center and side of a square, the head's tilt, a score 0..1."""

    center: tuple[float, float]
    side: float
    angle: float
    score: float

    def seen_in(self, copy: WorkingCopy) -> Detection:
        """The same place in px of a copy of the photo."""
        to_copy = inverse_transform(copy.to_photo)
        x, y = transform_points(to_copy, np.array([self.center]))[0].tolist()
        return Detection((x, y), self.side * scale_of(to_copy), self.angle, self.score)


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
    parts = [(working_copy_of(part), _size_in_photo(part)) for part in parts_of(whole)]
    looks = []
    for copy, (photo_width, photo_height) in parts:
        height, width = copy.srgb_u8.shape[:2]
        views = [
            whole_view(width=width, height=height, canvas=detector.canvas),
            *tile_views(
                width=width, height=height, photo_width=photo_width, photo_height=photo_height, canvas=detector.canvas
            ),
        ]
        looks += [_look(copy, view, detector) for view in views]
    found = _merge(looks)
    if not found:
        found = _merge([_look(copy, _padded(copy, detector), detector) for copy, _ in parts])
    return found


def _padded(copy: WorkingCopy, detector: BoxDetector) -> CanvasView:
    height, width = copy.srgb_u8.shape[:2]
    return whole_view(width=width, height=height, canvas=detector.canvas, zoom=_PADDED_ZOOM)


def _size_in_photo(part: WorkingCopy) -> tuple[int, int]:
    """Width and height of what a copy shows, px of the photo."""
    height, width = part.srgb_u8.shape[:2]
    return round(width * part.to_photo[0, 0]), round(height * part.to_photo[1, 1])


def _look(copy: WorkingCopy, view: CanvasView, detector: BoxDetector) -> CanvasDetections:
    """The detections of one view, in photo px."""
    width, height = detector.canvas
    canvas = warp_crop(copy.srgb_u8, view.transform, width=width, height=height, fill=_GRAY)
    seen = detector.detect(canvas)
    keep = np.isfinite(seen.boxes).all(axis=1) & (seen.boxes[:, 2:] > seen.boxes[:, :2]).all(axis=1)
    if any(view.cuts):
        keep &= (seen.boxes[:, 2:] - seen.boxes[:, :2]).max(axis=1, initial=0) <= _LARGEST_IN_TILE * max(width, height)
        limits = (0, 0, width, height)
        for edge, cut in enumerate(view.cuts):
            if cut:
                inside = seen.boxes[:, edge] - limits[edge]
                keep &= (inside if edge < 2 else -inside) > _EDGE_PX
    boxes, scores, angles = seen.boxes[keep], seen.scores[keep], seen.angles[keep]
    corners = transform_points(inverse_transform(view.transform), boxes.reshape(-1, 2) - 0.5)
    return CanvasDetections(transform_points(copy.to_photo, corners).reshape(-1, 4), scores, angles)


def _merge(parts: list[CanvasDetections]) -> list[Detection]:
    boxes = np.concatenate([part.boxes for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    angles = np.concatenate([part.angles for part in parts])
    detections = []
    for index in best_boxes(boxes, scores, max_iou=_MAX_IOU, limit=MAX_FACES):
        x1, y1, x2, y2 = boxes[index].tolist()
        side = ((x2 - x1) * (y2 - y1)) ** 0.5
        detections.append(Detection(((x1 + x2) / 2, (y1 + y2) / 2), side, float(angles[index]), float(scores[index])))
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
