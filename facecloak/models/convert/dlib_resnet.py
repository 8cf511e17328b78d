"""dlib's ResNet face recognizer from face-api's weight manifest.

Network: davisking/dlib, examples/dnn_face_recognition_ex.cpp (`anet_type`); layout of the weights: face-api,
src/faceRecognitionNet. Batch normalization is already one scale and one shift a channel and folds into the convolution.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import onnx

from facecloak.models.convert.graph_builder import BATCH, GraphBuilder
from facecloak.models.convert.tfjs_weights import decode_weights
from facecloak.models.errors import ModelUnsupported

INPUT_SIZE = 150
EMBEDDING_SIZE = 128
_BLOCKS = (
    *("conv32_1", "conv32_2", "conv32_3"),
    *("conv64_down", "conv64_1", "conv64_2", "conv64_3"),
    *("conv128_down", "conv128_1", "conv128_2"),
    *("conv256_down", "conv256_1", "conv256_2", "conv256_down_out"),
)


def convert_dlib_resnet(manifest_json: bytes, files: Mapping[str, bytes]) -> onnx.ModelProto:
    """The network as ONNX: ``input`` (N, 3, 150, 150) RGB, mean taken off and divided by 255 -> ``output`` (N, 128).

    Raises:
        ModelUnsupported: the manifest is not that of face-api's face recognition model.
    """
    try:
        weights = decode_weights(json.loads(manifest_json), files)
        return _Network(weights).build()
    except (KeyError, ValueError, TypeError) as error:
        raise ModelUnsupported(f"not face-api's face recognition weights: {error}") from error


class _Network:
    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self._weights = weights
        self._graph = GraphBuilder()

    def build(self) -> onnx.ModelProto:
        g = self._graph
        image = self._convolution("input", "conv32_down", stride=2, pad=0)
        image = g.add("MaxPool", g.add("Relu", image), kernel_shape=[3, 3], strides=[2, 2])
        side, channels = ((INPUT_SIZE - 7) // 2 + 1 - 3) // 2 + 1, 32
        for block in _BLOCKS:
            if "_down" in block:
                image, side, channels = self._halving(image, block, side=side, channels=channels)
            else:
                image = self._residual(image, block)
        pooled = g.add("ReduceMean", image, g.ints([2, 3]), keepdims=0)
        g.add("MatMul", pooled, g.floats(self._weights["fc"]), output="output")
        return g.model(
            inputs={"input": [BATCH, 3, INPUT_SIZE, INPUT_SIZE]}, outputs={"output": [BATCH, EMBEDDING_SIZE]}
        )

    def _convolution(self, image: str, name: str, *, stride: int, pad: int) -> str:
        scale = self._weights[f"{name}/scale/weights"]
        kernel = self._weights[f"{name}/conv/filters"].transpose(3, 2, 0, 1) * scale[:, None, None, None]
        bias = self._weights[f"{name}/conv/bias"] * scale + self._weights[f"{name}/scale/biases"]
        g, size = self._graph, kernel.shape[2]
        return g.add(
            *("Conv", image, g.floats(kernel), g.floats(bias)),
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[pad] * 4,
        )

    def _residual(self, image: str, block: str) -> str:
        g = self._graph
        inner = g.add("Relu", self._convolution(image, f"{block}/conv1", stride=1, pad=1))
        inner = self._convolution(inner, f"{block}/conv2", stride=1, pad=1)
        return g.add("Relu", g.add("Add", inner, image))

    def _halving(self, image: str, block: str, *, side: int, channels: int) -> tuple[str, int, int]:
        """A block whose shortcut is a 2x2 average; the smaller of the two paths is padded with zeros, as in dlib."""
        g = self._graph
        inner = g.add("Relu", self._convolution(image, f"{block}/conv1", stride=2, pad=0))
        inner = self._convolution(inner, f"{block}/conv2", stride=1, pad=1)
        inner_side, short_side = (side - 3) // 2 + 1, side // 2
        wide = int(self._weights[f"{block}/conv2/conv/filters"].shape[3])
        shortcut = g.add("AveragePool", image, kernel_shape=[2, 2], strides=[2, 2])
        missing = short_side - inner_side
        if missing:
            inner = g.add("Pad", inner, g.ints([0, 0, 0, 0, 0, 0, missing, missing]), mode="constant")
        if wide > channels:
            shortcut = g.add("Pad", shortcut, g.ints([0, 0, 0, 0, 0, wide - channels, 0, 0]), mode="constant")
        return g.add("Relu", g.add("Add", inner, shortcut)), short_side, wide
