"""Recognizers on an operator's Triton server."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from cachetools import TTLCache

from facecloak.errors import FaceCloakError
from facecloak.models.repository import ModelRepository
from facecloak.models.spec import RecognizerSpec
from facecloak.recognizers.batch import parts, rows_of
from facecloak.recognizers.runtime import GradientResult
from facecloak.recognizers.served import ServedRecognizers
from facecloak.recognizers.triton.calls import TritonCalls
from facecloak.recognizers.triton.config import DIGEST_PARAMETER, served_name
from facecloak.recognizers.triton.connection import TritonConnection
from facecloak.recognizers.triton.errors import ServedModelDiffers, TritonUnavailable
from facecloak.recognizers.triton.retry import TryAgain

T = TypeVar("T")
TRUST_SECONDS = 10.0
"""How long a model counts as the one whose digest was compared."""


class TritonRuntime(ServedRecognizers):
    """A :class:`~facecloak.recognizers.runtime.RecognizerRuntime` by a Triton that serves what `models build` wrote.

    Nothing is asked of the server before the first call, so that either may be started first. Whether it serves the
    very graphs of the model repository is found out by their digests.

    Calls raise TritonUnavailable and ServedModelDiffers besides what the protocol says.

    Args:
        model_repository: the folder whose specs say what the server serves.
        connection: the server.
        names: serve only these; None serves every recognizer found.

    Raises:
        RecognizerUnknown: one of ``names`` is not in the repository.
        InvalidTritonUrl: the connection's address cannot be used.
    """

    def __init__(
        self, model_repository: Path | str, *, connection: TritonConnection, names: Iterable[str] | None = None
    ) -> None:
        super().__init__(ModelRepository(model_repository), names=names)
        self._calls = TritonCalls(connection)
        self._lock = threading.Lock()
        self._batch_sizes: TTLCache[str, int] = TTLCache(2 * len(self._specs) + 1, TRUST_SECONDS)

    @property
    def shares_memory(self) -> bool:
        """Whether tensors pass by shared memory, as far as is known."""
        return self._calls.shares_memory

    def close(self) -> None:
        self._calls.close()

    def _embed(self, spec: RecognizerSpec, crops: np.ndarray, *, retry: bool) -> np.ndarray:
        model = served_name(spec, gradient=False)

        def ask(part: slice) -> dict[str, np.ndarray]:
            wanted = {"embedding": (part.stop - part.start, spec.embedding_size)}
            return self._calls.infer(model, {"crops": crops[part]}, wanted)

        answers = self._in_parts(model, len(crops), ask, digest=spec.model_sha256, retry=retry)
        return _joined(answers, "embedding")

    def _gradient(
        self, spec: RecognizerSpec, crops: np.ndarray, *, far: np.ndarray, near: np.ndarray, retry: bool
    ) -> GradientResult:
        anchors = {"far": far, "near": near}
        model = served_name(spec, gradient=True)

        def ask(part: slice) -> dict[str, np.ndarray]:
            count, size = part.stop - part.start, spec.embedding_size
            # Triton batches rows of different callers, so each row brings its own anchors.
            rows = {
                what: np.ascontiguousarray(np.broadcast_to(rows_of(anchor, part), (count, size)))
                for what, anchor in anchors.items()
            }
            wanted = {"loss": (count, 1), "embedding": (count, size), "gradient": crops[part].shape}
            return self._calls.infer(model, {"crops": crops[part], **rows}, wanted)

        answers = self._in_parts(model, len(crops), ask, digest=spec.gradient_sha256, retry=retry)
        loss = _joined(answers, "loss")[:, 0]
        return GradientResult(loss, _joined(answers, "embedding"), _joined(answers, "gradient"))

    def _in_parts(self, model: str, count: int, ask: Callable[[slice], T], *, digest: str, retry: bool) -> list[T]:
        """Ask for rows in parts that the server takes; each part is tried again by itself."""

        def checked(part: slice) -> T:
            self._batch_size(model, digest=digest)
            try:
                return ask(part)
            except (TryAgain, FaceCloakError) as error:
                # Whoever answers the next time may be another server.
                self._forget(model)
                if isinstance(error, FaceCloakError):
                    self._explain(model, digest=digest)
                raise

        with self._calls.circuit(model):
            size = self._calls.trying(model, lambda: self._batch_size(model, digest=digest), retry=retry)
            return [self._calls.trying(model, partial(checked, part), retry=retry) for part in parts(count, size=size)]

    def _batch_size(self, model: str, *, digest: str) -> int:
        """Rows that the server takes at once, from a configuration whose digest is the repository's."""
        with self._lock:
            size = self._batch_sizes.get(model)
        if size is None:
            config = self._calls.config(model)
            served = config.parameters[DIGEST_PARAMETER].string_value if DIGEST_PARAMETER in config.parameters else ""
            if served != digest:
                raise ServedModelDiffers(
                    f"Triton's {model!r} is not the one in the model repository: run `facecloak models build` for it",
                    model=model,
                )
            size = max(1, config.max_batch_size)
            with self._lock:
                self._batch_sizes[model] = size
        return size

    def _explain(self, model: str, *, digest: str) -> None:
        """After a failure: raises ServedModelDiffers where the reason is that the model was replaced."""
        with contextlib.suppress(TryAgain, TritonUnavailable):
            self._batch_size(model, digest=digest)

    def _forget(self, model: str) -> None:
        with self._lock:
            self._batch_sizes.pop(model, None)


def _joined(answers: list[dict[str, np.ndarray]], name: str) -> np.ndarray:
    return answers[0][name] if len(answers) == 1 else np.concatenate([answer[name] for answer in answers])
