"""Which operator is differentiated by which rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from facecloak.recognizers.gradient.builder import GradientBuilder
from facecloak.recognizers.gradient.errors import UnsupportedOperator
from facecloak.recognizers.gradient.graph import Node

Contributions = dict[int, str]
"""Gradient tensor by index of the node's input."""

Rule = Callable[[GradientBuilder, Node, Sequence[str | None]], Contributions]
"""Writes the backward operators of one node.

Given the gradients of the node's outputs (None where the loss does not depend on one; never all None) a rule returns the
gradients of those inputs that need one. Inputs it leaves out are constant or carry no gradient.
"""

UnaryRule = Callable[[GradientBuilder, Node, str], str]
"""A rule of an operator of one data input and one output: output gradient to input gradient."""

RULES: dict[str, Rule] = {}


def rule(*operators: str) -> Callable[[Rule], Rule]:
    """Register a rule for operators."""

    def register(function: Rule) -> Rule:
        for operator in operators:
            RULES[operator] = function
        return function

    return register


def unary_rule(*operators: str) -> Callable[[UnaryRule], UnaryRule]:
    """Register a rule for operators whose first input and first output alone take part."""

    def register(function: UnaryRule) -> UnaryRule:
        def wrapped(builder: GradientBuilder, node: Node, gradients: Sequence[str | None]) -> Contributions:
            gradient = gradients[0]
            if gradient is None or any(gradients[1:]):
                raise unsupported(node, "second output used")
            if any(builder.needs_gradient(name) for name in node.inputs[1:]):
                raise unsupported(node, "parameter that depends on the image")
            return {0: function(builder, node, gradient)}

        for operator in operators:
            RULES[operator] = wrapped
        return function

    return register


def unsupported(node: Node, form: str) -> UnsupportedOperator:
    """The error for a form of an operator that its rule does not cover."""
    return UnsupportedOperator([f"{node.op} ({form})"])


def constant(builder: GradientBuilder, node: Node, index: int) -> np.ndarray:
    """Return the value of an input that must be constant.

    Raises:
        UnsupportedOperator: it is computed or left out.
    """
    value = builder.value(node.input(index))
    if value is None:
        raise unsupported(node, f"input {index} is not constant")
    return value
