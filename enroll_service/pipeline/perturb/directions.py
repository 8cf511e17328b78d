"""What steps have in common: how colors are kept down, and where identity leaks."""

from __future__ import annotations

from torch import Tensor

from enroll_service.pipeline.ops.ssim import smooth

# Where identity leaks is told in parts of the face (px) and over some ten steps.
_LEAKAGE_PX = 4.0
_LEAKAGE_KEPT = 0.9

LAST_STEP = 0.2
"""The last step's share of the first; in between it falls linearly."""


def shrinking(first: float, done: float) -> float:
    """The size of a step when the share ``done`` of all steps is done."""
    return first * (1 - (1 - LAST_STEP) * done)


def damp_chroma(change: Tensor, *, keep: float) -> Tensor:
    """A change (1, 3, H, W) with its deviation from gray scaled by ``keep``."""
    gray = change.mean(dim=1, keepdim=True)
    return gray + keep * (change - gray)


class Leakage:
    """Where identity leaks: where the surrogates' gradients have been large, smoothed over places and steps. Budget is
    moved there, beyond what the tolerance gives (the paper's "more protection where identity leaks").

    Args:
        exponent: of the share of budget in the gradients' size; 0 moves nothing.
    """

    def __init__(self, *, exponent: float) -> None:
        self._exponent = exponent
        self._size: Tensor | None = None

    def share(self, gradient: Tensor) -> Tensor:
        """(1, 1, H, W) factors of the budget with a mean near 1, from all gradients (1, 3, H, W) so far."""
        size = smooth(gradient.abs().mean(dim=1, keepdim=True), _LEAKAGE_PX)
        self._size = size if self._size is None else _LEAKAGE_KEPT * self._size + (1 - _LEAKAGE_KEPT) * size
        return (self._size / self._size.mean().clamp_min(1e-12)) ** self._exponent
