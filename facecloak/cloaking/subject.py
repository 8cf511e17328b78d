"""Who is in a photo, where the caller says their face is, and what was done to them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from facecloak.errors import InvalidInput
from facecloak.faces import ARCFACE_TEMPLATE, Box, aligning_transform
from facecloak.users import DEFAULT_TENANT, User

_HINT_MARGIN = 0.5
_FARTHEST_PX = 1e6
# Measured over 310 faces found in LFW and group photos: 0.5-9.6 template px RMS after alignment, 16.5 and more with the
# eyes or x and y swapped; a drawn full profile has 14.1, five points in a row 14.9.
_WORST_HINT_RESIDUAL_PX = 14.5


class InvalidFaceHint(InvalidInput):
    """A face hint that cannot be one: outside the photo, not finite, or five points that form no face."""

    reason = "INVALID_FACE_HINT"


class Outcome(StrEnum):
    """What was done; :attr:`is_cloaked` tells whether the photo that came back contains a mask of this person."""

    CLOAKED = "CLOAKED"
    ALREADY_CLOAKED = "ALREADY_CLOAKED"
    """The photo's tag says that it contains this very mask: nothing was added again."""
    NO_FACE = "NO_FACE"
    """No face in the photo, or none that the hint fits."""
    NO_MASK = "NO_MASK"
    """The user has not been enrolled."""
    AMBIGUOUS_FACE = "AMBIGUOUS_FACE"
    """Several faces and no hint: nothing is guessed."""
    FACE_TOO_SMALL = "FACE_TOO_SMALL"
    FACE_ALREADY_TAKEN = "FACE_ALREADY_TAKEN"
    """Another subject of the same call has this face."""
    OLDER_CLOAK = "OLDER_CLOAK"
    """The photo's tag says that it contains a mask of this user from before the last enrollment: nothing was added."""
    MASK_LOST = "MASK_LOST"
    """Hardly anything of the mask would be left in the photo, as in one compressed too strongly: nothing was added."""

    @property
    def is_cloaked(self) -> bool:
        """Whether the photo contains a mask of this person, put there now or before."""
        return self in (Outcome.CLOAKED, Outcome.ALREADY_CLOAKED, Outcome.OLDER_CLOAK)


@dataclass(frozen=True, eq=False)
class Subject:
    """A user who is in a photo, and where, as far as the caller knows; a given ``landmarks`` goes before a ``box``.

    Attributes:
        user_id: whose mask to add.
        box: a face box in upright px.
        landmarks: (5, 2) upright px: eye on the image's left, eye on its right, nose tip, mouth corners left and right.
        tenant: whose user it is.
    """

    user_id: str
    box: Box | None = None
    landmarks: np.ndarray | None = None
    tenant: str = DEFAULT_TENANT

    @property
    def user(self) -> User:
        """Whose mask to add; raises InvalidUserId, InvalidTenant."""
        return User(self.tenant, self.user_id)

    @property
    def has_hint(self) -> bool:
        return self.box is not None or self.landmarks is not None

    @property
    def is_finite(self) -> bool:
        """Whether the hint holds five finite points, or a box, which cannot hold anything else."""
        if self.landmarks is None:
            return self.box is not None
        points = np.asarray(self.landmarks)
        return points.shape == (5, 2) and bool(np.isfinite(points).all()) and bool(np.abs(points).max() <= _FARTHEST_PX)


def box_of_landmarks(landmarks: np.ndarray) -> Box:
    """A face's box by its five landmarks alone: about what a detector would give."""
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    width, height = np.maximum(high - low, 1e-3)
    return Box(float(low[0] - width / 2), float(low[1] - height / 2), float(2 * width), float(2 * height))


def check_hint(subject: Subject, *, width: int, height: int, index: int) -> None:
    """Raises :class:`InvalidFaceHint`. ``width`` and ``height`` are the upright photo's; ``index`` names the
    subject."""
    if subject.landmarks is not None:
        _check_landmarks(np.asarray(subject.landmarks), width=width, height=height, index=index)
    elif subject.box is not None:
        inside = subject.box.intersection_area(Box(0, 0, width, height))
        if inside < subject.box.area / 2:
            raise InvalidFaceHint("A face box lies outside the photo.", subject=index)


def _check_landmarks(landmarks: np.ndarray, *, width: int, height: int, index: int) -> None:
    if landmarks.shape != (5, 2) or not np.isfinite(landmarks).all():
        raise InvalidFaceHint("Five landmarks of two finite numbers each are needed.", subject=index)
    landmarks = landmarks.astype(np.float64)
    spread = np.ptp(landmarks, axis=0).max()
    size = np.array([width, height])
    beyond = np.maximum(-landmarks, landmarks - size).max()
    center = landmarks.mean(axis=0)
    if beyond > _HINT_MARGIN * spread or (center < 0).any() or (center > size).any():
        raise InvalidFaceHint("The landmarks lie outside the photo.", subject=index)
    if spread < 1:
        raise InvalidFaceHint("The landmarks all lie in one place.", subject=index)
    to_crop = aligning_transform(landmarks)
    aligned = landmarks @ to_crop[:, :2].T + to_crop[:, 2]
    residual = float(np.sqrt(((aligned - ARCFACE_TEMPLATE) ** 2).sum(axis=1).mean()))
    if residual > _WORST_HINT_RESIDUAL_PX:
        raise InvalidFaceHint("The five landmarks do not form a face: are they in the stated order?", subject=index)
