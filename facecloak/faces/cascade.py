"""A quick detector before a thorough one: most photos are settled by a look or two, and no face is lost by that."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facecloak.faces.align import inverse_transform
from facecloak.faces.detector import (
    BoxDetector,
    CanvasDetections,
    Detection,
    look,
    merged,
    moved,
    padded,
    size_in_photo,
    views_of,
)
from facecloak.faces.views import WorkingCopy, chained, parts_of, whole_view, working_copy_of

# The quick detector sees faces that are tilted by up to some 40 degrees.
_TILTED = np.deg2rad(30)
_QUARTER_TURNS = (cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE)
_SURELY_UPRIGHT = 0.92
_GRAY = 127
SAME_MIDDLE = 0.35
"""In sides of the larger: detections whose middles are as near are of one face."""


@dataclass(frozen=True)
class Cascade:
    """Two detectors.

    Attributes:
        quick: finds upright faces, with landmarks, on a square canvas.
        thorough: finds faces at any tilt, but takes longer.
    """

    quick: BoxDetector
    thorough: BoxDetector

    @property
    def canvas_side(self) -> int:
        """Of the quick detector, px."""
        return self.quick.canvas[0]

    def glance(self, copy: WorkingCopy) -> list[Detection]:
        """What one look shows of the faces that are upright or nearly so; where it is not sure of any, a second one
        shows those, twice as large, that are turned by a quarter or a half.

        The quick detector takes turned faces for upright ones, too, but is less sure of them: of 28 news photos 0.93 to
        0.95, turned by a quarter at most 0.86, by a half at most 0.91. So each place is seen as its surest look has it.
        """
        upright = self._upright(copy)
        if upright.scores.max(initial=0) >= _SURELY_UPRIGHT:
            return apart(merged([upright]))
        return apart(merged([upright, self._turned_together(copy)]))

    def search(self, whole: WorkingCopy) -> list[Detection]:
        """At most 64 places of each detector, the quick one's first; one face may come twice. For the copy see
        :func:`facecloak.faces.detector.search_in`.

        Faces that are upright are looked for as small as 1/53 of the long side, tilted ones of 1/32. Closer looks for
        tilted ones are taken where there are any, or where nothing is upright.
        """
        parts = [(working_copy_of(part), size_in_photo(part)) for part in parts_of(whole)]
        quick = [look(copy, view, self.quick) for copy, size in parts for view in views_of(copy, size, self.quick)]
        upright = merged(quick)
        quick += [self._turned_together(copy) for copy, _ in parts]
        views = [(copy, views_of(copy, size, self.thorough)) for copy, size in parts]
        looks = [look(copy, at_part[0], self.thorough) for copy, at_part in views]
        tilts = [_angle(face) for face in (*merged(quick), *merged(looks)) if abs(_angle(face)) > _TILTED]
        if upright and not tilts:
            return [*apart(merged(quick)), *merged(looks)]
        turns = _turns_for(tilts) if tilts or upright else _QUARTER_TURNS
        quick += [one for copy, size in parts for turn in turns for one in self._turned(copy, size, turn)]
        looks += [look(copy, view, self.thorough) for copy, at_part in views for view in at_part[1:]]
        found = [*apart(merged(quick)), *merged(looks)]
        return found or merged([look(copy, padded(copy, self.thorough), self.thorough) for copy, _ in parts])

    def _upright(self, copy: WorkingCopy) -> CanvasDetections:
        height, width = copy.srgb_u8.shape[:2]
        return look(copy, whole_view(width=width, height=height, canvas=self.quick.canvas), self.quick)

    def _turned(self, copy: WorkingCopy, size: tuple[int, int], turn: int) -> list[CanvasDetections]:
        """What the quick detector sees in a copy turned by one of the quarters."""
        turned = _turned_copy(copy, turn)
        across = size if turn == cv2.ROTATE_180 else size[::-1]
        return [look(turned, view, self.quick) for view in views_of(turned, across, self.quick)]

    def _turned_together(self, copy: WorkingCopy) -> CanvasDetections:
        """What one look shows of a copy turned by each of the quarters, side by side at half the size."""
        side = self.canvas_side // 2
        height, width = copy.srgb_u8.shape[:2]
        scale = side / max(height, width)
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(copy.srgb_u8, size, interpolation=way)
        factors = np.array([width / size[0], height / size[1]])
        to_photo = chained(np.hstack([np.diag(factors), (factors[:, None] - 1) / 2]), copy.to_photo)
        whole = WorkingCopy(small, to_photo)
        canvas = np.full((2 * side, 2 * side, 3), _GRAY, np.uint8)
        places = ((0, 0), (side, 0), (0, side))
        turned = [_turned_copy(whole, turn) for turn in _QUARTER_TURNS]
        for (x, y), part in zip(places, turned, strict=True):
            rows, columns = part.srgb_u8.shape[:2]
            canvas[y : y + rows, x : x + columns] = part.srgb_u8
        seen = self.quick.detect(canvas)
        parts = []
        for (x, y), part in zip(places, turned, strict=True):
            low, high = seen.boxes[:, :2] - (x, y), seen.boxes[:, 2:] - (x, y)
            inside = np.asarray((low >= -side / 8).all(axis=1) & (high <= side * 9 / 8).all(axis=1))
            back = np.array([[1.0, 0.0, -x], [0.0, 1.0, -y]])
            parts.append(moved(seen, inside, chained(back, part.to_photo)))
        points = [part.points for part in parts if part.points is not None]
        return CanvasDetections(
            boxes=np.concatenate([part.boxes for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
            angles=np.concatenate([part.angles for part in parts]),
            points=np.concatenate(points) if points else None,
        )


def apart(detections: list[Detection]) -> list[Detection]:
    """Without those whose middle is that of a surer one of another size: a turned face has boxes of any size.

    Args:
        detections: best score first.
    """
    kept: list[Detection] = []
    for face in detections:
        if not any(is_within(face, surer) for surer in kept):
            kept.append(face)
    return kept


def is_within(one: Detection, other: Detection) -> bool:
    """Whether two detections are about the same middle."""
    distance = np.hypot(one.center[0] - other.center[0], one.center[1] - other.center[1])
    return bool(distance < SAME_MIDDLE * max(one.side, other.side))


def _angle(face: Detection) -> float:
    """-pi .. pi."""
    return float(np.arctan2(np.sin(face.angle), np.cos(face.angle)))


def _turns_for(tilts: list[float]) -> list[int]:
    """The quarters that bring faces of these tilts near upright."""
    by_quarter = {-1: cv2.ROTATE_90_CLOCKWISE, 1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, -2: cv2.ROTATE_180}
    quarters = [
        round(tilt / (np.pi / 2)) for tilt in tilts if abs(tilt - round(tilt / (np.pi / 2)) * np.pi / 2) < _TILTED
    ]
    return list(dict.fromkeys(by_quarter[quarter] for quarter in quarters if quarter))


def _turned_copy(copy: WorkingCopy, turn: int) -> WorkingCopy:
    """A copy turned by a quarter or a half."""
    height, width = copy.srgb_u8.shape[:2]
    to_turned = {
        cv2.ROTATE_90_CLOCKWISE: [[0.0, -1.0, height - 1.0], [1.0, 0.0, 0.0]],
        cv2.ROTATE_180: [[-1.0, 0.0, width - 1.0], [0.0, -1.0, height - 1.0]],
        cv2.ROTATE_90_COUNTERCLOCKWISE: [[0.0, 1.0, 0.0], [-1.0, 0.0, width - 1.0]],
    }[turn]
    back = inverse_transform(np.array(to_turned))
    return WorkingCopy(cv2.rotate(copy.srgb_u8, turn), chained(back, copy.to_photo))
