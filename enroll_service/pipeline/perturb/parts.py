"""The parts of a mask while it is learned: each takes steps and keeps to a budget of its own."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class PartLearner(Protocol):
    """One part of one mask."""

    @property
    def value(self) -> Tensor:
        """The part as a face would get it now, (1, C, 112, 112) in the mask's frame."""
        ...

    def step(self, gradient: Tensor, done: float) -> None:
        """Take a step against a gradient of the loss, and stay in the budget.

        Args:
            gradient: d loss / d value, of the same shape.
            done: share of all steps that is done, 0..1.
        """
        ...

    def finish(self) -> Tensor:
        """The part brought to its budget, as the last steps may leave it inside."""
        ...
