"""Whether what a caller says about a face, a box or five points, is about a face that is seen."""

from __future__ import annotations

import numpy as np

from facecloak.faces.face import Box, Face
from facecloak.faces.landmarks import distance_px

# A caller's five points must be this near to the face's own, px of the aligned crop: a third of the eye distance.
# Measured on 230 faces of 90 photos of 10 people, 100 photos of others and six groups. YuNet's points, 4 px off in the
# median and 12 at most, lead to the face in 228 of 228; so do points moved by 0.3 eye distances (99.6 %); the
# landmarks are then at most 4 px from the face's own. Of points moved by 0.5 to 1.5 eye distances, of the stored
# pixels of EXIF 3, 6 and 8, of a half, double or quarter size, of shares and percent (230 each), none is taken. The
# mesh alone, asked at the given points, takes 15 % of those that are a whole eye distance off.
MAX_HINT_DISTANCE_PX = 12.0
_MAX_HINT_RATIO = 3.0


def fits(face: Box, hint: Box) -> bool:
    """Whether a box that a caller gave is around this face: each holds the other's middle, and neither is more than
    three times as large as the other."""
    ratio = (hint.area / face.area) ** 0.5
    return 1 / _MAX_HINT_RATIO <= ratio <= _MAX_HINT_RATIO and _holds(hint, face.center) and _holds(face, hint.center)


def are_of(face: Face, landmarks: np.ndarray) -> bool:
    """Whether five points (5, 2) that a caller gave are this face's own."""
    return distance_px(landmarks, face.landmarks.astype(np.float64)) <= MAX_HINT_DISTANCE_PX


def _holds(box: Box, place: tuple[float, float]) -> bool:
    return box.x <= place[0] <= box.x + box.width and box.y <= place[1] <= box.y + box.height
