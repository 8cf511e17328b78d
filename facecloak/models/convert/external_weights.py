"""One file of weights for both graphs of a recognizer: the embedding graph points into the gradient graph's file.

ONNX calls such tensors external data (onnx.proto, TensorProto.external_data): a file in the model's own folder, an
offset and a length. The gradient graph holds every weight of the embedding graph, so its file serves as that one; the
repository links it into the other folder. (ONNX Runtime, and so Triton, reads a file with several links; Python's onnx
refuses to, by path: :func:`whole` reads it.)
"""

from __future__ import annotations

import hashlib

import onnx
from onnx import TensorProto

from facecloak.models.repository import WEIGHTS_FILE

SMALLEST_SHARED_BYTES = 1024
"""Smaller tensors stay inside: shapes and axes must be known before any file is read."""

_DIGEST_PROPERTY = "facecloak_weights_sha256"


def pointing_into(model: onnx.ModelProto, weights: bytes) -> onnx.ModelProto:
    """``model`` with every large tensor that lies in ``weights`` byte for byte left there.

    The digest of ``weights`` becomes a property of the model: the model's own digest so covers both files.
    """
    small = onnx.ModelProto()
    small.CopyFrom(model)
    for tensor in small.graph.initializer:
        data = tensor.raw_data
        offset = weights.find(data) if len(data) >= SMALLEST_SHARED_BYTES else -1
        if offset < 0:
            continue
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS_FILE), ("offset", str(offset)), ("length", str(len(data)))):
            tensor.external_data.add(key=key, value=value)
    small.metadata_props.add(key=_DIGEST_PROPERTY, value=hashlib.sha256(weights).hexdigest())
    return small


def whole(model: bytes, weights: bytes | None) -> onnx.ModelProto:
    """The inverse: a stored model with all its tensors inside.

    Raises:
        ValueError: a tensor points elsewhere.
    """
    found = onnx.load_model_from_string(model)
    for tensor in found.graph.initializer:
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}
        start, length = int(place.get("offset", 0)), int(place.get("length", -1))
        if weights is None or place.get("location") != WEIGHTS_FILE or not 0 <= start <= start + length <= len(weights):
            raise ValueError(f"the tensor {tensor.name!r} lies in another file")
        tensor.raw_data = weights[start : start + length]
        tensor.data_location = TensorProto.DEFAULT
        tensor.ClearField("external_data")
    return found
