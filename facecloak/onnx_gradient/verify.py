"""Checks a compiled gradient against the embedding graph it came from, by finite differences.

For directions d of independent random signs, the expectation of (d . x)^2 is |x|^2. So with the slopes that the
embedding graph shows along such directions, and those that the gradient predicts,

    root mean square (measured - predicted) / root mean square (measured)

estimates the relative error of the whole gradient, all pixels at once, without its ever being known exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors

from facecloak.onnx_gradient.compile import CROPS, EMBEDDING, FAR, GRADIENT, LOSS, NEAR
from facecloak.onnx_gradient.errors import GradientMismatch

_STEPS_LEVELS = (0.01, 0.003)
"""Half-widths of the central differences. Large ones cross kinks of the activations, small ones drown in float32
rounding; which one serves best differs between nets."""

_RUN_ERRORS = (runtime_errors.Fail, runtime_errors.InvalidArgument, runtime_errors.RuntimeException)

_DIRECTIONS = 8
_BATCH = 3

_MOST_GRADIENT_ERROR = 0.05
"""Correct gradients of the default recognizers measure 0.008 to 0.021, all of it rounding and kinks. Terms left out or
doubled show as tenths; the last digit is for the tests against torch."""

_MOST_BATCH_ERROR = 1e-2
"""Runtimes may compute batches in another order, and so cross a kink; crops that are mixed up differ by whole units."""

_MOST_EMBEDDING_ERROR = 1e-4
_MOST_LENGTH_ERROR = 1e-4


@dataclass(frozen=True)
class GradientReport:
    """What was measured; all errors are relative.

    Attributes:
        gradient_error: estimated |gradient - true gradient| / |true gradient|, at the best step.
        step_levels: that step, in levels of 0..255.
        errors_by_step: the estimate at each step tried.
        embedding_error: largest |embedding of the gradient graph - of the embedding graph|.
        length_error: largest deviation of an embedding's length from 1.
        batch_error: largest difference of embedding or gradient between one crop at a time and all at once.
        slopes: number of directional derivatives compared.
    """

    gradient_error: float
    step_levels: float
    errors_by_step: dict[float, float]
    embedding_error: float
    length_error: float
    batch_error: float
    slopes: int


def check_gradient(
    model: onnx.ModelProto,
    gradient_model: onnx.ModelProto,
    *,
    samples: int = 1,
    seed: int = 0,
    crops: np.ndarray | None = None,
) -> GradientReport:
    """Compare a gradient graph with its embedding graph.

    Args:
        model: graph crops -> embedding of length 1.
        gradient_model: what compile_gradient made of it.
        samples: number of batches of three crops to try.
        seed: decides crops, targets and directions.
        crops: [n, 3, H, W] float32, 0..255, to draw the batches from; smooth random pictures if not given.

    Raises:
        GradientMismatch: results are not finite, not of length 1, depend on the batch size or the gradient is wrong.
    """
    if samples < 1:
        raise ValueError("samples must be at least 1")
    generator = np.random.default_rng(seed)
    embedder, differentiator = _Session(model), _Session(gradient_model)
    shape = tuple(differentiator.input_shape(CROPS)[1:])
    size = int(differentiator.input_shape(FAR)[1])
    squared_errors = dict.fromkeys(_STEPS_LEVELS, 0.0)
    squared_slopes = dict.fromkeys(_STEPS_LEVELS, 0.0)
    embedding_error = length_error = batch_error = 0.0
    for _ in range(samples):
        batch = _pick(crops, generator) if crops is not None else _smooth_pictures(shape, generator)
        targets = {name: generator.standard_normal((_BATCH, size)).astype(np.float32) for name in (FAR, NEAR)}
        result = differentiator.run({CROPS: batch, **targets})
        embedding = embedder.run({embedder.input_name: batch})[embedder.output_name]
        _require_finite(embedding, *result.values())
        length_error = max(length_error, float(np.abs(np.linalg.norm(embedding, axis=1) - 1).max()))
        embedding_error = max(embedding_error, float(np.linalg.norm(result[EMBEDDING] - embedding, axis=1).max()))
        batch_error = max(batch_error, _batch_error(embedder, differentiator, batch, targets, result, embedding))
        for _ in range(_DIRECTIONS):
            signs = generator.choice(np.array([-1, 1], dtype=np.float32), batch.shape)
            predicted = (result[GRADIENT].astype(np.float64) * signs).sum(axis=(1, 2, 3))
            for step in _STEPS_LEVELS:
                measured = _slopes(embedder, batch, signs, targets, step=step)
                squared_errors[step] += float(((measured - predicted) ** 2).sum())
                squared_slopes[step] += float((measured**2).sum())
    errors = {step: float(np.sqrt(squared_errors[step] / max(squared_slopes[step], 1e-300))) for step in _STEPS_LEVELS}
    best = min(errors, key=errors.__getitem__)
    report = GradientReport(
        gradient_error=errors[best],
        step_levels=best,
        errors_by_step=errors,
        embedding_error=embedding_error,
        length_error=length_error,
        batch_error=batch_error,
        slopes=samples * _DIRECTIONS * _BATCH,
    )
    _require_agreement(report)
    return report


class _Session:
    """A model in ONNX Runtime on one thread, called by name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.input_name = self._session.get_inputs()[0].name
        self.output_name = self._session.get_outputs()[0].name

    def input_shape(self, name: str) -> list[int]:
        return next(value.shape for value in self._session.get_inputs() if value.name == name)

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [value.name for value in self._session.get_outputs()]
        try:
            return dict(zip(names, self._session.run(names, feeds), strict=True))
        except _RUN_ERRORS as error:
            raise GradientMismatch("The graph does not run for every batch size.") from error


def _slopes(
    embedder: _Session, batch: np.ndarray, signs: np.ndarray, targets: dict[str, np.ndarray], *, step: float
) -> np.ndarray:
    """Derivative of each crop's loss along its direction, [N] float64, by a central difference."""
    above, below = batch + np.float32(step) * signs, batch - np.float32(step) * signs
    # Only the difference of two nearly equal losses counts: form it from the embeddings' difference, in float64.
    embeddings = [embedder.run({embedder.input_name: side})[embedder.output_name] for side in (above, below)]
    change = embeddings[0].astype(np.float64) - embeddings[1]
    away = _unit(targets[NEAR]) - _unit(targets[FAR])
    # float32 pixels do not take the step exactly.
    taken = np.abs(above.astype(np.float64) - below).mean(axis=(1, 2, 3))
    return (change * away).sum(axis=1) / taken


def _unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    return np.asarray(wide / np.sqrt((wide**2).sum(axis=1, keepdims=True)))


def _batch_error(
    embedder: _Session,
    differentiator: _Session,
    batch: np.ndarray,
    targets: dict[str, np.ndarray],
    result: dict[str, np.ndarray],
    embedding: np.ndarray,
) -> float:
    """Largest relative difference between crops run alone and crops run together."""
    worst = 0.0
    for index in range(len(batch)):
        row = slice(index, index + 1)
        alone = differentiator.run({CROPS: batch[row], **{name: rows[row] for name, rows in targets.items()}})
        embedded = embedder.run({embedder.input_name: batch[row]})[embedder.output_name]
        _require_finite(embedded, *alone.values())
        pairs = [(alone[GRADIENT], result[GRADIENT][row]), (alone[EMBEDDING], result[EMBEDDING][row])]
        pairs += [(embedded, embedding[row])]
        for one, other in pairs:
            if one.shape != other.shape:
                raise GradientMismatch("The number of results does not follow the batch size.")
            worst = max(worst, float(np.linalg.norm(one - other)) / max(float(np.linalg.norm(other)), 1e-30))
        worst = max(worst, float(np.abs(alone[LOSS] - result[LOSS][row]).max()))
    return worst


def _require_finite(*arrays: np.ndarray) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise GradientMismatch("Embeddings or gradients are not finite numbers.")


def _require_agreement(report: GradientReport) -> None:
    limits = {
        "gradient_error": _MOST_GRADIENT_ERROR,
        "embedding_error": _MOST_EMBEDDING_ERROR,
        "length_error": _MOST_LENGTH_ERROR,
        "batch_error": _MOST_BATCH_ERROR,
    }
    for name, limit in limits.items():
        measured = getattr(report, name)
        # Written so that NaN fails too.
        if not measured <= limit:
            raise GradientMismatch(
                f"The compiled gradient fails its check: {name} is {measured:.2g}, allowed {limit:.2g}.",
                check=name,
                measured=f"{measured:.3g}",
                allowed=f"{limit:.3g}",
            )


def _pick(crops: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return crops[generator.integers(len(crops), size=_BATCH)].astype(np.float32)


def _smooth_pictures(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Random pictures [N, 3, H, W], 0..255, of coarse blotches with some fine grain."""
    channels, height, width = shape
    coarse = generator.uniform(0, 255, (_BATCH, channels, 8, 8))
    rows = np.linspace(0, 7, height).round().astype(int)
    columns = np.linspace(0, 7, width).round().astype(int)
    grain = generator.normal(0, 10, (_BATCH, channels, height, width))
    return np.clip(coarse[:, :, rows][..., columns] + grain, 0, 255).astype(np.float32)
