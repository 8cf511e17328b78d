"""Triton's ONNX Runtime backend for machines without NVIDIA's own: a Python-based backend.

As ``backends/onnxruntime/model.py`` it serves every model whose config.pbtxt says ``backend: "onnxruntime"``, so that
what production is configured with runs unchanged on a CPU. Triton starts one process of it an instance, in the Python
that FaceCloak is installed in, and has put requests together by the time ``execute`` sees them.

Tensors pass by DLPack: the stub that nvidia-pytriton ships was compiled for numpy 1 and takes the item size of numpy
2's arrays for 0, both ways.
"""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from facecloak.models.repository import WEIGHTS_FILE
from facecloak.models.session import open_session


class TritonPythonModel:
    """One instance of one model; the names are those that Triton calls."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Our configurations are complete."""
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Opens the session. Raises TritonModelException where graph and configuration do not fit."""
        config = json.loads(args["model_config"])
        file = config.get("default_model_filename") or "model.onnx"
        path = Path(args["model_repository"]) / args["model_version"] / file
        threads = int(config.get("parameters", {}).get("intra_op_thread_count", {}).get("string_value", "1"))
        weights = path.with_name(WEIGHTS_FILE)
        try:
            self._session = open_session(
                path.read_bytes(), weights=weights.read_bytes() if weights.exists() else None, threads=threads
            )
        except Exception as error:  # onnxruntime raises its own classes
            raise pb_utils.TritonModelException(f"{path} cannot be loaded: {error}") from error
        self._inputs = [entry["name"] for entry in config["input"]]
        self._outputs = [entry["name"] for entry in config["output"]]
        for kind, configured, found in (
            ("inputs", self._inputs, self._session.get_inputs()),
            ("outputs", self._outputs, self._session.get_outputs()),
        ):
            if set(configured) != {entry.name for entry in found}:
                names = sorted(entry.name for entry in found)
                raise pb_utils.TritonModelException(f"config.pbtxt has the {kind} {configured}, the graph {names}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Runs all requests as one batch; where that fails, one by one, so that a bad one spoils no other."""
        rows = [
            {name: np.from_dlpack(pb_utils.get_input_tensor_by_name(request, name)) for name in self._inputs}
            for request in requests
        ]
        try:
            return self._run_together(requests, rows)
        except Exception:  # noqa: BLE001 - onnxruntime raises its own classes
            return [self._run_alone(request, inputs) for request, inputs in zip(requests, rows, strict=True)]

    def _run_together(self, requests: list[Any], rows: list[dict[str, np.ndarray]]) -> list[Any]:
        inputs = rows[0]
        if len(rows) > 1:
            inputs = {name: np.concatenate([each[name] for each in rows]) for name in self._inputs}
        values = dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))
        responses, start = [], 0
        for request, own in zip(requests, rows, strict=True):
            end = start + len(own[self._inputs[0]])
            responses.append(self._response(request, {name: value[start:end] for name, value in values.items()}))
            start = end
        return responses

    def _run_alone(self, request: Any, inputs: dict[str, np.ndarray]) -> Any:
        try:
            return self._run_together([request], [inputs])[0]
        except Exception as error:  # noqa: BLE001
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"onnxruntime: {error}"))

    def _response(self, request: Any, values: dict[str, np.ndarray]) -> Any:
        wanted = request.requested_output_names()
        tensors = [_tensor(name, value) for name, value in values.items() if name in wanted]
        return pb_utils.InferenceResponse(output_tensors=tensors)


def _tensor(name: str, value: np.ndarray) -> Any:
    capsule = value.__dlpack__()
    # The stub takes the array over and frees it, but marks the capsule by another name than the DLPack standard's, at
    # which numpy's own destructor would complain in the log.
    ctypes.pythonapi.PyCapsule_SetDestructor(ctypes.py_object(capsule), None)
    return pb_utils.Tensor.from_dlpack(name, capsule)
