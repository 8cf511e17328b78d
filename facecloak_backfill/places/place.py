"""What a run needs of a place of files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from facecloak_backfill.errors import InvalidPlace

STATE_FOLDER = ".facecloak"
"""Beneath a destination: what runs keep about themselves."""

_LONGEST_NAME_BYTES = 1024


@dataclass(frozen=True)
class StoredFile:
    """A file that was read.

    Attributes:
        data: its bytes; at most one more than the limit it was read with.
        modified_at: seconds since 1970.
    """

    data: bytes
    modified_at: float


class Place(Protocol):
    """Files by name: relative, parts joined by "/". One thread at a time.

    Every method raises :class:`facecloak_backfill.errors.PlaceUnavailable` for everything else than an answer.

    Attributes:
        requests: how many of each kind were made, by the names that object stores charge: get, put, list.
    """

    requests: dict[str, int]

    def names(self, folder: str = "") -> Iterator[str]:
        """Every file beneath ``folder``, in the order of the names. Hidden ones only where ``folder`` is hidden."""
        ...

    def read(self, name: str, *, bytes_limit: int) -> StoredFile:
        """At most ``bytes_limit`` + 1 bytes of a file. Raises :class:`facecloak_backfill.errors.FileMissing`."""
        ...

    def write_new(self, name: str, data: bytes) -> bool:
        """Make the file, whole, unless one is there; of concurrent writers one wins. Whether this one did."""
        ...

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        ...

    def sweep(self) -> None:
        """Remove what writers that were killed left half done."""
        ...


def check_name(name: str) -> str:
    """The name; raises :class:`InvalidPlace` for one that is empty, too long, absolute, hidden or leads upward."""
    parts = name.split("/")
    if (
        not 1 <= len(name.encode(errors="replace")) <= _LONGEST_NAME_BYTES
        or "\0" in name
        or "\\" in name
        or any(part == "" or part.startswith(".") for part in parts)
    ):
        raise InvalidPlace(f"{name[:80]!r} is no name of a photo: give it relative to the source, without ..")
    return name
