"""Whose photo is whose: a manifest, a pattern of names, or one user for all."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from facecloak.cloaking.subject import Subject
from facecloak.errors import FaceCloakError
from facecloak.faces import Box
from facecloak.limits import MAX_SUBJECTS, check_user_id
from facecloak_backfill.errors import InvalidManifest
from facecloak_backfill.places import check_name

_LONGEST_LINE = 16 * 1024
_TOKEN = re.compile(r"\{user\}|\*\*/?|\*|\?")


@dataclass(frozen=True)
class PersonInPhoto:
    """A user who is in a photo, and the face box x, y, width, height, upright px, where it is known."""

    user_id: str
    box: tuple[float, float, float, float] | None = None

    def subject(self, tenant: str) -> Subject:
        """As a cloaker takes it."""
        return Subject(self.user_id, box=None if self.box is None else Box(*self.box), tenant=tenant)


@dataclass(frozen=True)
class PhotoTask:
    """One photo of the archive and who is in it."""

    name: str
    people: tuple[PersonInPhoto, ...]


def from_manifest(path: Path) -> Iterator[PhotoTask]:
    """Photos of a CSV with a head of ``path,user_id`` and perhaps ``face``, or of JSON lines with the same fields.

    ``face`` is "x,y,width,height", in JSON also a list. A photo of several users has as many lines, one after another.

    Raises:
        InvalidManifest: names the line at fault.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = _bounded(file)
        rows = _csv_rows(lines) if path.suffix.lower() == ".csv" else _json_rows(lines)
        people = (_person(number, row) for number, row in rows)
        for name, group in groupby(people, key=lambda found: found[0]):
            found = tuple(person for _, person in group)
            if len(found) > MAX_SUBJECTS or len({person.user_id for person in found}) < len(found):
                raise InvalidManifest(f"{name} has a user twice, or more than {MAX_SUBJECTS} users")
            yield PhotoTask(name, found)


def from_names(names: Iterable[str], user_of: Callable[[str], str | None]) -> Iterator[PhotoTask]:
    """Photos of a listing, one user each; names of which ``user_of`` knows no user are left out."""
    for name in names:
        user_id = user_of(name)
        if user_id is not None:
            yield PhotoTask(name, (PersonInPhoto(user_id),))


def user_by_pattern(pattern: str) -> Callable[[str], str | None]:
    """Finds the user in a name by a pattern such as ``photos/{user}/**``.

    ``{user}``, ``*`` and ``?`` stay within one part of a name, ``**`` goes over any number of them.

    Raises:
        InvalidManifest: the pattern does not have one ``{user}``.
    """
    if pattern.count("{user}") != 1:
        raise InvalidManifest("the pattern needs {user} once, as in photos/{user}/**")
    words = {"{user}": "(?P<user>[^/]+?)", "*": "[^/]*", "?": "[^/]", "**": ".*", "**/": "(?:.*/)?"}
    expression, end = "", 0
    for found in _TOKEN.finditer(pattern):
        expression += re.escape(pattern[end : found.start()]) + words[found.group()]
        end = found.end()
    compiled = re.compile(expression + re.escape(pattern[end:]))

    def user_of(name: str) -> str | None:
        match = compiled.fullmatch(name)
        return match["user"] if match else None

    return user_of


def _bounded(lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if len(line) > _LONGEST_LINE:
            raise InvalidManifest(f"line {number} of the manifest is longer than {_LONGEST_LINE} characters")
        yield line


def _csv_rows(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(lines, strict=True)
    try:
        if not {"path", "user_id"} <= set(reader.fieldnames or ()):
            raise InvalidManifest("the manifest's first line names its columns: path,user_id or path,user_id,face")
        for row in reader:
            yield reader.line_num, row
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidManifest(f"line {reader.line_num + 1} of the manifest is no CSV: {error}") from error


def _json_rows(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    try:
        for number, line in enumerate(lines, 1):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise InvalidManifest(f"line {number} of the manifest is no JSON object")
                yield number, row
    except ValueError as error:
        raise InvalidManifest(f"line {number} of the manifest is no JSON: {error}") from error


def _person(number: int, row: dict[str, Any]) -> tuple[str, PersonInPhoto]:
    try:
        name, user_id, face = row.get("path"), row.get("user_id"), row.get("face") or None
        if not isinstance(name, str) or not isinstance(user_id, str):
            raise ValueError("path and user_id are text")
        check_name(name)
        check_user_id(user_id)
        return name, PersonInPhoto(user_id, None if face is None else _box(face))
    except (FaceCloakError, ValueError) as error:
        raise InvalidManifest(f"line {number} of the manifest: {error}") from error


def _box(face: object) -> tuple[float, float, float, float]:
    parts = face.split(",") if isinstance(face, str) else face
    if not isinstance(parts, list) or len(parts) != 4:
        raise ValueError("face is x,y,width,height")
    x, y, width, height = (float(part) for part in parts)
    return x, y, width, height
