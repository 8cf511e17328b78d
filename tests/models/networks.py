"""Small networks and the pulled model repository."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facecloak.models.repository import ModelRepository

NetworkMaker = Callable[..., onnx.ModelProto]


@pytest.fixture(scope="session")
def pulled(model_repository: Path) -> ModelRepository:
    """The repository that `facecloak models pull` filled."""
    return ModelRepository(model_repository)


@pytest.fixture(scope="session")
def make_network() -> NetworkMaker:
    """Makes a small recognizer network: convolution, PReLU, reshape, matrix product."""

    def make(
        *,
        size: int = 112,
        embedding: int = 16,
        batch: int | str = 1,
        opset: int = 9,
        channels_last: bool = False,
        seed: int = 0,
    ) -> onnx.ModelProto:
        rng = np.random.default_rng(seed)
        out = (size - 8) // 8 + 1
        weights = {
            "kernel": rng.normal(0, 0.05, (4, 3, 8, 8)),
            "bias": rng.normal(0, 0.1, 4),
            "slope": np.full((4, 1, 1), 0.25),
            "matrix": rng.normal(0, 0.05, (4 * out * out, embedding)),
        }
        tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
        tensors.append(numpy_helper.from_array(np.array([1, 4 * out * out], np.int64), "flat"))
        nodes = [
            helper.make_node("Conv", ["image", "kernel", "bias"], ["conv"], kernel_shape=[8, 8], strides=[8, 8]),
            helper.make_node("PRelu", ["conv", "slope"], ["relu"]),
            helper.make_node("Reshape", ["relu", "flat"], ["row"]),
            helper.make_node("MatMul", ["row", "matrix"], ["features"]),
        ]
        shape: list[int | str] = [batch, 3, size, size]
        if channels_last:
            nodes.insert(0, helper.make_node("Transpose", ["picture"], ["image"], perm=[0, 3, 1, 2]))
            shape = [batch, size, size, 3]
        entry = "picture" if channels_last else "image"
        graph = helper.make_graph(
            nodes,
            "small",
            [helper.make_tensor_value_info(entry, TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, embedding])],
            tensors,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = 8
        return model

    return make


@pytest.fixture
def crops() -> np.ndarray:
    """(3, 3, 112, 112) float32 RGB 0..255, smooth and all different."""
    y, x = np.mgrid[0:112, 0:112] / 112
    planes = [127 + 120 * np.sin(6 * x * (k + 1) + 4 * y + k) for k in range(9)]
    return np.stack(planes).reshape(3, 3, 112, 112).astype(np.float32)
