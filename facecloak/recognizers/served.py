"""What every runtime of recognizers does alike: which it serves, and what it checks before it runs one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import numpy as np

from facecloak.models.crop import CROP_SIZE
from facecloak.models.errors import RecognizerUnknown
from facecloak.models.repository import ModelRepository
from facecloak.models.spec import ModelKind, RecognizerSpec
from facecloak.recognizers.batch import checked_anchor, checked_crops
from facecloak.recognizers.errors import GradientUnavailable
from facecloak.recognizers.runtime import GradientResult


class ServedRecognizers(ABC):
    """A :class:`~facecloak.recognizers.runtime.RecognizerRuntime` but for running: a subclass says how and where.

    Args:
        repository: whose specs say what there is.
        names: serve only these; None serves every recognizer found.

    Raises:
        RecognizerUnknown: one of ``names`` is not in the repository, or no recognizer.
    """

    def __init__(self, repository: ModelRepository, *, names: Iterable[str] | None) -> None:
        chosen = repository.names(ModelKind.RECOGNIZER) if names is None else tuple(sorted(set(names)))
        self._specs = {name: repository.spec(name) for name in chosen}
        for spec in self._specs.values():
            if not spec.is_recognizer:
                raise RecognizerUnknown(f"{spec.name!r} is a {spec.kind}, not a recognizer", model=spec.name)

    def names(self) -> tuple[str, ...]:
        return tuple(self._specs)

    def spec(self, name: str) -> RecognizerSpec:
        try:
            return self._specs[name]
        except KeyError:
            raise RecognizerUnknown(f"no recognizer named {name!r} is served", model=name) from None

    def embed(self, name: str, crops: np.ndarray) -> np.ndarray:
        return self._checked_embed(self.spec(name), crops, retry=True)

    def gradient(self, name: str, crops: np.ndarray, *, far: np.ndarray, near: np.ndarray) -> GradientResult:
        return self._checked_gradient(self.spec(name), crops, far=far, near=near, retry=True)

    def probe(self, name: str, *, gradient: bool) -> None:
        spec = self.spec(name)
        crop = np.full((1, 3, CROP_SIZE, CROP_SIZE), 127.0, np.float32)
        self._checked_embed(spec, crop, retry=False)
        if gradient and not self._gradient_surely_runs(spec):
            nothing = np.zeros((1, spec.embedding_size), np.float32)
            self._checked_gradient(spec, crop, far=nothing, near=nothing, retry=False)

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def _embed(self, spec: RecognizerSpec, crops: np.ndarray, *, retry: bool) -> np.ndarray:
        """Embeddings (N, D) of one crop or more; ``retry``: whether a failure that may pass is tried again."""

    @abstractmethod
    def _gradient(
        self, spec: RecognizerSpec, crops: np.ndarray, *, far: np.ndarray, near: np.ndarray, retry: bool
    ) -> GradientResult:
        """The same with loss and gradient; each anchor has one row or as many as there are crops."""

    def _gradient_surely_runs(self, spec: RecognizerSpec) -> bool:
        """Whether a probe may leave out the gradient graph, since it ran before and nothing can have changed."""
        return False

    def _checked_embed(self, spec: RecognizerSpec, crops: np.ndarray, *, retry: bool) -> np.ndarray:
        crops = checked_crops(crops)
        if not len(crops):
            return np.zeros((0, spec.embedding_size), np.float32)
        return self._embed(spec, crops, retry=retry)

    def _checked_gradient(
        self, spec: RecognizerSpec, crops: np.ndarray, *, far: np.ndarray, near: np.ndarray, retry: bool
    ) -> GradientResult:
        if not spec.has_gradient:
            raise GradientUnavailable(f"{spec.name!r} was imported for evaluation only", model=spec.name)
        crops = checked_crops(crops)
        far = checked_anchor(far, what="far", spec=spec, count=len(crops))
        near = checked_anchor(near, what="near", spec=spec, count=len(crops))
        if not len(crops):
            return GradientResult(np.zeros(0, np.float32), np.zeros((0, spec.embedding_size), np.float32), crops)
        return self._gradient(spec, crops, far=far, near=near, retry=retry)
