"""How what waits deep in the domain learns that nobody wants its answer any more, without knowing who asked."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar


def never() -> bool:
    """Nobody takes anything back."""
    return False


abandoned: ContextVar[Callable[[], bool]] = ContextVar("abandoned", default=never)
"""Whether whoever wants the work of this context has gone away. Asked often, from any thread that runs in a copy of the
context: it must be quick."""
