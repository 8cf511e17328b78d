"""The gradient rules, one small function for each operator; importing this package registers them all."""

from __future__ import annotations

from facecloak.onnx_gradient.rules import (
    activation,
    convolution,
    elementwise,
    linear,
    normalization,
    pooling,
    reduction,
    shape,
)
from facecloak.onnx_gradient.rules.registry import RULES

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
