"""An independent interpreter of ONNX graphs in torch, whose autograd is the reference of these tests.

It shares nothing with the compiler: forward operators in torch functions, float64, nothing simplified.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch.nn import functional

Operator = Callable[..., Any]
OPERATORS: dict[str, Operator] = {}


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Register f(attributes, *inputs)."""

    def register(function: Operator) -> Operator:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return register


@dataclass(frozen=True)
class Reference:
    """float64 results of torch: loss [N], embedding [N, D], gradient like the crops."""

    loss: np.ndarray
    embedding: np.ndarray
    gradient: np.ndarray


def run_graph(model: onnx.ModelProto, image: torch.Tensor) -> torch.Tensor:
    """Run a graph of one input and one output on a tensor of any float type."""
    values: dict[str, Any] = {"": None}
    for initializer in model.graph.initializer:
        array = torch.from_numpy(numpy_helper.to_array(initializer).copy())
        values[initializer.name] = array.to(image.dtype) if array.is_floating_point() else array
    values[next(item.name for item in model.graph.input if item.name not in values)] = image
    for node in model.graph.node:
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        attributes = {key: value.decode() if isinstance(value, bytes) else value for key, value in attributes.items()}
        attributes["_outputs"], attributes["_dtype"] = len(node.output), image.dtype
        results = OPERATORS[node.op_type](attributes, *(values[name] for name in node.input))
        values.update(zip(node.output, results if isinstance(results, (tuple, list)) else [results], strict=False))
    return values[model.graph.output[0].name]


def reference_gradient(
    model: onnx.ModelProto, crops: np.ndarray, far: np.ndarray, near: np.ndarray, *, dtype: torch.dtype = torch.float64
) -> Reference:
    """Loss cos(e, near) - cos(e, far) and its gradient by the crops."""
    image = torch.from_numpy(crops).to(dtype).requires_grad_(True)
    embedding = functional.normalize(run_graph(model, image), dim=1)
    away = functional.normalize(torch.from_numpy(near).to(dtype), dim=1)
    away = away - functional.normalize(torch.from_numpy(far).to(dtype), dim=1)
    loss = (embedding * away).sum(1)
    (gradient,) = torch.autograd.grad(loss.sum(), image)
    return Reference(loss.detach().numpy(), embedding.detach().numpy(), gradient.numpy())


# Windows


def _padded(attributes: dict[str, Any], image: torch.Tensor, size: Sequence[int], value: float) -> torch.Tensor:
    rank = len(size)
    strides, dilations = attributes.get("strides", [1] * rank), attributes.get("dilations", [1] * rank)
    pads = list(attributes.get("pads", [0] * 2 * rank))
    automatic = attributes.get("auto_pad", "NOTSET")
    if automatic.startswith("SAME"):
        for axis in range(rank):
            side = image.shape[2 + axis]
            out = -(-side // strides[axis])
            total = max((out - 1) * strides[axis] + dilations[axis] * (size[axis] - 1) + 1 - side, 0)
            small, large = total // 2, total - total // 2
            pads[axis], pads[axis + rank] = (small, large) if automatic == "SAME_UPPER" else (large, small)
    order = itertools.chain.from_iterable((pads[axis], pads[axis + rank]) for axis in reversed(range(rank)))
    return functional.pad(image, list(order), value=value)


@operator("Conv")
def _conv(attributes: dict[str, Any], image: torch.Tensor, weights: torch.Tensor, bias: Any = None) -> torch.Tensor:
    rank = weights.ndim - 2
    function = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[rank]
    return function(
        _padded(attributes, image, weights.shape[2:], 0.0),
        weights,
        bias,
        stride=tuple(attributes.get("strides", [1] * rank)),
        dilation=tuple(attributes.get("dilations", [1] * rank)),
        groups=attributes.get("group", 1),
    )


@operator("ConvTranspose")
def _conv_transpose(attributes: dict[str, Any], image: Any, weights: Any, bias: Any = None) -> torch.Tensor:
    pads = attributes.get("pads", [0] * 4)
    assert pads[:2] == pads[2:]
    return functional.conv_transpose2d(
        image,
        weights,
        bias,
        stride=tuple(attributes.get("strides", [1, 1])),
        padding=tuple(pads[:2]),
        output_padding=tuple(attributes.get("output_padding", [0, 0])),
        groups=attributes.get("group", 1),
        dilation=tuple(attributes.get("dilations", [1, 1])),
    )


@operator("AveragePool")
def _average_pool(attributes: dict[str, Any], image: torch.Tensor) -> torch.Tensor:
    size, stride = attributes["kernel_shape"], attributes.get("strides", [1, 1])
    total = functional.avg_pool2d(_padded(attributes, image, size, 0.0), size, stride)
    if attributes.get("count_include_pad", 0):
        return total
    ones = _padded(attributes, torch.ones_like(image), size, 0.0)
    return total / functional.avg_pool2d(ones, size, stride)


@operator("MaxPool")
def _max_pool(attributes: dict[str, Any], image: torch.Tensor) -> torch.Tensor:
    size = attributes["kernel_shape"]
    padded = _padded(attributes, image, size, -torch.inf)
    return functional.max_pool2d(padded, size, attributes.get("strides", [1, 1]), 0, attributes.get("dilations", 1))


# Elements


def _simple(**functions: Callable[..., Any]) -> None:
    for name, function in functions.items():
        OPERATORS[name] = lambda attributes, *inputs, function=function: function(*inputs)


_simple(
    Abs=torch.abs,
    Add=torch.add,
    Cos=torch.cos,
    Div=torch.div,
    Equal=torch.eq,
    Erf=torch.erf,
    Exp=torch.exp,
    Expand=lambda x, shape: x * torch.ones(shape.tolist(), dtype=x.dtype),
    Floor=torch.floor,
    GlobalAveragePool=lambda x: x.mean(tuple(range(2, x.ndim)), keepdim=True),
    GlobalMaxPool=lambda x: x.amax(tuple(range(2, x.ndim)), keepdim=True),
    Greater=torch.gt,
    HardSwish=functional.hardswish,
    Identity=lambda x: x,
    Log=torch.log,
    MatMul=torch.matmul,
    Max=lambda *inputs: torch.stack(torch.broadcast_tensors(*inputs)).amax(0),
    Min=lambda *inputs: torch.stack(torch.broadcast_tensors(*inputs)).amin(0),
    Mish=functional.mish,
    Mul=torch.mul,
    Neg=torch.neg,
    PRelu=lambda x, slope: torch.where(x > 0, x, slope * x),
    Pow=torch.pow,
    Reciprocal=torch.reciprocal,
    Relu=torch.relu,
    Shape=lambda x: torch.tensor(x.shape),
    Sigmoid=torch.sigmoid,
    Sin=torch.sin,
    Softplus=functional.softplus,
    Softsign=functional.softsign,
    Sqrt=torch.sqrt,
    Sub=torch.sub,
    Sum=lambda *inputs: sum(inputs),
    Tanh=torch.tanh,
    Where=torch.where,
)
OPERATORS["Clip"] = lambda _, x, low=None, high=None: torch.clamp(x, low, high)
OPERATORS["Dropout"] = lambda _, x, *rest: x
OPERATORS["Elu"] = lambda a, x: functional.elu(x, a.get("alpha", 1.0))
OPERATORS["HardSigmoid"] = lambda a, x: torch.clamp(a.get("alpha", 0.2) * x + a.get("beta", 0.5), 0, 1)
OPERATORS["LeakyRelu"] = lambda a, x: functional.leaky_relu(x, a.get("alpha", 0.01))
OPERATORS["LogSoftmax"] = lambda a, x: torch.log_softmax(x, a.get("axis", -1))
OPERATORS["Selu"] = lambda _, x: functional.selu(x)
OPERATORS["Softmax"] = lambda a, x: torch.softmax(x, a.get("axis", -1))


@operator("Cast")
def _cast(attributes: dict[str, Any], image: torch.Tensor) -> torch.Tensor:
    kinds = {1: attributes["_dtype"], 7: torch.int64, 9: torch.bool}
    return image.to(kinds[attributes["to"]])


@operator("Constant")
def _constant(attributes: dict[str, Any]) -> torch.Tensor:
    array = torch.from_numpy(np.array(numpy_helper.to_array(attributes["value"])))
    return array.to(attributes["_dtype"]) if array.is_floating_point() else array


@operator("Gemm")
def _gemm(attributes: dict[str, Any], a: torch.Tensor, b: torch.Tensor, c: Any = None) -> torch.Tensor:
    a, b = (a.T if attributes.get("transA") else a), (b.T if attributes.get("transB") else b)
    product = attributes.get("alpha", 1.0) * (a @ b)
    return product if c is None else product + attributes.get("beta", 1.0) * c


# Reductions and normalizations


def _reduction(function: Callable[[torch.Tensor, tuple[int, ...], bool], torch.Tensor]) -> Operator:
    def run(attributes: dict[str, Any], image: torch.Tensor, axes: torch.Tensor | None = None) -> torch.Tensor:
        chosen = attributes.get("axes") or (axes.tolist() if axes is not None else range(image.ndim))
        return function(image, tuple(chosen), bool(attributes.get("keepdims", 1)))

    return run


OPERATORS["ReduceL1"] = _reduction(lambda x, axes, keep: x.abs().sum(axes, keep))
OPERATORS["ReduceL2"] = _reduction(lambda x, axes, keep: (x * x).sum(axes, keep).sqrt())
OPERATORS["ReduceLogSumExp"] = _reduction(torch.logsumexp)
OPERATORS["ReduceMax"] = _reduction(torch.amax)
OPERATORS["ReduceMean"] = _reduction(lambda x, axes, keep: x.mean(axes, keep))
OPERATORS["ReduceMin"] = _reduction(torch.amin)
OPERATORS["ReduceSum"] = _reduction(lambda x, axes, keep: x.sum(axes, keep))
OPERATORS["ReduceSumSquare"] = _reduction(lambda x, axes, keep: (x * x).sum(axes, keep))


@operator("BatchNormalization")
def _batch_normalization(attributes: dict[str, Any], x: Any, scale: Any, bias: Any, mean: Any, variance: Any) -> Any:
    return functional.batch_norm(x, mean, variance, scale, bias, eps=attributes.get("epsilon", 1e-5))


@operator("InstanceNormalization")
def _instance_normalization(attributes: dict[str, Any], x: Any, scale: Any, bias: Any) -> Any:
    return functional.instance_norm(x, weight=scale, bias=bias, eps=attributes.get("epsilon", 1e-5))


@operator("LayerNormalization")
def _layer_normalization(attributes: dict[str, Any], x: Any, scale: Any, bias: Any = None) -> Any:
    shape = x.shape[attributes.get("axis", -1) :]
    scale = scale.expand(shape)
    return functional.layer_norm(x, shape, scale, bias, eps=attributes.get("epsilon", 1e-5))


@operator("LpNormalization")
def _lp_normalization(attributes: dict[str, Any], x: Any) -> Any:
    return functional.normalize(x, p=attributes.get("p", 2), dim=attributes.get("axis", -1))


# Shapes


@operator("Flatten")
def _flatten(attributes: dict[str, Any], x: torch.Tensor) -> torch.Tensor:
    axis = attributes.get("axis", 1)
    return x.reshape(int(np.prod(x.shape[:axis])), -1)


@operator("Reshape")
def _reshape(attributes: dict[str, Any], x: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
    return x.reshape([x.shape[index] if size == 0 else size for index, size in enumerate(shape.tolist())])


@operator("Squeeze")
def _squeeze(attributes: dict[str, Any], x: torch.Tensor, axes: torch.Tensor) -> torch.Tensor:
    return x.squeeze(tuple(axes.tolist()))


@operator("Unsqueeze")
def _unsqueeze(attributes: dict[str, Any], x: torch.Tensor, axes: torch.Tensor) -> torch.Tensor:
    for axis in sorted(axes.tolist()):
        x = x.unsqueeze(axis)
    return x


@operator("Transpose")
def _transpose(attributes: dict[str, Any], x: torch.Tensor) -> torch.Tensor:
    return x.permute(attributes.get("perm") or list(range(x.ndim))[::-1])


@operator("Pad")
def _pad(attributes: dict[str, Any], x: torch.Tensor, pads: torch.Tensor, value: Any = None, axes: Any = None) -> Any:
    assert axes is None
    rank, amounts = x.ndim, pads.tolist()
    order = itertools.chain.from_iterable((amounts[axis], amounts[axis + rank]) for axis in reversed(range(rank)))
    return functional.pad(x, list(order), value=0.0 if value is None else float(value))


@operator("Concat")
def _concat(attributes: dict[str, Any], *inputs: torch.Tensor) -> torch.Tensor:
    return torch.cat(inputs, attributes["axis"])


@operator("Split")
def _split(attributes: dict[str, Any], x: torch.Tensor, sizes: torch.Tensor | None = None) -> Sequence[torch.Tensor]:
    axis = attributes.get("axis", 0)
    if sizes is None:
        return torch.tensor_split(x, attributes["_outputs"], axis)
    return torch.split(x, sizes.tolist(), axis)


@operator("Slice")
def _slice(attributes: dict[str, Any], x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    axes = range(len(starts)) if axes is None else axes.tolist()
    steps = [1] * len(starts) if steps is None else steps.tolist()
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes, steps, strict=True):
        size = x.shape[axis]
        taken = range(size)[slice(start, None if step < 0 and end < -size else end, step)]
        x = x.index_select(axis, torch.tensor(list(taken)))
    return x


@operator("Gather")
def _gather(attributes: dict[str, Any], x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    axis = attributes.get("axis", 0)
    taken = x.index_select(axis, indices.reshape(-1) % x.shape[axis])
    return taken.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


@operator("DepthToSpace")
def _depth_to_space(attributes: dict[str, Any], x: torch.Tensor) -> torch.Tensor:
    block, (count, channels, height, width) = attributes["blocksize"], x.shape
    split = x.reshape(count, block, block, channels // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return split.reshape(count, channels // block**2, height * block, width * block)


@operator("SpaceToDepth")
def _space_to_depth(attributes: dict[str, Any], x: torch.Tensor) -> torch.Tensor:
    block, (count, channels, height, width) = attributes["blocksize"], x.shape
    split = x.reshape(count, channels, height // block, block, width // block, block).permute(0, 3, 5, 1, 2, 4)
    return split.reshape(count, channels * block**2, height // block, width // block)
