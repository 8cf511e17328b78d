"""What is learned from."""

from __future__ import annotations

from dataclasses import dataclass

from facecloak.errors import InvalidInput
from facecloak.faces import Box
from facecloak.limits import MAX_ENROLLMENT_PHOTOS


@dataclass(frozen=True, eq=False, repr=False)
class EnrollmentPhoto:
    """A photo file to learn from.

    Attributes:
        data: the file.
        face: which face it is, px of the upright photo, where the photo shows several; None takes the only one.
    """

    data: bytes
    face: Box | None = None


def check_photo_count(count: int) -> None:
    """Raises InvalidInput unless an enrollment may have this many photos."""
    if not 1 <= count <= MAX_ENROLLMENT_PHOTOS:
        raise InvalidInput(
            f"give 1 to {MAX_ENROLLMENT_PHOTOS} photos", field="photos", limit=MAX_ENROLLMENT_PHOTOS, count=count
        )
