"""Recognizers in this process, by ONNX Runtime."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facecloak.models.errors import RecognizerFailed
from facecloak.models.repository import ModelRepository
from facecloak.models.session import open_model
from facecloak.models.spec import RecognizerSpec
from facecloak.recognizers.batch import parts, rows_of
from facecloak.recognizers.runtime import GradientResult
from facecloak.recognizers.served import ServedRecognizers

if TYPE_CHECKING:
    import onnxruntime as ort

MAX_BATCH = 8
"""Crops in one run; larger batches are split. It bounds memory (a gradient run of 8 takes up to 500 MB on the default
recognizers), and on a CPU 16 at once take 15-30 % longer a crop: their activations no longer fit the caches."""


class OnnxRuntime(ServedRecognizers):
    """:class:`~facecloak.recognizers.runtime.RecognizerRuntime` in process.

    Sessions open on first use. ONNX Runtime's ``run`` may be called from several threads at once.

    Args:
        model_repository: the folder that ``facecloak models pull`` filled.
        names: serve only these; None serves every recognizer found.
        threads: threads within one operator; 0 is one a core.

    Raises:
        RecognizerUnknown: one of ``names`` is not in the repository.
    """

    def __init__(self, model_repository: Path | str, *, names: Iterable[str] | None = None, threads: int = 0) -> None:
        self._repository = ModelRepository(model_repository)
        super().__init__(self._repository, names=names)
        self._threads = threads
        self._sessions: dict[tuple[str, bool], ort.InferenceSession] = {}
        self._lock = threading.Lock()
        self._opening: dict[tuple[str, bool], threading.Lock] = {}
        self._closed = False

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._sessions.clear()

    def _embed(self, spec: RecognizerSpec, crops: np.ndarray, *, retry: bool) -> np.ndarray:
        answers = [self._run(spec, {"crops": crops[part]})["embedding"] for part in parts(len(crops), size=MAX_BATCH)]
        return np.concatenate(answers)

    def _gradient(
        self, spec: RecognizerSpec, crops: np.ndarray, *, far: np.ndarray, near: np.ndarray, retry: bool
    ) -> GradientResult:
        answers = []
        for part in parts(len(crops), size=MAX_BATCH):
            inputs = {"crops": crops[part], "far": rows_of(far, part), "near": rows_of(near, part)}
            answers.append(self._run(spec, inputs, gradient=True))
        return GradientResult(*(np.concatenate([a[key] for a in answers]) for key in ("loss", "embedding", "gradient")))

    def _gradient_surely_runs(self, spec: RecognizerSpec) -> bool:
        return (spec.name, True) in self._sessions

    def _run(
        self, spec: RecognizerSpec, inputs: Mapping[str, np.ndarray], *, gradient: bool = False
    ) -> dict[str, np.ndarray]:
        session = self._session(spec, gradient=gradient)
        names = ["loss", "embedding", "gradient"] if gradient else ["embedding"]
        try:
            return dict(zip(names, session.run(names, dict(inputs)), strict=True))
        except Exception as error:  # onnxruntime raises its own classes, RuntimeError and more
            raise RecognizerFailed(f"the recognizer {spec.name!r} failed to run", model=spec.name) from error

    def _session(self, spec: RecognizerSpec, *, gradient: bool) -> ort.InferenceSession:
        key = (spec.name, gradient)
        with self._lock:
            if self._closed:
                raise RecognizerFailed("the recognizer runtime is closed")
            if key in self._sessions:
                return self._sessions[key]
            opening = self._opening.setdefault(key, threading.Lock())
        with opening:  # a slow load holds up only those who want the same graph
            if key in self._sessions:
                return self._sessions[key]
            session = open_model(self._repository, spec.name, gradient=gradient, threads=self._threads)
            with self._lock:
                self._sessions[key] = session
            return session
