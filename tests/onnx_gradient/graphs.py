"""Builds small ONNX graphs and compares their compiled gradients with torch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from facecloak.onnx_gradient import compile_gradient

from .torch_graph import reference_gradient

EMBEDDING_SIZE = 16
MOST_RELATIVE_ERROR = 5e-3
LEAST_SIGN_AGREEMENT = 0.999


class GraphMaker:
    """Collects nodes and initializers; ``op`` returns the name of a node's first output."""

    def __init__(self, *, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.generator = np.random.default_rng(seed)

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def integers(self, *value: int) -> str:
        return self.constant(value, np.int64)

    def normal(self, *shape: int, scale: float = 1.0, mean: float = 0.0) -> str:
        return self.constant(self.generator.normal(mean, scale, shape))

    def uniform(self, low: float, high: float, *shape: int) -> str:
        return self.constant(self.generator.uniform(low, high, shape))

    def op(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self.ops(op, *inputs, outputs=1, **attributes)[0]

    def ops(self, op: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        names = [f"{op}_{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names

    def conv(
        self,
        image: str,
        inputs: int,
        outputs: int,
        size: int = 3,
        *,
        stride: int = 1,
        pad: int | None = None,
        groups: int = 1,
        bias: bool = True,
    ) -> str:
        """A square convolution with weights that keep the variance."""
        scale = (2 / (inputs // groups * size * size)) ** 0.5
        weights = [self.normal(outputs, inputs // groups, size, size, scale=scale)]
        weights += [self.normal(outputs, scale=0.1)] if bias else []
        pads = [size // 2 if pad is None else pad] * 4
        return self.op("Conv", image, *weights, kernel_shape=[size] * 2, strides=[stride] * 2, pads=pads, group=groups)

    def batch_norm(self, image: str, channels: int) -> str:
        parameters = [self.uniform(0.5, 1.5, channels), self.normal(channels, scale=0.2)]
        parameters += [self.normal(channels, scale=0.2), self.uniform(0.5, 1.5, channels)]
        return self.op("BatchNormalization", image, *parameters)

    def normalize(self, vectors: str) -> str:
        length = self.op("ReduceL2", vectors, self.integers(1), keepdims=1)
        return self.op("Div", vectors, self.op("Clip", length, self.constant(1e-12)))

    def project(self, features: str, size: int, *, embedding: int = EMBEDDING_SIZE) -> str:
        """Map flat features [N, size] to unit embeddings."""
        weights = self.normal(size, embedding, scale=size**-0.5)
        return self.normalize(self.op("MatMul", features, weights))

    def model(
        self,
        output: str,
        *,
        shape: Sequence[int] = (3, 112, 112),
        batch: int | str = "N",
        opset: int = 18,
    ) -> onnx.ModelProto:
        self.nodes.append(helper.make_node("Identity", [output], ["embedding"]))
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info("crops", TensorProto.FLOAT, [batch, *shape])],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", "D"])],
            self.initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        return model


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_gradient(
    model: onnx.ModelProto, crops: np.ndarray, far: np.ndarray, near: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loss, embedding and gradient of a compiled model."""
    feeds = {"crops": crops, "far": far, "near": near}
    loss, embedding, gradient = session(model).run(["loss", "embedding", "gradient"], feeds)
    return loss, embedding, gradient


def targets(model: onnx.ModelProto, generator: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Random far and near embeddings for a compiled model, not of length 1."""
    size = model.graph.input[1].type.tensor_type.shape.dim[1].dim_value
    far, near = generator.normal(size=(2, rows, size)).astype(np.float32)
    return far, near


def assert_gradient_agrees(
    model: onnx.ModelProto,
    crops: np.ndarray,
    *,
    generator: np.random.Generator,
    rows: int | None = None,
    compiled: onnx.ModelProto | None = None,
    relative_error: float = MOST_RELATIVE_ERROR,
    normalized: bool = True,
) -> None:
    """Compare a compiled gradient with torch's in float64.

    Near the kinks of activations torch in float32 is as far off as anything else, so single pixels are not compared.
    """
    compiled = compiled or compile_gradient(model, normalized=normalized)
    far, near = targets(compiled, generator, len(crops) if rows is None else rows)
    loss, embedding, gradient = run_gradient(compiled, crops, far, near)
    expected = reference_gradient(model, crops, far, near, dtype=torch.float64)
    np.testing.assert_allclose(embedding, expected.embedding, atol=2e-5)
    np.testing.assert_allclose(loss, expected.loss, atol=2e-5)
    assert gradient.shape == crops.shape
    assert gradient.dtype == np.float32
    size = np.linalg.norm(expected.gradient)
    assert size > 0
    assert np.linalg.norm(gradient - expected.gradient) / size <= relative_error
    # Signs of entries that are zero but for rounding carry nothing.
    telling = np.abs(expected.gradient) > 1e-6 * np.abs(expected.gradient).max()
    agreement = (np.sign(gradient) == np.sign(expected.gradient))[telling].mean()
    assert agreement >= LEAST_SIGN_AGREEMENT
