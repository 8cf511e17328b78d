"""Networks made for another size of picture, and Resize nodes of a newer opset."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from facecloak.models.convert.fixed_canvas import CanvasOnnx
from facecloak.models.errors import ModelUnsupported


def network(*, side: int, way: str = "asymmetric", fixed_shape: bool = False) -> bytes:
    """Halves a picture by a convolution, doubles it again; opset 21."""
    weights = numpy_helper.from_array(np.ones((2, 3, 2, 2), np.float32), "weights")
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    added = side if fixed_shape else 1
    added_levels = numpy_helper.from_array(np.zeros((1, 2, added, added), np.float32), "added")
    shape = numpy_helper.from_array(np.array([1, 2, -1], np.int64), "shape")
    nodes = [
        helper.make_node("Conv", ["image", "weights"], ["small"], strides=[2, 2]),
        helper.make_node("Resize", ["small", "", "scales"], ["large"], mode="nearest", nearest_mode="floor",
                         coordinate_transformation_mode=way),
        helper.make_node("Add", ["large", "added"], ["sum"]),
        helper.make_node("Reshape", ["sum", "shape"], ["out"]),
    ]  # fmt: skip
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, side, side])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 2, side * side])
    graph = helper.make_graph(nodes, "halves", [image], [out], [weights, scales, shape, added_levels])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return model.SerializeToString()


def test_a_network_of_opset_21_runs_at_another_size() -> None:
    made = CanvasOnnx("net.onnx", side=16).convert({"net.onnx": network(side=64)})
    assert made.opset_import[0].version == 18
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape[1:] == [3, 16, 16]
    picture = np.random.default_rng(1).random((1, 3, 16, 16), np.float32)
    (out,) = session.run(None, {"image": picture})
    sums = picture.reshape(3, 8, 2, 8, 2).sum(axis=(0, 2, 4))
    np.testing.assert_allclose(out[0, 1].reshape(16, 16), np.kron(sums, np.ones((2, 2))), rtol=1e-5)


def test_a_way_to_resize_that_opset_18_does_not_know_is_refused() -> None:
    with pytest.raises(ModelUnsupported, match="resizes"):
        CanvasOnnx("net.onnx", side=16).convert({"net.onnx": network(side=64, way="half_pixel_symmetric")})


def test_a_network_of_one_size_only_is_refused() -> None:
    with pytest.raises(ModelUnsupported, match="no other size"):
        CanvasOnnx("net.onnx", side=16).convert({"net.onnx": network(side=64, fixed_shape=True)})
