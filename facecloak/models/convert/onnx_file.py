"""Models that are published as ONNX: checked, quantized weights undone, brought to opset 18, their batch size freed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from facecloak.models.convert.dead_code import drop_unused, used_names
from facecloak.models.convert.dequantize import fold_quantized_weights
from facecloak.models.convert.graph_builder import BATCH, IR_VERSION
from facecloak.models.convert.opset import to_opset
from facecloak.models.errors import ModelUnsupported
from facecloak.models.repository import MAX_MODEL_BYTES


def load_onnx(data: bytes) -> onnx.ModelProto:
    """Parse and check an ONNX file.

    Raises:
        ModelUnsupported: larger than 1 GiB, not ONNX, weights in other files, custom operators.
    """
    if len(data) > MAX_MODEL_BYTES:
        raise ModelUnsupported(f"the ONNX file is larger than {MAX_MODEL_BYTES} bytes", limit=MAX_MODEL_BYTES)
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's DecodeError lives in a private module
        raise ModelUnsupported("the file is not ONNX") from error
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in _tensors(model.graph)):
        raise ModelUnsupported("the ONNX file keeps its weights in other files: save it as one file")
    domains = sorted({entry.domain for entry in model.opset_import} - {"", "ai.onnx"})
    used = sorted({node.domain for node in model.graph.node} - {"", "ai.onnx"})
    if used:
        raise ModelUnsupported(f"the model uses operators of {', '.join(used)}", domains=",".join(domains))
    if not model.graph.node:
        raise ModelUnsupported("the ONNX file holds no network")
    return model


def convert_ready_model(data: bytes, *, outputs: Sequence[str] | None = None) -> onnx.ModelProto:
    """A published ONNX as an opset-18 model with dynamic batch.

    Args:
        outputs: outputs to keep; None keeps all.

    Raises:
        ModelUnsupported: see :func:`load_onnx`; not exactly one float32 image input; opset conversion fails.
    """
    model = load_onnx(data)
    _drop_inputs(model.graph)
    _lift_constants(model.graph)
    fold_quantized_weights(model)
    model = to_opset(model)
    if len(model.graph.input) != 1:
        raise ModelUnsupported(f"the model has {len(model.graph.input)} inputs, expected one")
    image = model.graph.input[0].type.tensor_type
    if image.elem_type != TensorProto.FLOAT or len(image.shape.dim) != 4:
        raise ModelUnsupported("the model's input is not a float32 image batch")
    if outputs is not None:
        _keep_outputs(model.graph, outputs)
    _free_batch(model.graph)
    model.ir_version = IR_VERSION
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise ModelUnsupported("the ONNX file breaks the standard") from error
    return model


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """All stored tensors, those in attributes and branches included."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for branch in (attribute.g, *attribute.graphs):
                if branch.node:
                    yield from _tensors(branch)


def _drop_inputs(graph: onnx.GraphProto) -> None:
    """Leave only the inputs that a caller gives.

    IR < 4 lists weights as inputs, which keeps them from being folded; quantizers leave such an entry where the weight
    itself went, and nothing reads it.
    """
    constants, used = {tensor.name for tensor in graph.initializer}, set(used_names(graph))
    given = [entry for entry in graph.input if entry.name in used - constants]
    del graph.input[:]
    graph.input.extend(given)


def _lift_constants(graph: onnx.GraphProto) -> None:
    """Constant nodes become initializers, so that there is one place to look for a shape."""
    kept = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            tensor = helper.get_attribute_value(node.attribute[0])
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _keep_outputs(graph: onnx.GraphProto, names: Sequence[str]) -> None:
    existing = {entry.name: entry for entry in graph.output}
    missing = sorted(set(names) - set(existing))
    if missing:
        raise ModelUnsupported(f"the model has no output {missing[0]!r}; it has {', '.join(existing)}")
    del graph.output[:]
    graph.output.extend(existing[name] for name in names)
    drop_unused(graph)


def _free_batch(graph: onnx.GraphProto) -> None:
    """Exporters bake the batch of 1 into the inputs, the outputs and the targets of reshapes."""
    for entry in [*graph.input, *graph.output]:
        sides = entry.type.tensor_type.shape.dim
        if sides and (sides[0].dim_param or sides[0].dim_value in (0, 1)):
            sides[0].dim_param = BATCH
    del graph.value_info[:]  # it still holds the old batch
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Reshape" and node.input[1] in constants:
            tensor = constants[node.input[1]]
            target = numpy_helper.to_array(tensor).copy()
            if target.ndim == 1 and target.size > 1 and target[0] == 1:
                target[0] = 0 if -1 in target else -1  # 0 copies the batch from the reshape's input
                tensor.CopyFrom(numpy_helper.from_array(target.astype(np.int64), tensor.name))
