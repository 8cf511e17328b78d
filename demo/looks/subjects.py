"""Who is looked at: scikit-image's astronaut, the demo's portraits, and people of a folder as `evaluate` reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from demo.photos import NamedPhoto, default_photos
from facecloak_evaluation.dataset import Person

ASTRONAUT_SIDES_PX = (512, 1024)
_QUALITY = 95


@dataclass(frozen=True)
class LooksSubject:
    """One person: the photo that the mask is learned from, and those that wear it.

    Attributes:
        name: for the page and for file names.
        remark: what a viewer should know of the choice; may be empty.
        may_be_shown: whether pictures of them may leave this machine.
    """

    name: str
    enrolled: NamedPhoto
    photos: tuple[NamedPhoto, ...]
    remark: str = ""
    may_be_shown: bool = False


def astronaut() -> LooksSubject:
    """scikit-image's astronaut (NASA, public domain) at 512 px, and the same enlarged."""
    from skimage import data

    pixels = data.astronaut()
    photos = [
        NamedPhoto(f"astronaut-{side}.jpg", _jpeg(cv2.resize(pixels, (side, side), interpolation=cv2.INTER_CUBIC)))
        for side in ASTRONAUT_SIDES_PX
    ]
    return LooksSubject(
        name="astronaut",
        enrolled=photos[0],
        photos=tuple(photos),
        remark="The enrolled photo is also the one that is cloaked, so similarities flatter the mask.",
        may_be_shown=True,
    )


def portraits(cache: Path) -> LooksSubject:
    """The demo's photos of one public figure, faces of 200 px and more; brought once and kept in `cache`.

    Raises:
        DemoFailed: they are not there and cannot be brought.
    """
    chosen = default_photos(cache)
    return LooksSubject(name="portraits", enrolled=chosen.enrolled, photos=chosen.cloaked, may_be_shown=True)


def people(found: Sequence[Person], *, probe: int) -> list[LooksSubject]:
    """Each person's enrollment photo, and one other: that of the number `probe`, or the last."""
    subjects = []
    for person in found:
        path = person.photos.get(probe, list(person.photos.values())[-1])
        subjects.append(
            LooksSubject(
                name=person.name,
                enrolled=_read(person.enroll_photo),
                photos=(NamedPhoto(f"{person.name}-{path.name}", path.read_bytes()),),
            )
        )
    return subjects


def _read(path: Path) -> NamedPhoto:
    return NamedPhoto(path.name, path.read_bytes())


def _jpeg(srgb_u8: np.ndarray) -> bytes:
    bgr = cv2.cvtColor(srgb_u8, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
