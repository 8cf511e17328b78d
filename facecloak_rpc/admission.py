"""Where a service says how much it takes on: asked when a call begins, and when its message has come in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol


class Admission(Protocol):
    """What a service may refuse before it works, by raising."""

    def arriving(self, method: str) -> AbstractContextManager[None]:
        """Entered when a call has begun and nothing of its message is read yet, left when it is admitted or not."""

    def admitted(self, method: str, request: Any) -> AbstractContextManager[None]:
        """Entered with the whole message, and left when the call has ended; may wait."""


class Unlimited:
    """Takes everything on."""

    @contextmanager
    def arriving(self, method: str) -> Iterator[None]:
        """See Admission."""
        yield

    @contextmanager
    def admitted(self, method: str, request: Any) -> Iterator[None]:
        """See Admission."""
        yield
