"""Arithmetic on each element, with broadcasting."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from facecloak.onnx_gradient.builder import GradientBuilder
from facecloak.onnx_gradient.graph import Node
from facecloak.onnx_gradient.rules.registry import Contributions, rule, unary_rule, unsupported

OperandRule = Callable[[GradientBuilder, Node, str], str]
"""Gradient of one operand before the sum over its broadcast axes."""


def _per_operand(builder: GradientBuilder, node: Node, gradient: str, rules: Sequence[OperandRule]) -> Contributions:
    """Apply one rule to each operand that needs a gradient, and undo broadcasting."""
    computed = builder.shape(node.outputs[0])
    return {
        index: builder.unbroadcast(operand_rule(builder, node, gradient), computed, builder.shape(name))
        for index, (name, operand_rule) in enumerate(zip(node.inputs, rules, strict=True))
        if builder.needs_gradient(name)
    }


def _passed(builder: GradientBuilder, node: Node, gradient: str) -> str:
    return gradient


@rule("Add", "Sum")
def add(builder: GradientBuilder, node: Node, gradient: str) -> Contributions:
    """y = a + b + ...: each operand gets dy."""
    return _per_operand(builder, node, gradient, [_passed] * len(node.inputs))


@rule("Sub")
def sub(builder: GradientBuilder, node: Node, gradient: str) -> Contributions:
    """y = a - b: da = dy, db = -dy."""
    return _per_operand(builder, node, gradient, [_passed, lambda builder, node, gradient: builder.neg(gradient)])


@rule("Mul")
def mul(builder: GradientBuilder, node: Node, gradient: str) -> Contributions:
    """y = a b: da = dy b, db = dy a."""

    def left(builder: GradientBuilder, node: Node, gradient: str) -> str:
        return builder.mul(gradient, node.inputs[1])

    def right(builder: GradientBuilder, node: Node, gradient: str) -> str:
        return builder.mul(gradient, node.inputs[0])

    return _per_operand(builder, node, gradient, [left, right])


@rule("Div")
def div(builder: GradientBuilder, node: Node, gradient: str) -> Contributions:
    """y = a / b: da = dy / b, db = -dy y / b."""

    def top(builder: GradientBuilder, node: Node, gradient: str) -> str:
        return builder.div(gradient, node.inputs[1])

    def bottom(builder: GradientBuilder, node: Node, gradient: str) -> str:
        return builder.neg(builder.div(builder.mul(gradient, node.outputs[0]), node.inputs[1]))

    return _per_operand(builder, node, gradient, [top, bottom])


@rule("Pow")
def power(builder: GradientBuilder, node: Node, gradient: str) -> Contributions:
    """y = a^p: da = dy p a^(p - 1); y = c^b for a constant c: db = dy y log(c)."""
    exponent, base = builder.value(node.inputs[1]), builder.value(node.inputs[0])

    def of_base(builder: GradientBuilder, node: Node, gradient: str) -> str:
        if exponent is None:
            raise unsupported(node, "computed exponent")
        less = builder.op("Pow", node.inputs[0], builder.floats(exponent - 1))
        return builder.mul(gradient, builder.mul(less, builder.floats(exponent)))

    def of_exponent(builder: GradientBuilder, node: Node, gradient: str) -> str:
        if base is None:
            raise unsupported(node, "computed base and exponent")
        return builder.mul(gradient, node.outputs[0], builder.floats(np.log(base)))

    return _per_operand(builder, node, gradient, [of_base, of_exponent])


@rule("Max", "Min")
def extremum(builder: GradientBuilder, node: Node, gradient: str) -> Contributions:
    """y = max(a, b, ...): dy goes to the operand that equals y, in equal parts where several do."""
    hits = [builder.mask(builder.op("Equal", name, node.outputs[0])) for name in node.inputs]
    share = builder.div(gradient, builder.op("Sum", *hits))

    def to_operand(hit: str) -> OperandRule:
        return lambda builder, node, gradient: builder.mul(share, hit)

    return _per_operand(builder, node, gradient, [to_operand(hit) for hit in hits])


@rule("Where")
def where(builder: GradientBuilder, node: Node, gradient: str) -> Contributions:
    """y = a where c, else b: each operand gets dy where it was chosen."""
    return _per_operand(
        builder,
        node,
        gradient,
        [
            _passed,
            lambda builder, node, gradient: builder.pass_where(node.inputs[0], gradient),
            lambda builder, node, gradient: builder.pass_where(builder.op("Not", node.inputs[0]), gradient),
        ],
    )


@unary_rule("Neg")
def neg(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = -x: dx = -dy."""
    return builder.neg(gradient)


@unary_rule("Abs")
def absolute(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = |x|: dx = dy sign(x)."""
    return builder.mul(gradient, builder.op("Sign", node.inputs[0]))


@unary_rule("Exp")
def exp(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = exp(x): dx = dy y."""
    return builder.mul(gradient, node.outputs[0])


@unary_rule("Log")
def log(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = log(x): dx = dy / x."""
    return builder.div(gradient, node.inputs[0])


@unary_rule("Sqrt")
def sqrt(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = sqrt(x): dx = dy / (2 y)."""
    return builder.div(builder.scale(gradient, 0.5), node.outputs[0])


@unary_rule("Reciprocal")
def reciprocal(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = 1 / x: dx = -dy y^2."""
    output = node.outputs[0]
    return builder.neg(builder.mul(gradient, output, output))


@unary_rule("Sin")
def sin(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = sin(x): dx = dy cos(x)."""
    return builder.mul(gradient, builder.op("Cos", node.inputs[0]))


@unary_rule("Cos")
def cos(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = cos(x): dx = -dy sin(x)."""
    return builder.neg(builder.mul(gradient, builder.op("Sin", node.inputs[0])))


@unary_rule("Identity", "Dropout", "Cast")
def identity(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = x: dx = dy. Dropout is the identity at inference; only casts between equal types get here."""
    return gradient
