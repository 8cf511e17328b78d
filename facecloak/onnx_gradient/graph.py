"""A small mutable view of an ONNX graph: nodes, named numpy constants, one input and one output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx.checker
import onnx.inliner
import onnx.version_converter
from onnx import AttributeProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from facecloak.onnx_gradient.errors import InvalidRecognizerGraph, UnsupportedOperator

MINIMAL_OPSET = 18
"""First opset whose reductions take their axes as an input, the form that the rules write."""

_IR_VERSION = 10
"""Oldest runtime generation asked for; opset 18 itself needs 8."""

BATCH = "N"
"""Name of the batch dimension in every model written here."""


@dataclass
class Node:
    """One operator. Input names may be empty (an optional input left out), as in ONNX."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, AttributeProto] = field(default_factory=dict)

    @classmethod
    def make(cls, op: str, inputs: Iterable[str], outputs: Iterable[str], **attributes: Any) -> Node:
        """Build a node from plain Python attribute values."""
        encoded = {name: helper.make_attribute(name, value) for name, value in attributes.items()}
        return cls(op, list(inputs), list(outputs), encoded)

    @classmethod
    def from_proto(cls, proto: NodeProto) -> Node:
        op = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
        return cls(op, list(proto.input), list(proto.output), {item.name: item for item in proto.attribute})

    def to_proto(self) -> NodeProto:
        proto = helper.make_node(self.op, self.inputs, self.outputs, name=f"{self.op}/{self.outputs[0]}")
        proto.attribute.extend(self.attributes.values())
        return proto

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute as Python value (strings decoded, sequences as lists), or the default."""
        if name not in self.attributes:
            return default
        value = helper.get_attribute_value(self.attributes[name])
        if isinstance(value, bytes):
            return value.decode()
        return list(value) if self.attributes[name].type in (AttributeProto.INTS, AttributeProto.FLOATS) else value

    def input(self, index: int) -> str:
        """Return the name of an input, or "" where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""


@dataclass
class Graph:
    """A recognizer as nodes in topological order.

    Attributes:
        nodes: the operators.
        constants: every initializer by name.
        input: name of the image input.
        input_shape: its shape behind the batch dimension, such as (3, 112, 112).
        output: name of the embedding output.
        opset: version of the standard operator set, at least MINIMAL_OPSET.
    """

    nodes: list[Node]
    constants: dict[str, np.ndarray]
    input: str
    input_shape: tuple[int, ...]
    output: str
    opset: int

    @classmethod
    def from_model(cls, model: onnx.ModelProto) -> Graph:
        """Read a model of one float input and one output; older opsets are converted.

        Raises:
            InvalidRecognizerGraph: not one float32 input of known size and one output.
            UnsupportedOperator: the graph holds sub-graphs (If, Loop, Scan) or operators of another domain.
        """
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        if _opset(model) < MINIMAL_OPSET:
            model = onnx.version_converter.convert_version(model, MINIMAL_OPSET)
        proto = model.graph
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.initializer}
        inputs = [value for value in proto.input if value.name not in constants]
        if len(inputs) != 1 or len(proto.output) != 1:
            raise InvalidRecognizerGraph(
                f"A recognizer graph has one input and one output, not {len(inputs)} and {len(proto.output)}."
            )
        nodes = [Node.from_proto(node) for node in proto.node]
        foreign = [node.op for node in nodes if "." in node.op or _has_subgraph(node)]
        if foreign:
            raise UnsupportedOperator(foreign)
        graph = cls(
            nodes=nodes,
            constants=constants,
            input=inputs[0].name,
            input_shape=_fixed_dimensions(inputs[0]),
            output=proto.output[0].name,
            opset=_opset(model),
        )
        return graph

    def uses(self) -> Counter[str]:
        """Count how often each tensor is read, the graph output included."""
        counts = Counter(name for node in self.nodes for name in node.inputs if name)
        counts[self.output] += 1
        return counts

    def producers(self) -> dict[str, Node]:
        """Map each computed tensor to the node that computes it."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    def rename(self, names: dict[str, str]) -> None:
        """Rename tensors everywhere, the graph's input and output included."""
        for node in self.nodes:
            node.inputs = [names.get(name, name) for name in node.inputs]
            node.outputs = [names.get(name, name) for name in node.outputs]
        self.constants = {names.get(name, name): value for name, value in self.constants.items()}
        self.input = names.get(self.input, self.input)
        self.output = names.get(self.output, self.output)

    def drop_unused(self) -> None:
        """Remove nodes and constants that the output does not need."""
        needed = {self.output}
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                kept.append(node)
                needed.update(node.inputs)
        self.nodes = kept[::-1]
        self.constants = {name: value for name, value in self.constants.items() if name in needed}

    def fresh_name(self, wish: str) -> str:
        """Return the wished name, or a variant of it that no tensor carries yet."""
        taken = {self.input, *self.constants, *(name for node in self.nodes for name in node.outputs)}
        name, number = wish, 1
        while name in taken:
            number += 1
            name = f"{wish}_{number}"
        return name


def write_model(
    nodes: Iterable[Node],
    constants: dict[str, np.ndarray],
    *,
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    opset: int,
    name: str,
) -> onnx.ModelProto:
    """Write a model for the standard operator set and have it checked, shapes included."""
    protos = [node.to_proto() for node in nodes]
    graph = helper.make_graph(protos, name, inputs, outputs, tensor_protos(constants))
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="facecloak")
    onnx.checker.check_model(model, full_check=True)
    return model


def tensor_protos(constants: dict[str, np.ndarray]) -> list[TensorProto]:
    """Encode constants as initializers."""
    # Not ascontiguousarray: it turns scalars into vectors of one.
    return [numpy_helper.from_array(np.array(value, order="C"), name) for name, value in constants.items()]


def _opset(model: onnx.ModelProto) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions:
        raise InvalidRecognizerGraph("The model does not say which standard operator set it uses.")
    return max(versions)


def _has_subgraph(node: Node) -> bool:
    return any(item.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for item in node.attributes.values())


def _fixed_dimensions(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    tensor = value.type.tensor_type
    dimensions = tuple(dimension.dim_value for dimension in tensor.shape.dim[1:])
    if tensor.elem_type != TensorProto.FLOAT or not dimensions or min(dimensions) < 1:
        raise InvalidRecognizerGraph("The input of a recognizer graph is float32 and fixed in all but its batch size.")
    return dimensions
