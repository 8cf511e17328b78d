"""Fully convolutional networks that were published for one size of picture, made for another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from facecloak.models.convert.sources import ReadyOnnx

if TYPE_CHECKING:
    import onnx

_UNCHANGED = frozenset({"Add", "Concat", "Conv", "MaxPool", "Relu", "Reshape", "Sigmoid", "Transpose"})
"""Operators that mean the same in all opsets from 18 to 21."""


@dataclass(frozen=True)
class CanvasOnnx(ReadyOnnx):
    """As :class:`ReadyOnnx`, its input made ``side`` x ``side`` px: a network of fixed size is the quickest, and for a
    look at a face far fewer px do than its authors published it with."""

    side: int = 320

    def convert(self, files: Mapping[str, bytes]) -> onnx.ModelProto:
        """See :class:`facecloak.models.convert.sources.NetworkSource`.

        Raises:
            ModelUnsupported: see :meth:`ReadyOnnx.convert`; or its shapes do not follow from the input's.
        """
        import onnx

        from facecloak.models.errors import ModelUnsupported

        network = super().convert({self.file: _with_older_resizes(files[self.file])})
        for place in network.graph.input[0].type.tensor_type.shape.dim[2:]:
            place.dim_value = self.side
        for output in network.graph.output:
            output.type.tensor_type.ClearField("shape")
        try:
            sized = onnx.shape_inference.infer_shapes(network, check_type=True, strict_mode=True)
            onnx.checker.check_model(sized)
        except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
            raise ModelUnsupported(f"the network has no other size than its own: {self.file}") from error
        return sized


def _with_older_resizes(data: bytes) -> bytes:
    """A network whose Resize nodes mean the same in opset 18, which a newer opset keeps from being taken, with these
    nodes' version stated; any other as it is.

    From 18 to 21 Resize gained one way of telling coordinates, half_pixel_symmetric, and types (ONNX Changelog.md). The
    quantized weights are folded first, as blocks of them are what the newer opset is for.
    """
    import onnx

    from facecloak.models.convert.dequantize import fold_quantized_weights
    from facecloak.models.convert.graph_builder import OPSET
    from facecloak.models.convert.onnx_file import load_onnx
    from facecloak.models.convert.opset import NEWEST_OPSET
    from facecloak.models.errors import ModelUnsupported

    network = load_onnx(data)
    version = next((entry.version for entry in network.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if not OPSET < version <= NEWEST_OPSET:
        return data
    fold_quantized_weights(network)
    resizes = [node for node in network.graph.node if node.op_type == "Resize"]
    for node in resizes:
        ways = [attribute.s for attribute in node.attribute if attribute.name == "coordinate_transformation_mode"]
        if b"half_pixel_symmetric" in ways:
            raise ModelUnsupported("the model resizes in a way that opset 18 does not know")
    if not {node.op_type for node in network.graph.node} <= {*_UNCHANGED, "Resize"}:
        return data  # whose operators are then named
    del network.opset_import[:]
    network.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    return network.SerializeToString(deterministic=True)
