"""`models build`: what Triton is told about each graph."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from facecloak.cli import RootGroup
from facecloak.commands.models import register
from facecloak.models.convert.onnx_file import convert_ready_model
from facecloak.models.errors import ModelDamaged, RecognizerUnknown
from facecloak.models.install import store_recognizer
from facecloak.models.repository import ModelRepository
from facecloak.models.spec import ModelKind, RecognizerSpec
from facecloak.recognizers.triton.profiles import CPU, GPU, GPU_TENSORRT, PROFILES, Profile
from facecloak.recognizers.triton.write_repository import build_repository


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, make_network: Callable[..., onnx.ModelProto]) -> ModelRepository:
    """A surrogate, an evaluator and a face finder."""
    store = ModelRepository(tmp_path_factory.mktemp("models"))
    for name, seed in (("first", 0), ("second", 1)):
        network = convert_ready_model(make_network(seed=seed).SerializeToString())
        store_recognizer(store, network, RecognizerSpec(name, embedding_size=16), with_gradient=name == "first")
    store.write(RecognizerSpec("boxes", kind=ModelKind.FACE_DETECTOR), model=b"detector")
    return store


def config(root: Path, name: str) -> ModelConfig:
    return text_format.Parse((root / name / "config.pbtxt").read_text(), ModelConfig())


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_every_profile_is_complete(small: ModelRepository, tmp_path: Path, profile: Profile) -> None:
    built = build_repository(small, profile=profile, output=tmp_path)
    assert built.models == ("first", "first_grad", "second")
    for name in built.models:
        read = config(tmp_path, name)
        assert (read.name, read.backend, read.max_batch_size) == (name, "onnxruntime", profile.max_batch)
        assert read.version_policy.latest.num_versions == 1
        assert read.dynamic_batching.default_queue_policy.max_queue_size == profile.queue_limit
        assert [warm_up.batch_size for warm_up in read.model_warmup] == list(profile.warm_up_batches)
        assert max(warm_up.batch_size for warm_up in read.model_warmup) == profile.max_batch
        assert all(set(warm_up.inputs) == {entry.name for entry in read.input} for warm_up in read.model_warmup)


def test_tensors_and_digests_are_the_graphs(small: ModelRepository, tmp_path: Path) -> None:
    build_repository(small, profile=CPU, output=tmp_path)
    spec = small.spec("first")
    embedding, gradient = config(tmp_path, "first"), config(tmp_path, "first_grad")
    assert embedding.parameters["facecloak_sha256"].string_value == spec.model_sha256
    assert gradient.parameters["facecloak_sha256"].string_value == spec.gradient_sha256
    for read, path in ((embedding, small.model_path("first")), (gradient, small.gradient_path("first"))):
        graph = onnx.load(path, load_external_data=False).graph
        assert [entry.name for entry in read.input] == [entry.name for entry in graph.input]
        assert [entry.name for entry in read.output] == [entry.name for entry in graph.output]
    loss = gradient.output[0]
    assert (loss.name, list(loss.dims), loss.HasField("reshape"), list(loss.reshape.shape)) == ("loss", [1], True, [])


def test_accelerators(small: ModelRepository, tmp_path: Path) -> None:
    def accelerator(profile: Profile) -> Any:
        build_repository(small, profile=profile, output=tmp_path)
        read = config(tmp_path, "first_grad")
        assert read.instance_group[0].kind == ModelInstanceGroup.KIND_GPU
        (chosen,) = read.optimization.execution_accelerators.gpu_execution_accelerator
        return chosen

    cuda = accelerator(GPU)
    assert (cuda.name, dict(cuda.parameters)) == ("cuda", {"use_tf32": "0"})
    tensorrt = accelerator(GPU_TENSORRT)
    assert tensorrt.name == "tensorrt"
    assert tensorrt.parameters["precision_mode"] == "FP32"
    assert tensorrt.parameters["trt_profile_max_shapes"] == "crops:64x3x112x112,far:64x16,near:64x16"
    build_repository(small, profile=CPU, output=tmp_path)
    read = config(tmp_path, "first_grad")
    assert read.instance_group[0].kind == ModelInstanceGroup.KIND_CPU
    assert not read.HasField("optimization")


def test_in_place_it_leaves_finders_and_specs_alone(small: ModelRepository) -> None:
    build_repository(small, profile=CPU)
    assert not (small.root / "boxes" / "config.pbtxt").exists()
    assert small.is_intact("first")
    assert (small.root / "first_grad" / "config.pbtxt").exists()


def test_an_output_of_its_own_holds_only_what_is_served(small: ModelRepository, tmp_path: Path) -> None:
    for _ in range(2):  # the second time over the first
        build_repository(small, profile=CPU, names=["first"], output=tmp_path)
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == [
        "first/1/model.onnx",
        "first/1/weights.bin",
        "first/config.pbtxt",
        "first_grad/1/model.onnx",
        "first_grad/config.pbtxt",
    ]
    assert (tmp_path / "first" / "1" / "model.onnx").read_bytes() == small.read_model("first")
    assert (tmp_path / "first" / "1" / "weights.bin").samefile(tmp_path / "first_grad" / "1" / "model.onnx")


def test_a_damaged_model_is_never_vouched_for(small: ModelRepository, tmp_path: Path) -> None:
    store = ModelRepository(tmp_path / "models")
    store.write(small.spec("second"), model=small.read_model("second"))
    store.model_path("second").write_bytes(b"other")
    with pytest.raises(ModelDamaged, match="second"):
        build_repository(store, profile=CPU)
    assert not (store.root / "second" / "config.pbtxt").exists()


@pytest.mark.parametrize("name", ["third", "boxes"])
def test_only_recognizers_are_served(small: ModelRepository, tmp_path: Path, name: str) -> None:
    with pytest.raises(RecognizerUnknown, match=name):
        build_repository(small, profile=CPU, names=[name], output=tmp_path)


def test_the_command_prints_what_to_load(small: ModelRepository, tmp_path: Path) -> None:
    root = RootGroup("facecloak")
    register(root)
    arguments = ["models", "build", "--repository", str(small.root), "--output", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(root, [*arguments, "--profile", "gpu", "--instances", "2"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {
        "root": str(tmp_path / "out"),
        "profile": "gpu",
        "models": ["first", "first_grad", "second"],
    }
    assert config(tmp_path / "out", "first").instance_group[0].count == 2
    assert CliRunner().invoke(root, [*arguments, "--profile", "tpu"]).exit_code == 2
