"""The people and the distractors of a measurement, read from folders.

Layout: ``PEOPLE/NAME/enrol.jpg`` is the one photo that is enrolled, ``PEOPLE/NAME/photo1.jpg`` and on are the others of
the same person; ``OTHERS/*.jpg`` holds one photo each of other people. In every photo the person is the largest face
near the middle (as in LFW).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from facecloak_evaluation.errors import EvaluationInputInvalid

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Person:
    """One evaluated person.

    Attributes:
        name: the folder's name.
        enroll_photo: the photo that is always enrolled.
        photos: number -> the person's other photos.
    """

    name: str
    enroll_photo: Path
    photos: dict[int, Path]

    def enrolled(self, numbers: Iterable[int]) -> tuple[Path, ...]:
        """The enrollment photo, and the photos of these numbers."""
        return (self.enroll_photo, *self.numbered(numbers))

    def numbered(self, numbers: Iterable[int]) -> tuple[Path, ...]:
        """The photos of these numbers, in that order; numbers that the person has no photo of are left out."""
        return tuple(self.photos[number] for number in numbers if number in self.photos)


def read_people(directory: Path, *, selection: str | None = None) -> tuple[Person, ...]:
    """All people of a folder in name order, or those of a selection.

    Args:
        directory: holds one folder a person.
        selection: ``"21:40"`` = the 21st to the 40th in name order, both included; either end may be left out.

    Raises:
        EvaluationInputInvalid: no such folder, nobody in it, a person without an enrollment photo, a bad selection.
    """
    if not directory.is_dir():
        raise EvaluationInputInvalid("the folder of people does not exist")
    folders = sorted(entry for entry in directory.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    chosen = folders[parse_slice(selection)] if selection else folders
    if not chosen:
        raise EvaluationInputInvalid("nobody is left to evaluate", people_found=len(folders), selection=selection or "")
    return tuple(_read_person(folder) for folder in chosen)


def read_others(directory: Path | None) -> tuple[Path, ...]:
    """The distractors' photos in name order; none for no folder."""
    if directory is None:
        return ()
    if not directory.is_dir():
        raise EvaluationInputInvalid("the folder of others does not exist")
    return tuple(sorted(path for path in directory.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES))


def parse_slice(selection: str) -> slice:
    """``"21:40"`` (1-based, both ends included) as a Python slice.

    Raises:
        EvaluationInputInvalid: not of that form, or empty.
    """
    match = re.fullmatch(r"(\d*):(\d*)", selection.strip())
    if match is None:
        raise EvaluationInputInvalid("a selection of people is written A:B, such as 21:40", selection=selection)
    first = int(match[1] or 1)
    last = int(match[2]) if match[2] else None
    if first < 1 or (last is not None and last < first):
        raise EvaluationInputInvalid("a selection counts from 1 and may not be empty", selection=selection)
    return slice(first - 1, last)


def digest_of_photos(paths: Sequence[Path]) -> str:
    """SHA-256 over the photos' own digests in order: two measurements with equal digests saw the same pictures."""
    total = hashlib.sha256()
    for path in paths:
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _read_person(folder: Path) -> Person:
    photos: dict[int, Path] = {}
    enroll_photo: Path | None = None
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in PHOTO_SUFFIXES:
            continue
        if path.stem == "enrol":
            enroll_photo = path
        elif match := re.fullmatch(r"photo(\d+)", path.stem):
            photos[int(match[1])] = path
    if enroll_photo is None or not photos:
        raise EvaluationInputInvalid("each person's folder needs enrol.jpg and photo1.jpg and on", person=folder.name)
    return Person(name=folder.name, enroll_photo=enroll_photo, photos=dict(sorted(photos.items())))
