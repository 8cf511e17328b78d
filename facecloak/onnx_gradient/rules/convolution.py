"""Convolutions.

The input gradient of a convolution is a transposed convolution. ONNX Runtime's ConvTranspose is a matrix product and a
scatter, slower on a CPU than its Conv; so for stride 1 the gradient is written as the Conv it equals, with the weights
turned by 180 degrees and their channel axes swapped. Whole nets get 1.1 to 1.2 times faster. For larger strides
ConvTranspose is the faster one (1.8 to 10 times).

The turned weights are computed in the graph from the shared ones. A runtime folds that once at load.
"""

from __future__ import annotations

from dataclasses import dataclass

from facecloak.onnx_gradient.builder import GradientBuilder
from facecloak.onnx_gradient.graph import Node
from facecloak.onnx_gradient.rules.registry import unary_rule, unsupported
from facecloak.onnx_gradient.shapes import Shape


@dataclass(frozen=True)
class Window:
    """How a convolution or pooling window moves over the spatial axes, one entry an axis.

    Attributes:
        size: sizes of the window.
        strides: steps.
        dilations: distances between window elements.
        before: padding before the first element.
        after: padding behind the last element.
    """

    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def of(cls, node: Node, size: tuple[int, ...], image: tuple[int, ...], output: tuple[int, ...]) -> Window:
        """Read the attributes of a node, of which padding may be automatic."""
        rank = len(size)
        strides = tuple(node.attribute("strides", [1] * rank))
        dilations = tuple(node.attribute("dilations", [1] * rank))
        pads = node.attribute("pads", [0] * 2 * rank)
        before, after = tuple(pads[:rank]), tuple(pads[rank:])
        automatic = node.attribute("auto_pad", "NOTSET")
        if automatic in ("SAME_UPPER", "SAME_LOWER"):
            needed = [
                max((out - 1) * stride + dilation * (width - 1) + 1 - side, 0)
                for out, stride, dilation, width, side in zip(output, strides, dilations, size, image, strict=True)
            ]
            smaller = tuple(total // 2 for total in needed)
            larger = tuple(total - total // 2 for total in needed)
            before, after = (smaller, larger) if automatic == "SAME_UPPER" else (larger, smaller)
        elif automatic == "VALID":
            before = after = (0,) * rank
        return cls(size, strides, dilations, before, after)

    @property
    def extent(self) -> tuple[int, ...]:
        """Distance from the first to the last element of the window."""
        return tuple(dilation * (size - 1) for dilation, size in zip(self.dilations, self.size, strict=True))


def spatial(shape: Shape, node: Node) -> tuple[int, ...]:
    """The sizes behind batch and channels."""
    sizes = tuple(size for size in shape[2:] if size is not None)
    if len(sizes) != len(shape) - 2:
        raise unsupported(node, "spatial axis that follows the batch")
    return sizes


@unary_rule("Conv")
def conv(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """y = W * x + b: dx is the transposed convolution of dy with W."""
    weights = node.inputs[1]
    image = spatial(builder.shape(node.inputs[0]), node)
    output = spatial(builder.shape(node.outputs[0]), node)
    size = tuple(width or 1 for width in builder.shape(weights)[2:])
    window = Window.of(node, size, image, output)
    groups = node.attribute("group", 1)
    return convolve_back(builder, gradient, weights, window, image=image, output=output, groups=groups)


@unary_rule("ConvTranspose")
def conv_transpose(builder: GradientBuilder, node: Node, gradient: str) -> str:
    """The adjoint of Conv: dx = W * dy with the same window."""
    if node.attribute("auto_pad", "NOTSET") != "NOTSET" or node.attribute("output_shape"):
        raise unsupported(node, "automatic padding")
    kept = ("dilations", "group", "kernel_shape", "pads", "strides")
    window = {name: node.attribute(name) for name in kept if name in node.attributes}
    return builder.op("Conv", gradient, node.inputs[1], **window)


def convolve_back(
    builder: GradientBuilder,
    gradient: str,
    weights: str,
    window: Window,
    *,
    image: tuple[int, ...],
    output: tuple[int, ...],
    groups: int,
) -> str:
    """Transposed convolution of an output gradient [N, M, *output] to an input gradient [N, C, *image].

    Args:
        weights: tensor [M, C / groups, *window.size].
    """
    # dx[i] = sum over k of dy[i + before - dilation k] W[k]: a convolution whose padding makes i run over the image.
    before = [extent - pad for extent, pad in zip(window.extent, window.before, strict=True)]
    after = [side - out + pad for side, out, pad in zip(image, output, window.before, strict=True)]
    if max(window.strides) == 1 and min(*before, *after) >= 0:
        turned = _turned(builder, weights, groups)
        return builder.op(
            "Conv",
            gradient,
            turned,
            kernel_shape=window.size,
            dilations=window.dilations,
            pads=[*before, *after],
            group=groups,
        )
    # Rows and columns that no window reached get a zero gradient: output_padding adds them.
    reached = [
        (out - 1) * stride + extent + 1 - pad_before - pad_after
        for out, stride, extent, pad_before, pad_after in zip(
            output, window.strides, window.extent, window.before, window.after, strict=True
        )
    ]
    return builder.op(
        "ConvTranspose",
        gradient,
        weights,
        kernel_shape=window.size,
        strides=window.strides,
        dilations=window.dilations,
        pads=[*window.before, *window.after],
        output_padding=[side - done for side, done in zip(image, reached, strict=True)],
        group=groups,
    )


def _turned(builder: GradientBuilder, weights: str, groups: int) -> str:
    """Weights [M, C / groups, *size] to [C, M / groups, *size], turned by 180 degrees in space."""
    shape = builder.shape(weights)
    outputs, inputs, size = shape[0] or 0, shape[1] or 0, shape[2:]
    axes = [axis for axis, width in enumerate(size, start=2) if width != 1]
    turned = weights
    if axes:
        backwards = builder.integers([-1] * len(axes))
        beginnings = builder.integers([-(2**31)] * len(axes))
        turned = builder.op("Slice", turned, backwards, beginnings, builder.integers(axes), backwards)
    per_group = outputs // groups
    if per_group == 1 and inputs == 1:
        return turned
    if groups == 1:
        return builder.transpose(turned, [1, 0, *range(2, len(shape))])
    grouped = builder.reshape(turned, (groups, per_group, inputs, *size))
    swapped = builder.transpose(grouped, [0, 2, 1, *range(3, len(shape) + 1)])
    return builder.reshape(swapped, (groups * inputs, per_group, *size))
