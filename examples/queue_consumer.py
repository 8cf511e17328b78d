"""A queue's consumer: `python queue_consumer.py APPLY_TARGET QUEUE_FOLDER`.

The queue here is a folder, so that the example needs no broker; the steps are those of any queue with acknowledgements.
A message is a photo ``inbox/USER--NAME``. It is claimed by a move to ``claimed/``, and acknowledged by one from there:
cloaked photos are written to ``outbox/``, what will never be cloaked goes to ``dead/`` with the reason beside it, and
what may be cloaked later goes back. A consumer that dies leaves its claims: the next one begins with them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from facecloak.v1.apply_pb2 import ApplyCloakRequest
from facecloak_client import CallFailed, FaceCloakClient, apply_request


@dataclass
class FolderQueue:
    """Messages as files."""

    root: Path
    done: dict[str, int] = field(default_factory=lambda: {"outbox": 0, "dead": 0, "inbox": 0})

    def __post_init__(self) -> None:
        for name in ("inbox", "claimed", "outbox", "dead"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        for left in (self.root / "claimed").iterdir():
            left.rename(self.root / "inbox" / left.name)

    def claim(self) -> Iterator[tuple[str, ApplyCloakRequest]]:
        """The messages that are there, each claimed when it is asked for."""
        for path in sorted((self.root / "inbox").iterdir()):
            claimed = self.root / "claimed" / path.name
            try:
                path.rename(claimed)
            except FileNotFoundError:
                continue  # another consumer's
            user = path.name.partition("--")[0]
            yield path.name, apply_request(claimed.read_bytes(), user)

    def cloaked(self, name: str, photo: bytes) -> None:
        """Publishes, then acknowledges: a photo may be written twice, and never be lost."""
        partial = self.root / "outbox" / f".{name}"
        partial.write_bytes(photo)
        partial.rename(self.root / "outbox" / name)
        (self.root / "claimed" / name).unlink()
        self.done["outbox"] += 1

    def refused(self, name: str, error: CallFailed) -> None:
        """Back into the queue, or out of it for good."""
        place = "inbox" if error.is_retryable else "dead"
        if place == "dead":
            reason = {"reason": error.reason, "message": error.message, "request_id": error.request_id}
            (self.root / "dead" / f"{name}.json").write_text(json.dumps(reason))
        (self.root / "claimed" / name).rename(self.root / place / name)
        self.done[place] += 1


def consume(client: FaceCloakClient, queue: FolderQueue, *, in_flight: int = 8) -> dict[str, int]:
    """Works until the queue is empty; how many messages went where."""
    for answer in client.apply_stream(queue.claim(), in_flight=in_flight):
        if answer.failure is None:
            queue.cloaked(answer.key, answer.photo)
        else:
            queue.refused(answer.key, answer.failure)
    return queue.done


def main(apply_target: str, folder: str) -> None:
    """Empties the queue once."""
    with FaceCloakClient(apply=apply_target) as client:
        print(json.dumps(consume(client, FolderQueue(Path(folder)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
