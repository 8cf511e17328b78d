"""Which operator is differentiated by which rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from facecloak.onnx_gradient.builder import GradientBuilder
from facecloak.onnx_gradient.errors import UnsupportedOperator
from facecloak.onnx_gradient.graph import Node

Contributions = dict[int, str]
"""Gradient tensor by index of the node's input."""

SplitRule = Callable[[GradientBuilder, Node, Sequence[str | None]], Contributions]
"""Writes the backward operators of one node of several outputs.

Given the gradients of the node's outputs (None where the loss does not depend on one; never all None) it returns the
gradients of those inputs that need one. Inputs it leaves out are constant or carry no gradient.
"""

Rule = Callable[[GradientBuilder, Node, str], Contributions]
"""The same for a node of which only the first output counts: its gradient to those of the inputs."""

UnaryRule = Callable[[GradientBuilder, Node, str], str]
"""The same where only the first input counts, too: output gradient to input gradient."""

RULES: dict[str, SplitRule] = {}

SplitRuleT = TypeVar("SplitRuleT", bound=SplitRule)
RuleT = TypeVar("RuleT", bound=Rule)
UnaryRuleT = TypeVar("UnaryRuleT", bound=UnaryRule)


def split_rule(*operators: str) -> Callable[[SplitRuleT], SplitRuleT]:
    """Register a rule for operators of several outputs."""

    def register(function: SplitRuleT) -> SplitRuleT:
        RULES.update(dict.fromkeys(operators, function))
        return function

    return register


def rule(*operators: str) -> Callable[[RuleT], RuleT]:
    """Register a rule for operators of one output."""

    def register(function: RuleT) -> RuleT:
        def of_first_output(builder: GradientBuilder, node: Node, gradients: Sequence[str | None]) -> Contributions:
            if gradients[0] is None or any(gradients[1:]):
                raise unsupported(node, "second output used")
            return function(builder, node, gradients[0])

        split_rule(*operators)(of_first_output)
        return function

    return register


def unary_rule(*operators: str) -> Callable[[UnaryRuleT], UnaryRuleT]:
    """Register a rule for operators of one output and one data input; the other inputs are parameters."""

    def register(function: UnaryRuleT) -> UnaryRuleT:
        def of_first_input(builder: GradientBuilder, node: Node, gradient: str) -> Contributions:
            if any(builder.needs_gradient(name) for name in node.inputs[1:]):
                raise unsupported(node, "parameter that depends on the image")
            return {0: function(builder, node, gradient)}

        rule(*operators)(of_first_input)
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
