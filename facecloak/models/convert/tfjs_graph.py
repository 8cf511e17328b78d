"""A TensorFlow graph while it is converted: its nodes, its values so far, and the ONNX graph that grows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from facecloak.models.convert.graph_builder import GraphBuilder
from facecloak.models.errors import ModelUnsupported

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Value:
    """One tensor of the graph: its ONNX name, its shape in TensorFlow's order (None = batch), how it is laid out."""

    name: str
    shape: Shape
    is_nchw: bool = False


@dataclass(frozen=True)
class TfjsNode:
    """One node of a TensorFlow GraphDef, its attributes decoded."""

    name: str
    operation: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]


class Conversion:
    """The state of one conversion: values by TensorFlow name, weights, and the graph so far."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self.graph = GraphBuilder()
        self.weights = dict(weights)
        self.values: dict[str, Value] = {}
        self.shapes: dict[str, Shape] = {}
        """Tensors that only hold shapes (Shape, StridedSlice and Pack of it): known while converting."""

    def value(self, name: str) -> Value:
        if name in self.values:
            return self.values[name]
        if name in self.weights:
            return self.constant_like(name, rank=self.weights[name].ndim)
        raise ModelUnsupported(f"the graph reads {name!r} before it is made")

    def constant_like(self, name: str, *, rank: int) -> Value:
        """A weight as a value that broadcasts against a value of ``rank`` dimensions."""
        array = np.asarray(self.weights[name], np.float32)
        if rank == 4 and array.ndim:
            array = array.reshape((1,) * (4 - array.ndim) + array.shape)
            return Value(self.graph.floats(array.transpose(0, 3, 1, 2)), array.shape, is_nchw=True)
        return Value(self.graph.floats(array), array.shape)

    def weight(self, name: str) -> np.ndarray:
        if name not in self.weights:
            raise ModelUnsupported(f"{name!r} must be a constant")
        return self.weights[name]

    def nchw(self, value: Value) -> Value:
        if len(value.shape) != 4:
            raise ModelUnsupported("an image operation reads a tensor that has not four dimensions")
        if value.is_nchw:
            return value
        return Value(self.graph.add("Transpose", value.name, perm=[0, 3, 1, 2]), value.shape, is_nchw=True)

    def plain(self, value: Value) -> Value:
        """The value in TensorFlow's own order."""
        if not value.is_nchw:
            return value
        return Value(self.graph.add("Transpose", value.name, perm=[0, 2, 3, 1]), value.shape)
