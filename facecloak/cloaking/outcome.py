"""What was done to one subject of a photo."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """Everything but CLOAKED and ALREADY_CLOAKED means: this person is not protected in this photo."""

    CLOAKED = "CLOAKED"
    ALREADY_CLOAKED = "ALREADY_CLOAKED"
    """The photo's marker says that it bears this very mask: nothing was added again."""
    NO_FACE = "NO_FACE"
    """No face in the photo, or none in the given box."""
    NO_MASK = "NO_MASK"
    """The user has not been enrolled."""
    AMBIGUOUS_FACE = "AMBIGUOUS_FACE"
    """Several faces, no hint, and none is dominant: give a hint."""
    FACE_TOO_SMALL = "FACE_TOO_SMALL"
    FACE_ALREADY_TAKEN = "FACE_ALREADY_TAKEN"
    """Another subject of the same call has this face."""
