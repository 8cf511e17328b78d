"""Activations.

Where input and output tell the same, the rules read the output: the input then stays private to the operator before it,
and the runtime can fuse the two and reuse its memory.
"""

from __future__ import annotations

import math

from facecloak.onnx_gradient.builder import GradientBuilder
from facecloak.onnx_gradient.graph import Node
from facecloak.onnx_gradient.rules.registry import unary_rule


@unary_rule("Relu")
def relu(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = max(x, 0): dx = dy where y > 0."""
    return builder.pass_where(builder.is_positive(node.outputs[0]), gradient)


@unary_rule("LeakyRelu")
def leaky_relu(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = x or alpha x: dx = dy where x > 0, alpha dy elsewhere."""
    alpha = node.attribute("alpha", 0.01)
    sign_source = node.outputs[0] if alpha > 0 else node.inputs[0]
    slope = builder.choose(builder.is_positive(sign_source), builder.floats(1), builder.floats(alpha))
    return builder.mul(gradient, slope)


@unary_rule("Clip")
def clip(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = min(max(x, low), high): dx = dy where low < y < high."""
    output = node.outputs[0]
    inside = [builder.op("Greater", output, node.input(1))] if node.input(1) else []
    inside += [builder.op("Less", output, node.input(2))] if node.input(2) else []
    if not inside:
        return gradient
    return builder.pass_where(builder.op("And", *inside) if len(inside) == 2 else inside[0], gradient)


@unary_rule("Sigmoid")
def sigmoid(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = 1 / (1 + exp(-x)): dx = dy y (1 - y)."""
    output = node.outputs[0]
    return builder.mul(gradient, output, builder.sub(builder.floats(1), output))


@unary_rule("Tanh")
def tanh(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = tanh(x): dx = dy (1 - y^2)."""
    output = node.outputs[0]
    return builder.mul(gradient, builder.sub(builder.floats(1), builder.mul(output, output)))


@unary_rule("HardSigmoid")
def hard_sigmoid(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = clip(alpha x + beta, 0, 1): dx = alpha dy where 0 < y < 1."""
    output = node.outputs[0]
    inside = builder.op("And", builder.is_positive(output), builder.op("Less", output, builder.floats(1)))
    return builder.pass_where(inside, builder.scale(gradient, node.attribute("alpha", 0.2)))


@unary_rule("HardSwish")
def hard_swish(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = x clip(x / 6 + 1/2, 0, 1): slope x / 3 + 1/2 where |x| < 3, else 0 below and 1 above."""
    image = node.inputs[0]
    inside = builder.mask(builder.op("Less", builder.op("Abs", image), builder.floats(3)))
    above = builder.mask(builder.op("Greater", image, builder.floats(3)))
    between = builder.add(builder.scale(image, 1 / 3), builder.floats(0.5))
    return builder.mul(gradient, builder.add(builder.mul(inside, between), above))


@unary_rule("Elu")
def elu(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = x or alpha (exp(x) - 1): dx = dy where x > 0, (y + alpha) dy elsewhere."""
    output = node.outputs[0]
    alpha = node.attribute("alpha", 1.0)
    below = builder.add(output, builder.floats(alpha))
    return builder.mul(gradient, builder.choose(builder.is_positive(node.inputs[0]), builder.floats(1), below))


@unary_rule("Selu")
def selu(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = gamma x or gamma alpha (exp(x) - 1): dx = gamma dy where x > 0, (y + gamma alpha) dy elsewhere."""
    gamma = node.attribute("gamma", 1.0507009873554805)
    alpha = node.attribute("alpha", 1.6732632423543772)
    below = builder.add(node.outputs[0], builder.floats(gamma * alpha))
    return builder.mul(gradient, builder.choose(builder.is_positive(node.inputs[0]), builder.floats(gamma), below))


@unary_rule("Softplus")
def softplus(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = log(1 + exp(x)): dx = dy sigmoid(x)."""
    return builder.mul(gradient, builder.op("Sigmoid", node.inputs[0]))


@unary_rule("Softsign")
def softsign(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = x / (1 + |x|): dx = dy / (1 + |x|)^2."""
    bottom = builder.add(builder.op("Abs", node.inputs[0]), builder.floats(1))
    return builder.div(gradient, builder.mul(bottom, bottom))


@unary_rule("Mish")
def mish(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = x t with t = tanh(softplus(x)): dx = dy (t + x (1 - t^2) sigmoid(x))."""
    image = node.inputs[0]
    gate = builder.op("Tanh", builder.op("Softplus", image))
    slope = builder.sub(builder.floats(1), builder.mul(gate, gate))
    bent = builder.mul(image, slope, builder.op("Sigmoid", image))
    return builder.mul(gradient, builder.add(gate, bent))


@unary_rule("Erf")
def erf(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = erf(x): dx = dy (2 / sqrt(pi)) exp(-x^2)."""
    image = node.inputs[0]
    bell = builder.op("Exp", builder.neg(builder.mul(image, image)))
    return builder.mul(gradient, builder.scale(bell, 2 / math.sqrt(math.pi)))


@unary_rule("Softmax")
def softmax(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = exp(x) / sum(exp(x)): dx = y (dy - sum(dy y))."""
    output = node.outputs[0]
    total = builder.sum(builder.mul(gradient, output), [node.attribute("axis", -1)])
    return builder.mul(output, builder.sub(gradient, total))


@unary_rule("LogSoftmax")
def log_softmax(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = x - log(sum(exp(x))): dx = dy - exp(y) sum(dy)."""
    total = builder.sum(gradient, [node.attribute("axis", -1)])
    return builder.sub(gradient, builder.mul(builder.op("Exp", node.outputs[0]), total))
