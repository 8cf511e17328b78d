"""How the domain says which step it is at, without knowing who listens: metrics, traces, a test, or nobody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from types import MappingProxyType

Watch = Callable[[str], AbstractContextManager[object]]
"""Called with a step's name, a short word; what it returns is entered for as long as the step takes."""


def unwatched(_step: str) -> AbstractContextManager[object]:
    """A :data:`Watch` that nobody looks through."""
    return nullcontext()


outgoing_headers: ContextVar[Mapping[str, str]] = ContextVar("outgoing_headers", default=MappingProxyType({}))
"""What a request to another server should carry in this context, so that it is seen as a part of the same trace."""
