"""The gradient rules, one small function for each operator; importing this package registers them all."""

from __future__ import annotations

from facecloak.recognizers.gradient.rules import (
    activation,
    convolution,
    elementwise,
    linear,
    normalization,
    pooling,
    reduction,
    shape,
)
from facecloak.recognizers.gradient.rules.registry import RULES

__all__ = [
    "RULES",
    "activation",
    "convolution",
    "elementwise",
    "linear",
    "normalization",
    "pooling",
    "reduction",
    "shape",
]
