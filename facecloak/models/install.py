"""Prepare, verify, compile, write: the last steps of every import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facecloak.models.repository import ModelRepository
from facecloak.models.spec import RecognizerSpec
from facecloak.models.verify import verify_network, verify_recognizer

if TYPE_CHECKING:
    import onnx


def store_recognizer(
    repository: ModelRepository, network: onnx.ModelProto, spec: RecognizerSpec, *, with_gradient: bool = True
) -> RecognizerSpec:
    """Bring a recognizer network (opset 18, dynamic batch) into the repository; returns its completed spec.

    Args:
        with_gradient: False imports it as an evaluator only.

    Raises:
        ModelUnsupported, VerificationFailed: it does not fit its spec, or does not behave.
        GradientError: it cannot be differentiated, or its gradient is wrong (see facecloak.onnx_gradient).
    """
    from facecloak.models.convert.denormals import drop_tiny_weights
    from facecloak.models.convert.external_weights import pointing_into
    from facecloak.models.convert.wrap import prepare

    drop_tiny_weights(network)
    prepared = prepare(network, spec)
    if with_gradient:
        from facecloak.onnx_gradient import simplify_recognizer

        prepared = simplify_recognizer(prepared)
    if not with_gradient:
        model = prepared.SerializeToString(deterministic=True)
        verify_recognizer(model, spec)
        return repository.write(spec, model=model)
    gradient = _gradient(prepared)
    model = pointing_into(prepared, gradient).SerializeToString(deterministic=True)
    verify_recognizer(model, spec, weights=gradient)
    return repository.write(spec, model=model, gradient=gradient, shares_weights=True)


def store_finder(repository: ModelRepository, network: onnx.ModelProto, spec: RecognizerSpec) -> RecognizerSpec:
    """Bring a detector or landmark network into the repository."""
    from facecloak.models.convert.denormals import drop_tiny_weights
    from facecloak.models.convert.prelu import split_prelu

    drop_tiny_weights(network)
    split_prelu(network)
    model = network.SerializeToString(deterministic=True)
    verify_network(model, spec)
    return repository.write(spec, model=model)


def _gradient(prepared: onnx.ModelProto) -> bytes:
    from facecloak.onnx_gradient import check_gradient, compile_gradient

    compiled = compile_gradient(prepared)
    check_gradient(prepared, compiled)
    return compiled.SerializeToString(deterministic=True)
