"""What is learned from."""

from __future__ import annotations

from dataclasses import dataclass

from facecloak.faces import Box


@dataclass(frozen=True, eq=False, repr=False)
class EnrollmentPhoto:
    """A photo file to learn from.

    Attributes:
        data: the file.
        face: which face it is, px of the upright photo, where the photo shows several; None takes the only one.
    """

    data: bytes
    face: Box | None = None
