"""Static shapes of all tensors of a graph, with the batch size left open.

Symbolic shape inference loses the batch dimension at the first computed Reshape. Inference with two concrete batch
sizes does not: a dimension that differs between the two follows the batch, all others are fixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnx.shape_inference
from onnx import TensorProto, helper

from facecloak.onnx_gradient.errors import BatchNotDynamic, UnknownShape
from facecloak.onnx_gradient.graph import Graph, tensor_protos

Shape = tuple[int | None, ...]
"""Sizes along each axis; None is a size that follows the batch."""

_BATCH_SIZES = (5, 7)
_LARGEST_VALUE_NEEDED = 4096
"""Larger constants are weights, of which only the type counts; smaller ones may be shapes, pads or axes."""


@dataclass(frozen=True)
class TensorTypes:
    """What is known of each tensor before running.

    Attributes:
        shapes: shape by tensor name; tensors of unknown shape are missing.
        element_types: TensorProto data type by tensor name.
    """

    shapes: dict[str, Shape]
    element_types: dict[str, int]

    def shape(self, tensor: str) -> Shape:
        """Return the shape of a tensor.

        Raises:
            UnknownShape: inference could not tell.
        """
        if tensor not in self.shapes:
            raise UnknownShape(tensor)
        return self.shapes[tensor]


def infer_types(graph: Graph) -> TensorTypes:
    """Infer the type of every tensor.

    Raises:
        BatchNotDynamic: the output does not follow the batch size of the input.
        UnknownShape: the shape of the output is not known; names the first tensor for which that is so.
    """
    first, second = (_infer_at(graph, batch) for batch in _BATCH_SIZES)
    shapes: dict[str, Shape] = {}
    element_types: dict[str, int] = {}
    for name, (element_type, sizes) in first.items():
        element_types[name] = element_type
        other = second.get(name, (element_type, None))[1]
        if sizes is not None and other is not None and len(sizes) == len(other):
            shapes[name] = tuple(one if one == two else None for one, two in zip(sizes, other, strict=True))
    for name, value in graph.constants.items():
        shapes[name] = value.shape
        element_types[name] = helper.np_dtype_to_tensor_dtype(value.dtype)
    types = TensorTypes(shapes, element_types)
    if graph.output not in shapes:
        # The first unknown shape is the cause of all that follow.
        raise UnknownShape(next(name for node in graph.nodes for name in node.outputs if name and name not in shapes))
    if shapes[graph.output][:1] != (None,):
        _raise_batch_not_dynamic(graph, types)
    return types


def _infer_at(graph: Graph, batch: int) -> dict[str, tuple[int, tuple[int, ...] | None]]:
    small = {name: value for name, value in graph.constants.items() if value.size <= _LARGEST_VALUE_NEEDED}
    # Weights enter as inputs: inference then copies names instead of megabytes.
    inputs = [helper.make_tensor_value_info(graph.input, TensorProto.FLOAT, [batch, *graph.input_shape])]
    inputs += [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in graph.constants.items()
        if name not in small
    ]
    output = helper.make_empty_tensor_value_info(graph.output)
    proto = helper.make_graph(
        [node.to_proto() for node in graph.nodes], "shapes", inputs, [output], tensor_protos(small)
    )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", graph.opset)])
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    found: dict[str, tuple[int, tuple[int, ...] | None]] = {}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        tensor = value.type.tensor_type
        dimensions = tensor.shape.dim
        known = tensor.HasField("shape") and all(dimension.HasField("dim_value") for dimension in dimensions)
        found[value.name] = (tensor.elem_type, tuple(item.dim_value for item in dimensions) if known else None)
    return found


def _raise_batch_not_dynamic(graph: Graph, types: TensorTypes) -> None:
    def leads_with_batch(name: str) -> bool:
        # Shapes are integers and of fixed size themselves; only image data must keep its batch dimension.
        is_data = types.element_types.get(name) == TensorProto.FLOAT
        return is_data and types.shapes.get(name, ())[:1] == (None,)

    # A transposition may move the batch and another one move it back: the last loss is the one that counts.
    for node in reversed(graph.nodes):
        if any(map(leads_with_batch, node.inputs)) and not any(map(leads_with_batch, node.outputs)):
            raise BatchNotDynamic(node.outputs[0], node.op)
    raise BatchNotDynamic(graph.output, "output")
