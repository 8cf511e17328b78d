"""Opening the detection and landmark models of the model repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facecloak.faces.errors import FinderModelMissing
from facecloak.models.errors import RecognizerUnknown
from facecloak.models.repository import ModelRepository
from facecloak.models.session import open_model


class FaceModel:
    """One model of the repository on the CPU, its digest checked. Safe to call from several threads.

    Raises:
        FinderModelMissing: the repository has no such model, or it lacks an output of ``outputs``.
        ModelDamaged: a file is not the one that its spec records.
        RecognizerFailed: ONNX Runtime cannot open it.
    """

    def __init__(self, model_repository: Path, name: str, *, outputs: tuple[str, ...], threads: int = 1) -> None:
        try:
            spec = ModelRepository(model_repository).spec(name)
        except RecognizerUnknown as error:
            raise FinderModelMissing(f"the model {name} is missing: run `facecloak models pull`", model=name) from error
        self._session = open_model(ModelRepository(model_repository), name, threads=threads, cpu_only=True)
        missing = set(outputs) - {output.name for output in self._session.get_outputs()}
        if missing:
            raise FinderModelMissing(f"the model {name} lacks an output: pull it again", model=name)
        self._outputs = list(outputs)
        self._input = self._session.get_inputs()[0].name
        self.identity = f"{name}:{spec.model_sha256[:16]}"

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        """The outputs named at opening, for one float32 input batch."""
        return self._session.run(self._outputs, {self._input: np.ascontiguousarray(batch, dtype=np.float32)})
