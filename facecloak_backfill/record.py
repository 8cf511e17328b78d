"""What became of one photo of an archive."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum


class Fate(StrEnum):
    """Where a photo stands after it was worked on."""

    WRITTEN = "written"
    """It is at the destination."""
    SKIPPED = "skipped"
    """A rule says that it is not to be cloaked: it is not at the destination."""
    DEAD = "dead"
    """It cannot be cloaked, and will not be without somebody's help: it is not at the destination."""
    LEFT = "left"
    """Something else than the photo failed: the next run tries again."""


@dataclass(frozen=True)
class PhotoRecord:
    """What became of a photo.

    Attributes:
        name: of its file, relative to the source.
        outcome: a word of :class:`facecloak.cloaking.cloaker.Outcome`, or an error's reason, or one of the run's own.
        advice: a sentence on what to do; may be empty.
        again: whether it was at the destination already, from a run that was killed before it could say so.
        bytes_read, bytes_written: of the photo's file.
        cpu_ms: the process's time for it, all threads.
        requests: of the source and the destination and calls of the mask store, by kind: get, put, list, mask.
    """

    name: str
    fate: Fate
    outcome: str
    advice: str = ""
    again: bool = False
    bytes_read: int = 0
    bytes_written: int = 0
    cpu_ms: float = 0.0
    requests: tuple[tuple[str, int], ...] = ()

    def to_line(self) -> bytes:
        """One line of JSON."""
        fields = asdict(self) | {"requests": dict(self.requests), "cpu_ms": round(self.cpu_ms, 2)}
        return json.dumps(fields, ensure_ascii=False).encode(errors="surrogatepass") + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> PhotoRecord:
        """The reverse of :meth:`to_line`. Raises ValueError, KeyError or TypeError for anything else."""
        fields = json.loads(line)
        requests = tuple(fields.pop("requests").items())
        return cls(**fields | {"fate": Fate(fields["fate"]), "requests": requests})
