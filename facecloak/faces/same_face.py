"""Whether two sightings are of one face."""

from __future__ import annotations

import numpy as np

from facecloak.faces.cascade import SAME_MIDDLE
from facecloak.faces.detector import Detection
from facecloak.faces.face import Face

# Two detections whose landmarks end within this share of the eye distance were of one face.
_SAME_FACE = 0.5
_MOST_SHARED = 0.4


def is_of(detection: Detection, face: Face) -> bool:
    """Whether a detection is of a face that is known."""
    side = float(np.sqrt(face.box.area))
    distance = np.hypot(detection.center[0] - face.box.center[0], detection.center[1] - face.box.center[1])
    return bool(distance < SAME_MIDDLE * side and 0.4 < detection.side / side < 2.5)


def overlap(one: Face, other: Face) -> bool:
    """Whether two faces, as they are, cannot both be there."""
    return one.box.iou(other.box) > _MOST_SHARED


def is_same(one: Face, other: Face) -> bool:
    distance = np.linalg.norm(one.landmarks - other.landmarks, axis=1).mean()
    return bool(distance < _SAME_FACE * max(one.eye_distance_px, other.eye_distance_px))
