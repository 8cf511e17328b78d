"""Where a service says how much it takes on: asked when a call begins, and when its message has come in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from facecloak.errors import FaceCloakError


class Admitted(Protocol):
    """What one call has been given."""

    def answered(self, answer_bytes: int) -> Callable[[], None]:
        """The work is done, and an answer of so many bytes waits for the caller to take it.

        Returns what is to be called, once, when the caller has it or is gone: until then it takes memory.
        """


class Admission(Protocol):
    """What a service may refuse before it works, by raising."""

    @property
    def is_short(self) -> bool:
        """Whether calls wait for memory that others have."""

    def refusal(self, waiting: int) -> FaceCloakError | None:
        """Why a call that has just begun is refused, before anything of it is known; None where it may come in.

        Args:
            waiting: how many calls have begun before it and are not admitted yet.
        """

    def arriving(self, method: str) -> AbstractContextManager[None]:
        """Entered when a call has begun and nothing of its message is read yet, left when it is admitted or not."""

    def admitted(self, method: str, request: Any) -> AbstractContextManager[Admitted]:
        """Entered with the whole message, and left when the call's work has ended; may wait."""


class Unlimited:
    """Takes everything on."""

    is_short = False

    def refusal(self, waiting: int) -> None:
        """See Admission."""

    @contextmanager
    def arriving(self, method: str) -> Iterator[None]:
        """See Admission."""
        yield

    @contextmanager
    def admitted(self, method: str, request: Any) -> Iterator[Unlimited]:
        """See Admission."""
        yield self

    def answered(self, answer_bytes: int) -> Callable[[], None]:
        """See Admitted."""
        return lambda: None
