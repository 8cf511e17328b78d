"""How the domain says which step it is at, without knowing who listens: metrics, traces, a test, or nobody."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Watch = Callable[[str], AbstractContextManager[object]]
"""Called with a step's name, a short word; what it returns is entered for as long as the step takes."""


def unwatched(_step: str) -> AbstractContextManager[object]:
    """A :data:`Watch` that nobody looks through."""
    return nullcontext()
