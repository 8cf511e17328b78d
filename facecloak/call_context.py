"""What the domain and whoever runs it tell each other about one call: steps, cancellation and headers of a trace.

The domain does not know who listens or who asked: a server, a command, a test, or nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from types import MappingProxyType

StepObserver = Callable[[str], AbstractContextManager[object]]
"""Called with a step's name, a short word; what it returns is entered for as long as the step takes."""


def unobserved(_step: str) -> AbstractContextManager[object]:
    """A :data:`StepObserver` that does nothing."""
    return nullcontext()


def never_cancelled() -> bool:
    """The answer where nobody can cancel."""
    return False


cancellation: ContextVar[Callable[[], bool]] = ContextVar("cancellation", default=never_cancelled)
"""Whether the work of this context was cancelled. Asked often, from any thread that runs in a copy of the context: it
must be quick."""

outgoing_headers: ContextVar[Mapping[str, str]] = ContextVar("outgoing_headers", default=MappingProxyType({}))
"""What a request to another server should carry in this context, so that it is seen as a part of the same trace."""
