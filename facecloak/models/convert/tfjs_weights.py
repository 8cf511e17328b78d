"""TensorFlow.js weight files: a manifest (names, shapes, types, quantization) and the bytes.

Format: tensorflow/tfjs, tfjs-core/src/io/types.ts (WeightsManifestConfig) and io_utils.ts (decodeWeights).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from facecloak.models.errors import ModelUnsupported

_PLAIN = {"float32": "<f4", "int32": "<i4", "bool": "u1"}
_QUANTIZED = {"float16": "<f2", "uint8": "u1", "uint16": "<u2"}


def decode_weights(manifest: Sequence[Mapping[str, Any]], files: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    """Tensors by name, quantization undone to float32 (integers stay int32).

    Args:
        manifest: the groups of a ``weightsManifest``; each names its files and the tensors in them, in order.
        files: bytes by file name as in the manifest's ``paths``.

    Raises:
        ModelUnsupported: an unknown type, a missing file, or bytes that do not match the manifest.
    """
    tensors: dict[str, np.ndarray] = {}
    for group in manifest:
        try:
            data = b"".join(files[path] for path in group["paths"])
            used = _decode_group(group["weights"], data, tensors)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelUnsupported(f"the weights manifest does not match its files: {error}") from error
        if used != len(data):
            raise ModelUnsupported(f"the weights manifest covers {used} of {len(data)} bytes")
    return tensors


def _decode_group(weights: Sequence[Mapping[str, Any]], data: bytes, tensors: dict[str, np.ndarray]) -> int:
    offset = 0
    for weight in weights:
        quantization = weight.get("quantization")
        dtype = np.dtype(_PLAIN[weight["dtype"]] if quantization is None else _QUANTIZED[quantization["dtype"]])
        count = math.prod(int(side) for side in weight["shape"])
        values = np.frombuffer(data, dtype, count, offset)
        offset += count * dtype.itemsize
        if quantization is not None:
            values = values.astype(np.float32)
            if quantization["dtype"] != "float16":
                values = values * np.float32(quantization["scale"]) + np.float32(quantization["min"])
        elif weight["dtype"] == "float32":
            values = values.astype(np.float32)
        tensors[weight["name"]] = values.reshape(weight["shape"])
    return offset
