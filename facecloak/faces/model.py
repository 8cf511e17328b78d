"""Opening the detection and landmark models of the model repository."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime

from facecloak.faces.errors import FinderModelMissing


class FaceModel:
    """One ONNX model of the repository (NAME/1/model.onnx) on the CPU. Safe to call from several threads.

    Raises :class:`FinderModelMissing` where the file is absent, cannot be opened, or lacks an output of ``outputs``.
    """

    def __init__(self, model_repository: Path, name: str, *, outputs: tuple[str, ...], threads: int = 1) -> None:
        path = Path(model_repository) / name / "1" / "model.onnx"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise FinderModelMissing(f"the model {name} is missing: run `facecloak models pull`", model=name) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions share no narrower base
            raise FinderModelMissing(f"the model {name} cannot be opened: pull it again", model=name) from error
        missing = set(outputs) - {output.name for output in self._session.get_outputs()}
        if missing:
            raise FinderModelMissing(f"the model {name} lacks an output: pull it again", model=name)
        self._outputs = list(outputs)
        self._input = self._session.get_inputs()[0].name
        self.identity = f"{name}:{hashlib.sha256(data).hexdigest()[:16]}"

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        """The outputs named at opening, for one float32 input batch."""
        return self._session.run(self._outputs, {self._input: np.ascontiguousarray(batch, dtype=np.float32)})
