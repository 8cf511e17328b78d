"""One rule for each TensorFlow operation that the importer knows: it adds the ONNX nodes of one TensorFlow node.

Semantics: tensorflow/core/ops definitions; SAME padding: tensorflow's "padding" note (extra px go below and right).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from facecloak.models.convert.tfjs_graph import Conversion, Shape, TfjsNode, Value
from facecloak.models.errors import ModelUnsupported

Rule = Callable[[Conversion, TfjsNode], None]
RULES: dict[str, Rule] = {}


def _rule(*operations: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        for operation in operations:
            RULES[operation] = rule
        return rule

    return register


def _window(node: TfjsNode, size: tuple[int, int], shape: Shape) -> tuple[dict[str, Any], tuple[int, int]]:
    """ONNX's kernel, stride, pad and dilation attributes and the output's (height, width)."""
    if node.attributes.get("data_format", "NHWC") != "NHWC":
        raise ModelUnsupported(f"{node.name!r} is not NHWC")
    strides = node.attributes["strides"][1:3]
    dilations = (node.attributes.get("dilations") or [1, 1, 1, 1])[1:3]
    padding = node.attributes["padding"]
    before, after, out = [], [], []
    for side, kernel, stride, dilation in zip(shape[1:3], size, strides, dilations, strict=True):
        if side is None:
            raise ModelUnsupported(f"{node.name!r} reads an image of unknown size")
        reach = (kernel - 1) * dilation + 1
        if padding == "SAME":
            out.append(-(-side // stride))
            total = max((out[-1] - 1) * stride + reach - side, 0)
        elif padding == "VALID":
            out.append((side - reach) // stride + 1)
            total = 0
        else:
            raise ModelUnsupported(f"{node.name!r} pads {padding}")
        before.append(total // 2)
        after.append(total - total // 2)
    window = {"kernel_shape": list(size), "strides": strides, "pads": before + after, "dilations": dilations}
    return window, (out[0], out[1])


def _activate(
    c: Conversion, name: str, activation: str, node: TfjsNode, *, slope: str | None, channels_first: bool
) -> str:
    if activation == "Prelu":
        if slope is None:
            raise ModelUnsupported(f"{node.name!r} has no slopes")
        slopes = np.asarray(c.weight(slope), np.float32)
        return c.graph.add("PRelu", name, c.graph.floats(slopes.reshape(-1, 1, 1) if channels_first else slopes))
    if activation == "Relu6":
        return c.graph.add("Clip", name, c.graph.floats(0.0), c.graph.floats(6.0))
    if activation == "LeakyRelu":
        return c.graph.add("LeakyRelu", name, alpha=float(node.attributes.get("leakyrelu_alpha", 0.2)))
    if activation in ("Relu", "Elu", "Sigmoid", "Tanh"):
        return c.graph.add(activation, name)
    raise ModelUnsupported(f"{node.name!r} is fused with {activation}")


@_rule("Conv2D", "_FusedConv2D", "DepthwiseConv2dNative", "FusedDepthwiseConv2dNative")
def _convolution(c: Conversion, node: TfjsNode) -> None:
    image, kernel = c.nchw(c.value(node.inputs[0])), c.weight(node.inputs[1])
    height, width, channels, multiplier = kernel.shape
    window, sides = _window(node, (height, width), image.shape)
    depthwise = "Depthwise" in node.operation
    if depthwise:
        weights = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
        window["group"] = channels
    else:
        weights = kernel.transpose(3, 2, 0, 1)
        if channels and image.shape[3] != channels:
            raise ModelUnsupported(f"{node.name!r} is a grouped convolution")
    fused, rest = list(node.attributes.get("fused_ops", [])), list(node.inputs[2:])
    inputs = [image.name, c.graph.floats(weights)]
    if fused[:1] == ["BiasAdd"]:
        inputs.append(c.graph.floats(c.weight(rest.pop(0)).reshape(-1)))
        fused.pop(0)
    name = c.graph.add("Conv", *inputs, **window)
    for activation in fused:
        slope = rest.pop(0) if activation == "Prelu" else None
        name = _activate(c, name, activation, node, slope=slope, channels_first=True)
    c.values[node.name] = Value(name, (None, *sides, weights.shape[0]), is_nchw=True)


@_rule("MaxPool", "AvgPool")
def _pool(c: Conversion, node: TfjsNode) -> None:
    image = c.nchw(c.value(node.inputs[0]))
    height, width = node.attributes["ksize"][1:3]
    window, sides = _window(node, (height, width), image.shape)
    window.pop("dilations")
    operation = "MaxPool" if node.operation == "MaxPool" else "AveragePool"  # both skip the padding in TensorFlow
    name = c.graph.add(operation, image.name, **window)
    c.values[node.name] = Value(name, (None, *sides, image.shape[3]), is_nchw=True)


@_rule("MatMul", "_FusedMatMul")
def _matmul(c: Conversion, node: TfjsNode) -> None:
    rows, matrix = c.value(node.inputs[0]), np.asarray(c.weight(node.inputs[1]), np.float32)
    if len(rows.shape) != 2 or node.attributes.get("transpose_a"):
        raise ModelUnsupported(f"{node.name!r} is not a product of rows and a matrix")
    if node.attributes.get("transpose_b"):
        matrix = matrix.T
    fused, rest = list(node.attributes.get("fused_ops", [])), list(node.inputs[2:])
    name = c.graph.add("MatMul", rows.name, c.graph.floats(matrix))
    if fused[:1] == ["BiasAdd"]:
        name = c.graph.add("Add", name, c.graph.floats(c.weight(rest.pop(0))))
        fused.pop(0)
    for activation in fused:
        slope = rest.pop(0) if activation == "Prelu" else None
        name = _activate(c, name, activation, node, slope=slope, channels_first=False)
    c.values[node.name] = Value(name, (rows.shape[0], matrix.shape[1]))


_BINARY = {
    "Add": "Add",
    "AddV2": "Add",
    "BiasAdd": "Add",
    "Sub": "Sub",
    "Mul": "Mul",
    "RealDiv": "Div",
    "Maximum": "Max",
    "Minimum": "Min",
}


@_rule(*_BINARY)
def _binary(c: Conversion, node: TfjsNode) -> None:
    known = [c.values[name] for name in node.inputs if name in c.values]
    rank = max(len(value.shape) for value in known)
    operands = [c.values[name] if name in c.values else c.constant_like(name, rank=rank) for name in node.inputs]
    if rank == 4:  # scalars broadcast whatever the layout
        operands = [value if not value.shape else c.nchw(_raise_rank(c, value, 4)) for value in operands]
    shape = _broadcast([value.shape for value in operands])
    name = c.graph.add(_BINARY[node.operation], *(value.name for value in operands))
    c.values[node.name] = Value(name, shape, is_nchw=rank == 4)


def _raise_rank(c: Conversion, value: Value, rank: int) -> Value:
    if len(value.shape) == rank:
        return value
    raise ModelUnsupported("two tensors of different rank are combined")


def _broadcast(shapes: list[Shape]) -> Shape:
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    result: list[int | None] = []
    for sides in zip(*padded, strict=True):
        wide = [side for side in sides if side != 1]
        if len(set(wide)) > 1:
            raise ModelUnsupported(f"shapes {shapes} do not broadcast")
        result.append(wide[0] if wide else 1)
    return tuple(result)


@_rule("Relu", "Sigmoid", "Tanh", "Abs", "Sqrt", "Neg", "Exp", "Elu", "Relu6", "LeakyRelu")
def _unary(c: Conversion, node: TfjsNode) -> None:
    value = c.value(node.inputs[0])
    if node.operation == "Relu6":
        name = c.graph.add("Clip", value.name, c.graph.floats(0.0), c.graph.floats(6.0))
    elif node.operation == "LeakyRelu":
        name = c.graph.add("LeakyRelu", value.name, alpha=float(node.attributes.get("alpha", 0.2)))
    else:
        name = c.graph.add(node.operation, value.name)
    c.values[node.name] = Value(name, value.shape, value.is_nchw)


@_rule("Identity", "StopGradient", "Dropout")
def _identity(c: Conversion, node: TfjsNode) -> None:
    if node.inputs[0] in c.shapes:
        c.shapes[node.name] = c.shapes[node.inputs[0]]
    elif node.inputs[0] in c.weights:
        c.weights[node.name] = c.weights[node.inputs[0]]
    else:
        c.values[node.name] = c.value(node.inputs[0])


@_rule("Softmax")
def _softmax(c: Conversion, node: TfjsNode) -> None:
    value = c.plain(c.value(node.inputs[0]))
    c.values[node.name] = Value(c.graph.add("Softmax", value.name, axis=-1), value.shape)


@_rule("Square")
def _square(c: Conversion, node: TfjsNode) -> None:
    value = c.value(node.inputs[0])
    c.values[node.name] = Value(c.graph.add("Mul", value.name, value.name), value.shape, value.is_nchw)


@_rule("Rsqrt")
def _rsqrt(c: Conversion, node: TfjsNode) -> None:
    value = c.value(node.inputs[0])
    root = c.graph.add("Sqrt", value.name)
    c.values[node.name] = Value(c.graph.add("Reciprocal", root), value.shape, value.is_nchw)


@_rule("Prelu")
def _prelu(c: Conversion, node: TfjsNode) -> None:
    value = c.value(node.inputs[0])
    name = _activate(c, value.name, "Prelu", node, slope=node.inputs[1], channels_first=value.is_nchw)
    c.values[node.name] = Value(name, value.shape, value.is_nchw)


@_rule("Mean", "Sum")
def _reduce(c: Conversion, node: TfjsNode) -> None:
    value = c.value(node.inputs[0])
    rank = len(value.shape)
    axes = sorted(int(axis) % rank for axis in np.ravel(c.weight(node.inputs[1])))
    keep = bool(node.attributes.get("keep_dims", False))
    if value.is_nchw and not keep and axes != [1, 2]:
        value = c.plain(value)
    stored = sorted(_nchw_axis(axis) for axis in axes) if value.is_nchw else axes
    operation = "ReduceMean" if node.operation == "Mean" else "ReduceSum"
    name = c.graph.add(operation, value.name, c.graph.ints(stored), keepdims=int(keep))
    shape: Shape = tuple(
        1 if axis in axes else side for axis, side in enumerate(value.shape) if keep or axis not in axes
    )
    c.values[node.name] = Value(name, shape, is_nchw=value.is_nchw and keep)


def _nchw_axis(axis: int) -> int:
    return (0, 2, 3, 1)[axis]


@_rule("Pad", "PadV2", "MirrorPad")
def _pad(c: Conversion, node: TfjsNode) -> None:
    value = c.value(node.inputs[0])
    amounts = [(int(a), int(b)) for a, b in c.weight(node.inputs[1])]
    if any(amounts[0]):
        raise ModelUnsupported(f"{node.name!r} pads the batch")
    padded = zip(value.shape, amounts, strict=True)
    shape: Shape = tuple(side if side is None else side + sum(pair) for side, pair in padded)
    order = [amounts[i] for i in (0, 3, 1, 2)] if value.is_nchw else amounts
    pads = c.graph.ints([pair[0] for pair in order] + [pair[1] for pair in order])
    if node.operation == "MirrorPad":
        if node.attributes.get("mode") != "REFLECT":
            raise ModelUnsupported(f"{node.name!r} mirrors symmetrically")
        name = c.graph.add("Pad", value.name, pads, mode="reflect")
    else:
        fill = float(c.weight(node.inputs[2])) if node.operation == "PadV2" else 0.0
        name = c.graph.add("Pad", value.name, pads, c.graph.floats(fill), mode="constant")
    c.values[node.name] = Value(name, shape, value.is_nchw)


@_rule("Reshape")
def _reshape(c: Conversion, node: TfjsNode) -> None:
    value = c.plain(c.value(node.inputs[0]))
    target = _shape_operand(c, node.inputs[1])
    # A batch written as 1 is an artifact of the export; every rule here keeps the batch first.
    if value.shape[0] is None and target and target[0] in (1, -1, None):
        features = int(np.prod([side for side in value.shape[1:] if side is not None]))
        rest = [-1 if side is None else int(side) for side in target[1:]]
        if rest.count(-1) == 1:
            known = int(np.prod([side for side in rest if side != -1]))
            rest[rest.index(-1)] = features // max(known, 1)
        if -1 in rest or int(np.prod(rest)) != features:
            raise ModelUnsupported(f"{node.name!r} mixes the batch with other dimensions")
        name = c.graph.add("Reshape", value.name, c.graph.ints([-1, *rest]))
        c.values[node.name] = Value(name, (None, *rest))
        return
    raise ModelUnsupported(f"{node.name!r} reshapes {value.shape} to {target}")


@_rule("Squeeze")
def _squeeze(c: Conversion, node: TfjsNode) -> None:
    value = c.plain(c.value(node.inputs[0]))
    axes = [axis % len(value.shape) for axis in node.attributes.get("squeeze_dims") or []]
    axes = axes or [axis for axis, side in enumerate(value.shape) if side == 1]
    if any(value.shape[axis] != 1 for axis in axes):
        raise ModelUnsupported(f"{node.name!r} squeezes a side that is not 1")
    name = c.graph.add("Squeeze", value.name, c.graph.ints(axes))
    c.values[node.name] = Value(name, tuple(side for axis, side in enumerate(value.shape) if axis not in axes))


@_rule("ExpandDims")
def _expand(c: Conversion, node: TfjsNode) -> None:
    value = c.plain(c.value(node.inputs[0]))
    axis = int(c.weight(node.inputs[1])) % (len(value.shape) + 1)
    name = c.graph.add("Unsqueeze", value.name, c.graph.ints([axis]))
    c.values[node.name] = Value(name, (*value.shape[:axis], 1, *value.shape[axis:]))


@_rule("ConcatV2")
def _concat(c: Conversion, node: TfjsNode) -> None:
    values = [c.value(name) for name in node.inputs[:-1]]
    rank = len(values[0].shape)
    axis = int(c.weight(node.inputs[-1])) % rank
    nchw = all(value.is_nchw for value in values)
    if not nchw:
        values = [c.plain(value) for value in values]
    sides = [value.shape[axis] for value in values]
    if axis == 0 or None in sides:
        raise ModelUnsupported(f"{node.name!r} joins along the batch")
    total = sum(side for side in sides if side is not None)
    name = c.graph.add("Concat", *(value.name for value in values), axis=_nchw_axis(axis) if nchw else axis)
    shape = values[0].shape
    c.values[node.name] = Value(name, (*shape[:axis], total, *shape[axis + 1 :]), is_nchw=nchw)


@_rule("Transpose")
def _transpose(c: Conversion, node: TfjsNode) -> None:
    value, order = c.plain(c.value(node.inputs[0])), [int(axis) for axis in c.weight(node.inputs[1])]
    if order[0] != 0:
        raise ModelUnsupported(f"{node.name!r} moves the batch")
    name = c.graph.add("Transpose", value.name, perm=order)
    c.values[node.name] = Value(name, tuple(value.shape[axis] for axis in order))


@_rule("ResizeBilinear", "ResizeNearestNeighbor")
def _resize(c: Conversion, node: TfjsNode) -> None:
    image = c.nchw(c.value(node.inputs[0]))
    height, width = (int(side) for side in c.weight(node.inputs[1]))
    corners, half = node.attributes.get("align_corners"), node.attributes.get("half_pixel_centers")
    nearest = node.operation == "ResizeNearestNeighbor"
    scales = [1.0, 1.0, height / float(image.shape[1] or 0), width / float(image.shape[2] or 0)]
    name = c.graph.add(
        "Resize",
        image.name,
        "",
        c.graph.constant(scales, np.float32),
        mode="nearest" if nearest else "linear",
        coordinate_transformation_mode="align_corners" if corners else "half_pixel" if half else "asymmetric",
        nearest_mode="round_prefer_floor" if corners else "floor",
    )
    c.values[node.name] = Value(name, (None, height, width, image.shape[3]), is_nchw=True)


@_rule("DepthToSpace")
def _depth_to_space(c: Conversion, node: TfjsNode) -> None:
    image, block = c.nchw(c.value(node.inputs[0])), int(node.attributes["block_size"])
    _, height, width, channels = image.shape
    name = c.graph.add("DepthToSpace", image.name, blocksize=block, mode="DCR")
    shape = (None, (height or 0) * block, (width or 0) * block, (channels or 0) // block**2)
    c.values[node.name] = Value(name, shape, is_nchw=True)


# Shape arithmetic: exporters write reshape targets as Pack(StridedSlice(Shape(x)), 512, 1); all of it is known here.


@_rule("Shape")
def _shape(c: Conversion, node: TfjsNode) -> None:
    c.shapes[node.name] = c.value(node.inputs[0]).shape


@_rule("StridedSlice")
def _strided_slice(c: Conversion, node: TfjsNode) -> None:
    source = c.shapes[node.inputs[0]]
    begin, end, step = (int(np.ravel(c.weight(name))[0]) for name in node.inputs[1:4])
    if node.attributes.get("shrink_axis_mask"):
        c.shapes[node.name] = (source[begin],)
        return
    first = None if node.attributes.get("begin_mask") else begin
    last = None if node.attributes.get("end_mask") else end
    c.shapes[node.name] = source[first:last:step]


@_rule("Pack")
def _pack(c: Conversion, node: TfjsNode) -> None:
    c.shapes[node.name] = tuple(side for name in node.inputs for side in _shape_operand(c, name))


def _shape_operand(c: Conversion, name: str) -> Shape:
    if name in c.shapes:
        return c.shapes[name]
    return tuple(int(side) for side in np.ravel(c.weight(name)))
