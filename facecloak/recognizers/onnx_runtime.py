"""Recognizers in this process, by ONNX Runtime."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facecloak.models.crop import CROP_SIZE
from facecloak.models.errors import RecognizerFailed, RecognizerUnknown
from facecloak.models.repository import ModelRepository
from facecloak.models.session import open_model
from facecloak.models.spec import ModelKind, RecognizerSpec
from facecloak.recognizers.batch import checked_anchor, checked_crops, parts, rows_of
from facecloak.recognizers.errors import GradientUnavailable
from facecloak.recognizers.runtime import GradientResult

if TYPE_CHECKING:
    import onnxruntime as ort

MAX_BATCH = 8
"""Crops in one run; larger batches are split. It bounds memory (a gradient run of 8 takes up to 500 MB on the default
recognizers), and on a CPU 16 at once take 15-30 % longer a crop: their activations no longer fit the caches."""


class OnnxRuntime:
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
        wanted = self._repository.names(ModelKind.RECOGNIZER) if names is None else tuple(sorted(set(names)))
        self._specs = {name: self._repository.spec(name) for name in wanted}
        for spec in self._specs.values():
            if not spec.is_recognizer:
                raise RecognizerUnknown(f"{spec.name!r} is a {spec.kind}, not a recognizer", model=spec.name)
        self._threads = threads
        self._sessions: dict[tuple[str, bool], ort.InferenceSession] = {}
        self._lock = threading.Lock()
        self._opening: dict[tuple[str, bool], threading.Lock] = {}
        self._closed = False

    def names(self) -> tuple[str, ...]:
        return tuple(self._specs)

    def spec(self, name: str) -> RecognizerSpec:
        try:
            return self._specs[name]
        except KeyError:
            raise RecognizerUnknown(f"no recognizer named {name!r} is served", model=name) from None

    def embed(self, name: str, crops: np.ndarray) -> np.ndarray:
        spec = self.spec(name)
        crops = checked_crops(crops)
        if not len(crops):
            return np.zeros((0, spec.embedding_size), np.float32)
        answers = [self._run(spec, {"crops": crops[part]})["embedding"] for part in parts(len(crops), size=MAX_BATCH)]
        return np.concatenate(answers)

    def gradient(self, name: str, crops: np.ndarray, *, far: np.ndarray, near: np.ndarray) -> GradientResult:
        spec = self.spec(name)
        if not spec.has_gradient:
            raise GradientUnavailable(f"{name!r} was imported for evaluation only", model=name)
        crops = checked_crops(crops)
        far = checked_anchor(far, what="far", spec=spec, count=len(crops))
        near = checked_anchor(near, what="near", spec=spec, count=len(crops))
        if not len(crops):
            return GradientResult(np.zeros(0, np.float32), np.zeros((0, spec.embedding_size), np.float32), crops)
        answers = []
        for part in parts(len(crops), size=MAX_BATCH):
            inputs = {"crops": crops[part], "far": rows_of(far, part), "near": rows_of(near, part)}
            answers.append(self._run(spec, inputs, gradient=True))
        return GradientResult(*(np.concatenate([a[key] for a in answers]) for key in ("loss", "embedding", "gradient")))

    def probe(self, name: str, *, gradient: bool) -> None:
        spec = self.spec(name)
        crop = np.full((1, 3, CROP_SIZE, CROP_SIZE), 127.0, np.float32)
        self.embed(name, crop)
        # Within one process a graph that ran once runs again, so later probes need not take the time.
        if gradient and (name, True) not in self._sessions:
            nothing = np.zeros((1, spec.embedding_size), np.float32)
            self.gradient(name, crop, far=nothing, near=nothing)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._sessions.clear()

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
