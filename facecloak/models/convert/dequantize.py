"""Weights that are stored as integers with scales, brought back to float32."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from facecloak.models.convert.dead_code import drop_unused_weights
from facecloak.models.errors import ModelUnsupported
from facecloak.models.repository import MAX_MODEL_BYTES

_INTEGERS = frozenset(
    getattr(TensorProto, name) for name in ("INT4", "UINT4", "INT8", "UINT8", "INT16", "UINT16", "INT32")
)


def fold_quantized_weights(model: onnx.ModelProto) -> int:
    """Compute each DequantizeLinear of constant integers with float32 scales, in place; returns how many.

    Also what a Reshape makes of such weights: some quantizers flatten a kernel to cut it into blocks. Weights may have
    one scale, one for each slice of an axis, or one for each block of an axis (ONNX Operators.md, DequantizeLinear-21).
    A network that rounds what flows through it too (QuantizeLinear) is left as it is: engines run it in integers.

    Raises:
        ModelUnsupported: scales that do not fit their weights, or more than 1 GiB of float32 weights.
    """
    graph = model.graph
    if any(node.op_type == "QuantizeLinear" for node in graph.node):
        return 0
    stored = {tensor.name: tensor for tensor in graph.initializer}
    folded: dict[str, np.ndarray] = {}
    kept: list[onnx.NodeProto] = []
    elements = count = 0
    for node in graph.node:
        try:
            if _is_foldable(node, stored):
                values = _values(stored[node.input[0]])
                elements += values.size
                if 4 * elements > MAX_MODEL_BYTES:
                    raise ModelUnsupported(f"the model's weights are larger than {MAX_MODEL_BYTES} bytes as float32")
                folded[node.output[0]] = _dequantized(node, values, stored)
                count += 1
            elif node.op_type == "Reshape" and node.input[0] in folded and node.input[1] in stored:
                folded[node.output[0]] = _reshaped(node, folded[node.input[0]], stored)
            else:
                kept.append(node)
        except (ValueError, IndexError, TypeError) as error:
            name = (node.name or "".join(node.output))[:80]
            raise ModelUnsupported(f"the model's weights do not fit their scales or shapes: {name}") from error
    if count:
        del graph.node[:]
        graph.node.extend(kept)
        graph.initializer.extend(
            numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in folded.items()
        )
        drop_unused_weights(graph)
    return count


def _is_foldable(node: onnx.NodeProto, stored: dict[str, TensorProto]) -> bool:
    return (
        node.op_type == "DequantizeLinear"
        and len(node.input) in (2, 3)
        and all(name in stored for name in node.input if name)
        and all(node.input[:2])
        and stored[node.input[0]].data_type in _INTEGERS
        and stored[node.input[1]].data_type == TensorProto.FLOAT
    )


def _values(tensor: TensorProto) -> np.ndarray:
    if any(side < 0 for side in tensor.dims):
        raise ValueError("a negative side, which numpy would fill in")
    return numpy_helper.to_array(tensor)


def _dequantized(node: onnx.NodeProto, values: np.ndarray, stored: dict[str, TensorProto]) -> np.ndarray:
    """``(values - zero) * scale`` with the shape of ``values``, float32. Raises ValueError."""
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    block = attributes.get("block_size", 0)
    scale = numpy_helper.to_array(stored[node.input[1]])
    zero = np.zeros_like(scale)
    if len(node.input) > 2 and node.input[2]:
        if stored[node.input[2]].data_type != stored[node.input[0]].data_type:
            raise ValueError("the zero points have another type")
        zero = numpy_helper.to_array(stored[node.input[2]]).astype(np.float32)
    if zero.shape != scale.shape:
        raise ValueError("not one zero point for each scale")
    if scale.size != 1 or scale.ndim > 1 or block:
        axis = attributes.get("axis", 1)
        if not -values.ndim <= axis < values.ndim:
            raise ValueError("no such axis")
        axis %= values.ndim
        scale, zero = (_spread(one, values.shape, axis=axis, block=block) for one in (scale, zero))
    else:
        scale, zero = scale.reshape(()), zero.reshape(())
    # Exact up to the product: integers of 16 bits are float32 numbers, and those of 32 bits have no zero point.
    return (values.astype(np.float32) - zero) * scale


def _spread(scales: np.ndarray, shape: tuple[int, ...], *, axis: int, block: int) -> np.ndarray:
    """Scales in a shape that broadcasts against ``shape``."""
    side = shape[axis]
    if not block:
        if scales.shape != (side,):
            raise ValueError("not one scale for each slice")
        return scales.reshape([side if i == axis else 1 for i in range(len(shape))])
    expected = list(shape)
    expected[axis] = -(-side // block)
    if block < 0 or scales.shape != tuple(expected):
        raise ValueError("not one scale for each block")
    return np.take(scales, np.arange(side) // block, axis=axis)


def _reshaped(node: onnx.NodeProto, value: np.ndarray, stored: dict[str, TensorProto]) -> np.ndarray:
    """Reshape-14: a 0 copies the side unless ``allowzero`` is set. Raises ValueError."""
    target = numpy_helper.to_array(stored[node.input[1]]).tolist()
    copies = not any(attribute.name == "allowzero" and attribute.i for attribute in node.attribute)
    return value.reshape([value.shape[i] if side == 0 and copies else side for i, side in enumerate(target)])
