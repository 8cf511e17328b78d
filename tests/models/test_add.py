from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from facecloak.errors import FaceCloakError
from facecloak.models.add import add_recognizer
from facecloak.models.convert.denormals import SMALLEST_WEIGHT
from facecloak.models.convert.external_weights import whole
from facecloak.models.errors import ModelUnsupported, SpecInvalid, VerificationFailed
from facecloak.models.repository import ModelRepository, sha256_hex
from facecloak.models.verify import verify_stored
from facecloak.onnx_gradient import UnsupportedOperator
from facecloak.recognizers.onnx_runtime import OnnxRuntime

NetworkMaker = Callable[..., onnx.ModelProto]
SPEC = b'name = "mine"\n[preprocessing]\nmean = 127.5\nscale = 0.0078125'


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    return ModelRepository(tmp_path / "models")


def test_any_arcface_style_onnx_can_be_added(
    repository: ModelRepository, make_network: NetworkMaker, crops: np.ndarray
) -> None:
    data = make_network().SerializeToString()
    spec = add_recognizer(repository, spec_toml=SPEC, onnx_file=data)
    assert spec.embedding_size == 16
    assert spec.source.weights_sha256 == sha256_hex(data)
    runtime = OnnxRuntime(repository.root)
    result = runtime.gradient("mine", crops, far=np.ones(16), near=np.zeros(16))
    assert np.isfinite(result.gradient).all()
    assert np.abs(result.gradient).max() > 0
    assert verify_stored(repository, "mine") is None


def test_a_template_of_its_own(repository: ModelRepository, make_network: NetworkMaker, crops: np.ndarray) -> None:
    template = b"[[19.1, 25.8], [36.8, 25.8], [28.0, 35.9], [20.8, 46.2], [35.4, 46.1]]"
    spec = add_recognizer(
        repository,
        spec_toml=b'name = "small"\n[crop]\nsize = 56\ntemplate = ' + template,
        onnx_file=make_network(size=56).SerializeToString(),
    )
    assert spec.crop.scale == pytest.approx(0.5, abs=0.01)
    assert OnnxRuntime(repository.root).embed("small", crops).shape == (3, 16)


def test_tiny_weights_are_dropped_and_change_nothing(
    repository: ModelRepository, make_network: NetworkMaker, crops: np.ndarray
) -> None:
    network = make_network()
    add_recognizer(repository, spec_toml=SPEC, onnx_file=network.SerializeToString())
    matrix = next(tensor for tensor in network.graph.initializer if tensor.name == "matrix")
    values = np.frombuffer(matrix.raw_data, np.float32).copy()
    values[: len(values) // 2] *= np.float32(1e-39)
    values[: len(values) // 4] = np.float32(SMALLEST_WEIGHT / 10)
    matrix.raw_data = values.tobytes()
    add_recognizer(repository, spec_toml=SPEC.replace(b"mine", b"tiny"), onnx_file=network.SerializeToString())
    stored = whole(repository.read_model("tiny"), repository.read_weights("tiny"))
    for tensor in stored.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and "net/" in tensor.name:
            kept = np.abs(onnx.numpy_helper.to_array(tensor))
            assert not ((kept > 0) & (kept < SMALLEST_WEIGHT)).any()
    embedding = OnnxRuntime(repository.root).embed("tiny", crops)
    values[: len(values) // 2] = 0
    matrix.raw_data = values.tobytes()
    add_recognizer(repository, spec_toml=SPEC.replace(b"mine", b"zero"), onnx_file=network.SerializeToString())
    np.testing.assert_array_equal(embedding, OnnxRuntime(repository.root).embed("zero", crops))


def test_a_taken_name_is_kept_unless_told(repository: ModelRepository, make_network: NetworkMaker) -> None:
    first = add_recognizer(repository, spec_toml=SPEC, onnx_file=make_network().SerializeToString())
    second = make_network(seed=1).SerializeToString()
    with pytest.raises(SpecInvalid, match="already"):
        add_recognizer(repository, spec_toml=SPEC, onnx_file=second)
    assert repository.spec("mine") == first
    replaced = add_recognizer(repository, spec_toml=SPEC, onnx_file=second, replace_existing=True)
    assert replaced.model_sha256 != first.model_sha256
    assert repository.is_intact("mine")


def test_a_spec_may_pin_its_weights(repository: ModelRepository, make_network: NetworkMaker) -> None:
    data = make_network().SerializeToString()
    other = SPEC + b'\n[source]\nweights_sha256 = "' + b"0" * 64 + b'"'
    with pytest.raises(SpecInvalid, match="weights_sha256"):
        add_recognizer(repository, spec_toml=other, onnx_file=data)
    pinned = SPEC + f'\n[source]\nweights_sha256 = "{sha256_hex(data)}"'.encode()
    add_recognizer(repository, spec_toml=pinned, onnx_file=data)


def test_a_detector_is_no_recognizer(repository: ModelRepository, make_network: NetworkMaker) -> None:
    spec = b'name = "boxes"\nkind = "face_detector"'
    with pytest.raises(SpecInvalid, match="kind"):
        add_recognizer(repository, spec_toml=spec, onnx_file=make_network().SerializeToString())


def test_what_cannot_be_differentiated_can_still_evaluate(
    repository: ModelRepository, make_network: NetworkMaker, crops: np.ndarray
) -> None:
    network = make_network(opset=13)
    del network.graph.node[1]
    network.graph.node.insert(1, helper.make_node("LRN", ["conv"], ["relu"], size=3))
    network.opset_import[0].version = 18
    data = network.SerializeToString()
    with pytest.raises(UnsupportedOperator, match="LRN"):
        add_recognizer(repository, spec_toml=SPEC, onnx_file=data)
    assert repository.names() == ()
    spec = add_recognizer(repository, spec_toml=SPEC, onnx_file=data, with_gradient=False)
    assert not spec.has_gradient
    assert OnnxRuntime(repository.root).embed("mine", crops).shape == (3, 16)


def constant_network(make_network: NetworkMaker) -> onnx.ModelProto:
    network = make_network()
    kernel = next(tensor for tensor in network.graph.initializer if tensor.name == "kernel")
    kernel.raw_data = bytes(len(kernel.raw_data))
    return network


def infinite_network(make_network: NetworkMaker) -> onnx.ModelProto:
    network = make_network()
    matrix = next(tensor for tensor in network.graph.initializer if tensor.name == "matrix")
    matrix.raw_data = np.full(len(matrix.raw_data) // 4, np.inf, np.float32).tobytes()
    return network


@pytest.mark.parametrize("make", [constant_network, infinite_network])
def test_a_network_that_does_not_behave_is_refused(
    repository: ModelRepository, make_network: NetworkMaker, make: Callable[[NetworkMaker], onnx.ModelProto]
) -> None:
    with pytest.raises(VerificationFailed):
        add_recognizer(
            repository, spec_toml=SPEC, onnx_file=make(make_network).SerializeToString(), with_gradient=False
        )
    assert repository.names() == ()


def test_a_network_that_mixes_its_batch_is_refused(repository: ModelRepository, make_network: NetworkMaker) -> None:
    """Subtracting the batch mean answers differently for one crop and for three."""
    network = make_network(batch="N")
    network.graph.node[-1].output[0] = "raw"
    network.graph.node.append(helper.make_node("ReduceMean", ["raw"], ["mean"], axes=[0], keepdims=1))
    network.graph.node.append(helper.make_node("Mul", ["mean", "raw"], ["features"]))
    with pytest.raises(FaceCloakError):
        add_recognizer(repository, spec_toml=SPEC, onnx_file=network.SerializeToString(), with_gradient=False)
    assert repository.names() == ()


def test_sizes_that_disagree_are_refused(repository: ModelRepository, make_network: NetworkMaker) -> None:
    data = make_network().SerializeToString()
    with pytest.raises(ModelUnsupported):
        add_recognizer(repository, spec_toml=b'embedding_size = 8\nname = "mine"', onnx_file=data)
    with pytest.raises(ModelUnsupported, match="its spec says"):
        add_recognizer(repository, spec_toml=b'name = "mine"\n[crop]\nsize = 160', onnx_file=data)
    with pytest.raises(ModelUnsupported, match="not ONNX"):
        add_recognizer(repository, spec_toml=SPEC, onnx_file=b"GIF89a")


def test_verifying_finds_a_swapped_gradient(repository: ModelRepository, make_network: NetworkMaker) -> None:
    add_recognizer(repository, spec_toml=SPEC, onnx_file=make_network().SerializeToString())
    other = SPEC.replace(b"mine", b"other")
    add_recognizer(repository, spec_toml=other, onnx_file=make_network(seed=3).SerializeToString())
    model = whole(repository.read_model("mine"), repository.read_weights("mine")).SerializeToString()
    repository.write(repository.spec("mine"), model=model, gradient=repository.read_gradient("other"))
    assert verify_stored(repository, "mine") is not None
    assert verify_stored(repository, "other") is None
    repository.model_path("other").write_bytes(b"")
    assert "not the one" in (verify_stored(repository, "other") or "")
