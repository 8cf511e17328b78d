"""Places by what the command line names them."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from facecloak_backfill.errors import InvalidPlace
from facecloak_backfill.places.local_folder import LocalFolder
from facecloak_backfill.places.place import Place

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_OBJECT_STORAGE = ("s3", "gs", "az", "azure")


def open_place(location: str) -> Place:
    """The place at a folder's path, ``file:///folder``, ``s3://bucket/prefix``, ``gs://`` or ``az://``.

    Raises:
        InvalidPlace: anything else.
        ModuleNotFoundError: object storage needs the extra ``backfill``.
    """
    if not _SCHEME.match(location):
        return LocalFolder(Path(location))
    parts = urlsplit(location)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return LocalFolder(Path(unquote(parts.path)))
    if parts.scheme in _OBJECT_STORAGE and parts.netloc and not parts.query and not parts.fragment:
        from facecloak_backfill.places.object_storage import ObjectStorage

        return ObjectStorage(location)
    raise InvalidPlace(f"{location} is neither a folder nor s3://bucket/prefix, gs:// or az://.")


def check_apart(source: str, destination: str) -> None:
    """Raises :class:`InvalidPlace` where one lies in the other: what is written could be read again."""
    one, other = _parts(source), _parts(destination)
    if one == other[: len(one)] or other == one[: len(other)]:
        raise InvalidPlace("The source and the destination must lie apart: neither may be in the other.")


def _parts(location: str) -> tuple[str, ...]:
    if not _SCHEME.match(location) or location.startswith("file:"):
        path = Path(unquote(urlsplit(location).path)) if location.startswith("file:") else Path(location)
        return ("file", *path.resolve().parts)
    parts = urlsplit(location)
    return (parts.scheme, parts.netloc, *(part for part in parts.path.split("/") if part))
