"""Opening a model of the repository with ONNX Runtime: the digest of every file is checked first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facecloak.models.errors import RecognizerFailed
from facecloak.models.repository import WEIGHTS_FILE, ModelRepository

if TYPE_CHECKING:
    import onnxruntime as ort


def open_model(
    repository: ModelRepository, name: str, *, gradient: bool = False, threads: int = 0, cpu_only: bool = False
) -> ort.InferenceSession:
    """An ONNX Runtime session of a model of the repository: the one way in which any of them is opened.

    Args:
        gradient: open the recognizer's gradient graph instead.
        threads, cpu_only: see :func:`open_session`.

    Raises:
        RecognizerUnknown: there is none of this name.
        ModelDamaged: a file is missing or not the one that the spec records.
        RecognizerFailed: ONNX Runtime cannot open it.
    """
    data = repository.read_gradient(name) if gradient else repository.read_model(name)
    weights = None if gradient else repository.read_weights(name)
    try:
        return open_session(data, weights=weights, threads=threads, cpu_only=cpu_only)
    except Exception as error:  # onnxruntime raises its own classes, RuntimeError and more
        raise RecognizerFailed(f"the model {name!r} failed to load", model=name) from error


def open_session(
    model: bytes, *, weights: bytes | None = None, threads: int = 0, cpu_only: bool = False
) -> ort.InferenceSession:
    """An ONNX Runtime session from checked bytes, on CUDA when this onnxruntime offers it.

    Args:
        weights: the file that the model names for its weights.
        threads: threads within one operator; 0 lets the engine take one a core.
        cpu_only: never use CUDA: for models so small that the way to the GPU takes longer.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    # Idle threads of one session would otherwise spin for their next call and take the cores from the others: four
    # recognizers in turn on two cores took 40 % less CPU time without.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if weights is not None:
        options.add_external_initializers_from_files_in_memory([WEIGHTS_FILE], [weights], [len(weights)])
    providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
    if not cpu_only and "CUDAExecutionProvider" in ort.get_available_providers():
        # TF32 keeps 10 bits of a factor, which flips the sign of some gradients.
        providers.insert(0, ("CUDAExecutionProvider", {"use_tf32": "0"}))
    return ort.InferenceSession(model, options, providers=providers)
