"""What a run has done, kept at the destination, so that a run that was killed goes on where it was.

Records are written in parts that are never changed, as object storage has it: ``.facecloak/RUN/part-SESSION-N.jsonl``
for photos that are done, ``dead-SESSION-N.jsonl`` for those that cannot be. A part that a kill kept from being written
costs nothing but a look: its photos are found at the destination.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable

from facecloak.errors import InvalidInput
from facecloak_backfill.errors import FileMissing, InvalidManifest, OtherRun, PlaceUnavailable
from facecloak_backfill.places import STATE_FOLDER, Place
from facecloak_backfill.record import Fate, PhotoRecord

PART_RECORDS = 1000
"""Records a part."""
PART_SECONDS = 15.0
"""Longest time until what was done is written down: so much is looked at again after a kill."""
_PART_BYTES_LIMIT = 16 * 2**20
_RUN_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class RunLedger:
    """The records of one run."""

    def __init__(self, place: Place, run: str, *, source: str) -> None:
        """Begins the run, or goes on with it.

        Args:
            run: its name: several at one destination, such as one for each part of a manifest, keep apart.
            source: where it takes photos from; the same as when it began.

        Raises:
            InvalidInput: the name is none.
            OtherRun: it began with another source.
        """
        if not _RUN_NAME.fullmatch(run):
            raise InvalidInput("a run's name has 1 to 64 characters of A-Z a-z 0-9 _ -", field="run")
        self._place = place
        self._folder = f"{STATE_FOLDER}/{run}"
        self._session = f"{time.time_ns():020d}"
        self._parts = 0
        self._pending: list[PhotoRecord] = []
        self._written_at = time.monotonic()
        about = json.dumps({"source": source}).encode()
        self.is_resumed = not place.write_new(f"{self._folder}/run.json", about)
        if self.is_resumed and place.read(f"{self._folder}/run.json", bytes_limit=_PART_BYTES_LIMIT).data != about:
            raise OtherRun(f"The run {run} at this destination has another source: name this one by --run.")
        self._done: set[bytes] = set()
        self._dead: set[bytes] = set()
        self._taken: set[bytes] = set()

    def load(self, *, with_dead: bool) -> None:
        """Reads what earlier sessions did. ``with_dead``: photos that could not be cloaked count as done."""
        for name in self._place.names(self._folder):
            kind = name.rsplit("/", 1)[-1].partition("-")[0]
            if kind == "part" or (kind == "dead" and with_dead):
                known = self._done if kind == "part" else self._dead
                known.update(_digest(record.name) for record in self._records(name))

    def take(self, name: str) -> bool:
        """Notes that this session does a photo; False where an earlier one has done it.

        Raises:
            InvalidManifest: it was taken by this session: a photo's people would be parted.
        """
        digest = _digest(name)
        if digest in self._done or digest in self._dead:
            return False
        if digest in self._taken:
            raise InvalidManifest(f"{name} is named twice: all people of a photo stand on lines that follow each other")
        self._taken.add(digest)
        return True

    def add(self, records: Iterable[PhotoRecord]) -> None:
        """Takes records; writes a part where there are enough of them, or it is time."""
        self._pending += [record for record in records if record.fate is not Fate.LEFT]
        late = time.monotonic() - self._written_at > PART_SECONDS
        if len(self._pending) >= PART_RECORDS or (late and self._pending):
            self.flush()

    def flush(self) -> None:
        """Writes down what is pending."""
        for kind, records in (
            ("part", [record for record in self._pending if record.fate is not Fate.DEAD]),
            ("dead", [record for record in self._pending if record.fate is Fate.DEAD]),
        ):
            if records:
                self._write(f"{kind}-{self._session}-{self._parts:06d}.jsonl", b"".join(r.to_line() for r in records))
        self._parts += 1
        self._pending.clear()
        self._written_at = time.monotonic()

    def write_report(self, report: bytes) -> str:
        """Writes the session's report; returns its name at the destination."""
        name = f"report-{self._session}.json"
        self._write(name, report)
        return f"{self._folder}/{name}"

    @property
    def dead_letters(self) -> str:
        """Where the lists of photos that could not be cloaked are, for a person."""
        return f"{self._folder}/dead-*.jsonl"

    def _write(self, name: str, data: bytes) -> None:
        if not self._place.write_new(f"{self._folder}/{name}", data):
            raise PlaceUnavailable("Another process writes this run's records.")

    def _records(self, name: str) -> list[PhotoRecord]:
        try:
            data = self._place.read(name, bytes_limit=_PART_BYTES_LIMIT).data
            return [PhotoRecord.from_line(line) for line in data.splitlines()]
        except (FileMissing, ValueError, KeyError, TypeError) as error:
            raise OtherRun(
                f"{name} at the destination is no part of a run: remove it, and its photos are done again."
            ) from error


def _digest(name: str) -> bytes:
    # Two of 10^9 names share 16 bytes with a chance of 1 in 10^21; then one of them would be left out.
    return hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=16).digest()
