"""What a session did, in figures: counts, throughput, and what a photo cost."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from facecloak import __version__
from facecloak_backfill.record import Fate, PhotoRecord


class SessionReport:
    """Counts records as they come."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._began_at = datetime.now(UTC)
        self.fates: Counter[Fate] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.known = 0
        self.ruled_out = 0
        self._again = 0
        self._cpu_ms = 0.0
        self._bytes_read = self._bytes_written = 0

    def add(self, records: Iterable[PhotoRecord]) -> None:
        """Counts photos."""
        for record in records:
            self.fates[record.fate] += 1
            self.outcomes[f"{record.fate}: {record.outcome}"] += 1
            self.requests.update(dict(record.requests))
            self._again += record.again
            self._cpu_ms += record.cpu_ms
            self._bytes_read += record.bytes_read
            self._bytes_written += record.bytes_written

    @property
    def photos(self) -> int:
        """Photos worked on in this session."""
        return self.fates.total()

    def figures(self, driver_requests: Mapping[str, int]) -> dict[str, Any]:
        """Everything; ``driver_requests`` are those of the listing and the ledger."""
        seconds = time.monotonic() - self._began
        photos = max(1, self.photos)
        return {
            "facecloak": __version__,
            "began_at": self._began_at.isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "photos": self.photos,
            "done_before": self.known,
            "left_out_by_name": self.ruled_out,
            "found_at_destination": self._again,
            "fates": {fate.value: self.fates[fate] for fate in Fate},
            "outcomes": dict(self.outcomes.most_common()),
            "photos_a_second": round(self.photos / seconds, 3),
            "a_photo": {
                "cpu_ms": round(self._cpu_ms / photos, 1),
                "bytes_read": round(self._bytes_read / photos),
                "bytes_written": round(self._bytes_written / photos),
                "requests": {kind: round(count / photos, 3) for kind, count in sorted(self.requests.items())},
            },
            "requests_of_listing_and_ledger": dict(driver_requests),
        }


def as_json(figures: dict[str, Any]) -> bytes:
    """For the destination and ``--json``."""
    return json.dumps(figures, indent=2).encode() + b"\n"


def as_text(figures: dict[str, Any], *, report: str, dead_letters: str) -> str:
    """For a person."""
    fates, cost = figures["fates"], figures["a_photo"]
    lines = [
        f"{figures['photos']} photos in {figures['seconds']} s, {figures['photos_a_second']} a second: "
        + (", ".join(f"{count} {name}" for name, count in fates.items() if count) or "nothing to do"),
        *(f"  {count:>8}  {name}" for name, count in figures["outcomes"].items()),
    ]
    if figures["done_before"]:
        lines.append(
            f"{figures['done_before']} were worked on by an earlier session (--retry-dead: what it could not cloak)"
        )
    if figures["left_out_by_name"]:
        lines.append(f"{figures['left_out_by_name']} files were left out by their names")
    if figures["found_at_destination"]:
        lines.append(f"{figures['found_at_destination']} were found at the destination, written before a kill")
    if figures["photos"]:
        requests = ", ".join(f"{number} {kind}" for kind, number in cost["requests"].items())
        lines.append(
            f"a photo: {cost['cpu_ms']} ms of processor, {cost['bytes_read']} bytes read, "
            f"{cost['bytes_written']} written; requests: {requests or 'none'}"
        )
    if fates["dead"]:
        lines.append(f"what could not be cloaked, with reasons: {dead_letters}")
    if fates["left"]:
        lines.append("what is left is tried again by the same command")
    return "\n".join([*lines, f"report: {report}"])
