"""Compiles a recognizer's ONNX graph into one that also returns the gradient of a face-matching loss.

Inference servers run graphs but do not differentiate them. Here reverse-mode differentiation is written into the graph
itself, in operators of the standard set, so that any server that runs the recognizer runs its gradient.
"""

from __future__ import annotations

from facecloak.onnx_gradient.compile import compile_gradient
from facecloak.onnx_gradient.errors import (
    BatchNotDynamic,
    GradientError,
    GradientMismatch,
    InvalidRecognizerGraph,
    UnknownShape,
    UnsupportedOperator,
)
from facecloak.onnx_gradient.forward import simplify_recognizer
from facecloak.onnx_gradient.verify import GradientReport, check_gradient

__all__ = [
    "BatchNotDynamic",
    "GradientError",
    "GradientMismatch",
    "GradientReport",
    "InvalidRecognizerGraph",
    "UnknownShape",
    "UnsupportedOperator",
    "check_gradient",
    "compile_gradient",
    "simplify_recognizer",
]
