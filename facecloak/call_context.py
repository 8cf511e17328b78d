"""What the domain and whoever runs it tell each other about one call: steps, cancellation, deadline, trace headers.

The domain does not know who listens or who asked: a server, a command, a test, or nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
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

interruption: ContextVar[Callable[[], None]] = ContextVar("interruption", default=lambda: None)
"""Called every 50 ms where work takes long; raises (deadline, cancelled) once nobody wants the work of this context."""

whole_photo: ContextVar[Callable[[], None]] = ContextVar("whole_photo", default=lambda: None)
"""Called before all of a photo is decoded, which often need not be; raises where there is no memory for that."""

deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
"""When whoever wants the work of this context stops waiting, by time.monotonic(); None: at no set time."""

outgoing_headers: ContextVar[Mapping[str, str]] = ContextVar("outgoing_headers", default=MappingProxyType({}))
"""What a request to another server should carry in this context, so that it is seen as a part of the same trace."""


def seconds_left(limit: float) -> float:
    """Seconds until the context's deadline, at most ``limit``; 0 or less once it has passed."""
    end = deadline.get()
    return limit if end is None else min(limit, end - time.monotonic())


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Lets the block's deadline be at most ``seconds`` from now; an earlier one stays."""
    before = deadline.set(time.monotonic() + seconds_left(seconds))
    try:
        yield
    finally:
        deadline.reset(before)


@contextmanager
def interrupted_by(check: Callable[[], None]) -> Iterator[None]:
    """Lets what ``check`` raises end the block's work."""
    before = interruption.set(check)
    try:
        yield
    finally:
        interruption.reset(before)
