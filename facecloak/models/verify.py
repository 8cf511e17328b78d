"""A model is verified before it is written: what loads is not yet what works."""

from __future__ import annotations

import numpy as np

from facecloak.errors import FaceCloakError
from facecloak.models.crop import CROP_SIZE
from facecloak.models.errors import ModelUnsupported, VerificationFailed
from facecloak.models.repository import ModelRepository
from facecloak.models.session import open_session
from facecloak.models.spec import RecognizerSpec

BATCH_TOLERANCE = 1e-3
"""Largest difference of a unit embedding between batch sizes; engines pick other kernels for other batches (1e-6)."""

SAME_EMBEDDING = 0.9999
"""Cosine above which two different pictures count as the same: a network that ignores its input."""


def probe_crops(count: int = 3, *, seed: int = 0) -> np.ndarray:
    """(count, 3, 112, 112) float32 0..255: smooth random colors, so that no layer saturates as on white noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (count, 3, 8, 8))
    grid = np.linspace(0, 7, CROP_SIZE)
    weights = np.maximum(0, 1 - np.abs(grid[:, None] - np.arange(8)[None]))
    return (weights @ coarse @ weights.T).astype(np.float32)


def verify_recognizer(model: bytes, spec: RecognizerSpec, *, weights: bytes | None = None) -> None:
    """Run a prepared recognizer with one and with three crops; ``weights`` is the file that it names for its own.

    Raises:
        ModelUnsupported: the engine cannot load or run it, or the embedding's size is not the spec's.
        VerificationFailed: the embedding is not finite or not of unit length, depends on the batch size, or is the same
            for every picture.
    """
    crops = probe_crops()
    try:
        session = open_session(model, weights=weights, threads=1)
        together = session.run(["embedding"], {"crops": crops})[0]
        alone = np.concatenate([session.run(["embedding"], {"crops": crops[i : i + 1]})[0] for i in range(len(crops))])
    except Exception as error:  # onnxruntime raises its own classes, RuntimeError and more
        raise ModelUnsupported(f"{spec.name!r} does not run in ONNX Runtime: {_first_line(error)}") from error
    if together.shape != (len(crops), spec.embedding_size):
        size = together.shape[1:] if together.ndim > 1 else together.shape
        raise ModelUnsupported(f"{spec.name!r} gives embeddings of {size}, its spec says {spec.embedding_size}")
    if not np.isfinite(together).all() or not np.isfinite(alone).all():
        raise VerificationFailed(f"the embedding of {spec.name!r} is not finite", model=spec.name)
    if np.abs(np.linalg.norm(together, axis=1) - 1).max() > BATCH_TOLERANCE:
        raise VerificationFailed(f"the embedding of {spec.name!r} is zero for a plain picture", model=spec.name)
    if np.abs(together - alone).max() > BATCH_TOLERANCE:
        raise VerificationFailed(f"{spec.name!r} answers differently for one crop and for three", model=spec.name)
    cosines = together @ together.T
    if cosines[~np.eye(len(crops), dtype=bool)].min() > SAME_EMBEDDING:
        raise VerificationFailed(f"{spec.name!r} gives every picture the same embedding", model=spec.name)


def verify_network(model: bytes, spec: RecognizerSpec) -> None:
    """Run a detector or landmark model once on a gray image; errors as :func:`verify_recognizer`."""
    try:
        session = open_session(model, threads=1)
        entry = session.get_inputs()[0]
        outputs = session.run(None, {entry.name: np.full((1, *entry.shape[1:]), 0.1, np.float32)})
    except Exception as error:
        raise ModelUnsupported(f"{spec.name!r} does not run in ONNX Runtime: {_first_line(error)}") from error
    if not all(np.isfinite(output).all() for output in outputs):
        raise VerificationFailed(f"the outputs of {spec.name!r} are not finite", model=spec.name)


def verify_gradient(model: bytes, gradient: bytes, *, weights: bytes | None = None) -> None:
    """Compare a gradient graph with central differences of its recognizer. Raises GradientError."""
    import onnx

    from facecloak.models.convert.external_weights import whole
    from facecloak.onnx_gradient import check_gradient

    check_gradient(whole(model, weights), onnx.load_model_from_string(gradient))


def verify_stored(repository: ModelRepository, name: str) -> str | None:
    """Check one model of the repository all through: digests, a run, its gradient. None, or what is wrong."""
    try:
        spec, model, weights = repository.spec(name), repository.read_model(name), repository.read_weights(name)
        if not spec.is_recognizer:
            verify_network(model, spec)
            return None
        verify_recognizer(model, spec, weights=weights)
        if spec.has_gradient:
            verify_gradient(model, repository.read_gradient(name), weights=weights)
    except FaceCloakError as error:
        return error.public_message
    return None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
