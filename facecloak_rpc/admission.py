"""Where a service says how much it takes on: asked when a call begins, and when its message has come in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol


class Admission(Protocol):
    """What a service may refuse before it works, by raising."""

    def arrived(self, method: str) -> None:
        """A call has begun, and nothing of its message is read yet."""

    def admitted(self, method: str, request: Any, message_bytes: int) -> AbstractContextManager[None]:
        """Entered with the whole message, and left when the call has ended; may wait."""


class Unlimited:
    """Takes everything on."""

    def arrived(self, method: str) -> None:
        """See Admission."""

    @contextmanager
    def admitted(self, method: str, request: Any, message_bytes: int) -> Iterator[None]:
        """See Admission."""
        yield
