"""What a run is to do, the same for every process that takes part in it."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from facecloak.users import DEFAULT_TENANT

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp")


@dataclass(frozen=True)
class BackfillJob:
    """What a run is to do.

    Attributes:
        source, destination: see :func:`facecloak_backfill.places.open_place`.
        data: folder of masks and key; None: as the apply service's settings in the environment say.
        tenant: whose users they are.
        accepted: outcomes that are no reason to hold a photo back: it is written without that person's mask.
        recloak: whether a mask goes over an older one of the same person.
        include, exclude: patterns of names, as of fnmatch; ``include`` empty: photos by their suffix.
        smallest_bytes: smaller files are skipped.
        since: skip what was changed before, seconds since 1970.
        resumed: whether an earlier run may have written photos that the ledger does not know of.
    """

    source: str
    destination: str
    data: Path | None = None
    tenant: str = DEFAULT_TENANT
    accepted: frozenset[str] = frozenset()
    recloak: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    smallest_bytes: int = 0
    since: float = 0.0
    resumed: bool = False

    def takes(self, name: str) -> bool:
        """Whether the rules about names let a photo through."""
        if any(fnmatchcase(name, pattern) for pattern in self.exclude):
            return False
        if self.include:
            return any(fnmatchcase(name, pattern) for pattern in self.include)
        return name.lower().endswith(PHOTO_SUFFIXES)
