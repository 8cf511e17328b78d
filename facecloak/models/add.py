"""`facecloak models add`: an operator's own recognizer."""

from __future__ import annotations

from dataclasses import replace

from facecloak.models.convert.onnx_file import convert_ready_model
from facecloak.models.errors import ModelUnsupported, SpecInvalid
from facecloak.models.install import store_recognizer
from facecloak.models.repository import ModelRepository, sha256_hex
from facecloak.models.spec import ModelKind, RecognizerSpec, parse_spec


def add_recognizer(
    repository: ModelRepository,
    *,
    spec_toml: bytes,
    onnx_file: bytes,
    with_gradient: bool = True,
    replace_existing: bool = False,
) -> RecognizerSpec:
    """Import an ArcFace-style ONNX; returns its completed spec.

    An ``embedding_size`` of 0 is taken from the network. A ``weights_sha256`` in the spec must be that of the file; an
    empty one is filled in.

    Raises:
        SpecInvalid: the spec cannot be read, is no recognizer's, or its name is taken.
        ModelUnsupported, VerificationFailed, GradientError: see store_recognizer.
    """
    spec = parse_spec(spec_toml)
    if spec.kind is not ModelKind.RECOGNIZER:
        raise SpecInvalid("spec.toml: kind must be recognizer", field="kind")
    digest = sha256_hex(onnx_file)
    if spec.source.weights_sha256 not in ("", digest):
        raise SpecInvalid("spec.toml: source.weights_sha256 is not that of the ONNX file", field="source")
    network = convert_ready_model(onnx_file, outputs=[spec.output] if spec.output else None)
    if not spec.embedding_size:
        sides = [side.dim_value for side in network.graph.output[0].type.tensor_type.shape.dim[1:]]
        size = 1
        for side in sides:
            size *= side
        if not sides or size < 1:
            raise ModelUnsupported("the network does not say its embedding size: set embedding_size in spec.toml")
        spec = replace(spec, embedding_size=size)
    spec = replace(spec, source=replace(spec.source, weights_sha256=digest), recipe="")
    with repository.locked():
        if spec.name in repository.folders() and not replace_existing:
            raise SpecInvalid(f"there is a model named {spec.name!r} already", field="name")
        return store_recognizer(repository, network, spec, with_gradient=with_gradient)
