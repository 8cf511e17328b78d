"""A small builder of ONNX graphs: constants are shared, unused nodes are dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 10
"""onnxruntime 1.18 and later read it (ONNX Versioning.md); opset 18 itself needs 8."""

BATCH = "N"


class GraphBuilder:
    """Collects nodes and initializers; every method returns the name of the tensor that it makes."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[bytes, str, tuple[int, ...]], str] = {}
        self._initializers: list[onnx.TensorProto] = []

    def constant(self, value: np.ndarray | float | Sequence[float], dtype: type | None = None) -> str:
        array = np.ascontiguousarray(np.asarray(value, dtype)).reshape(np.shape(value))
        key = (array.tobytes(), array.dtype.str, array.shape)
        if key not in self._constants:
            self._constants[key] = f"const_{len(self._constants)}"
            self._initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def floats(self, value: np.ndarray | float) -> str:
        return self.constant(value, np.float32)

    def ints(self, value: Sequence[int]) -> str:
        return self.constant(value, np.int64)

    def add(self, operation: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        output = output or f"{operation.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, list(inputs), [output], name=output + "/node", **attributes))
        return output

    def model(
        self,
        *,
        inputs: Mapping[str, Sequence[int | str]],
        outputs: Mapping[str, Sequence[int | str]],
        producer: str = "facecloak",
    ) -> onnx.ModelProto:
        """The checked model; shapes may hold names for dynamic sides."""
        needed, kept = set(outputs), []
        for node in reversed(self._nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        graph = helper.make_graph(
            kept[::-1],
            "facecloak",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in outputs.items()],
            [tensor for tensor in self._initializers if tensor.name in needed],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name=producer)
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model
