"""Loading: the operator's files and nothing else, whole or not at all."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from enroll_service.pipeline.errors import SynthesizerUnavailable
from enroll_service.pipeline.settings import Arc2FaceSettings
from enroll_service.pipeline.synthesize.arc2face.weights import Weights, load_pipeline, placement

Settings = Callable[..., Arc2FaceSettings]


def _load(settings: Arc2FaceSettings) -> object:
    return load_pipeline(Weights.of(settings), settings)


def test_the_published_layout_loads_without_a_network(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    settings = tiny()
    pipeline = load_pipeline(Weights.of(settings), settings)
    assert type(pipeline).__name__ == "StableDiffusionPipeline"
    assert type(pipeline.scheduler).__name__ == "DPMSolverMultistepScheduler"
    assert (pipeline.scheduler.config.solver_order, pipeline.scheduler.config.beta_end) == (2, 0.012)
    assert pipeline.unet.dtype is torch.float32
    assert pipeline.safety_checker is None


def test_every_weight_comes_from_the_file(whole_weights: Path, tiny: Settings) -> None:
    pipeline = load_pipeline(Weights.of(tiny()), tiny())
    written = load_file(whole_weights / "encoder" / "model.safetensors")
    loaded = pipeline.text_encoder.state_dict()
    for name, value in loaded.items():
        assert torch.equal(value, written[f"text_model.{name.removeprefix('text_model.')}"]), name


@pytest.mark.parametrize(
    "name",
    [
        "arc2face/config.json",
        "arc2face/diffusion_pytorch_model.safetensors",
        "encoder/model.safetensors",
        "stable-diffusion-v1-5/vae/diffusion_pytorch_model.safetensors",
        "stable-diffusion-v1-5/tokenizer/merges.txt",
        "stable-diffusion-v1-5/scheduler/scheduler_config.json",
    ],
)
def test_a_missing_file_is_named(weights: Path, tiny: Settings, name: str) -> None:
    (weights / name).unlink()
    with pytest.raises(SynthesizerUnavailable, match=Path(name).name) as refused:
        _load(tiny(weights=str(weights)))
    assert refused.value.metadata["file"] == "/".join(Path(name).parts[-2:])
    assert str(weights) not in refused.value.public_message


def test_pickled_weights_are_not_read(weights: Path, tiny: Settings) -> None:
    encoder = weights / "encoder"
    torch.save(load_file(encoder / "model.safetensors"), encoder / "pytorch_model.bin")
    (encoder / "model.safetensors").unlink()
    with pytest.raises(SynthesizerUnavailable, match="pickled"):
        _load(tiny(weights=str(weights)))


def test_the_documented_conversion_makes_them_readable(
    weights: Path, tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = Weights.of(tiny(weights=str(weights))).digest()
    encoder = weights / "encoder"
    torch.save(load_file(encoder / "model.safetensors"), encoder / "pytorch_model.bin")
    (encoder / "model.safetensors").unlink()
    document = Path(__file__).parents[5] / "docs" / "arc2face.md"
    (code,) = re.findall(r"```python\n(.*?)```", document.read_text(), flags=re.DOTALL)
    monkeypatch.chdir(weights)
    exec(code, {})
    assert Weights.of(tiny(weights=str(weights))).digest() == digest
    _load(tiny(weights=str(weights)))


@pytest.mark.parametrize("part", ["encoder/model", "arc2face/diffusion_pytorch_model"])
def test_weights_that_lack_a_tensor_or_are_cut_are_refused(weights: Path, tiny: Settings, part: str) -> None:
    file = weights / f"{part}.safetensors"
    tensors = load_file(file)
    name = next(name for name in sorted(tensors) if name.endswith("weight"))
    save_file({key: value for key, value in tensors.items() if key != name}, file, metadata={"format": "pt"})
    with pytest.raises(SynthesizerUnavailable, match="lacks weights"):
        _load(tiny(weights=str(weights)))
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(SynthesizerUnavailable, match="cannot be loaded"):
        _load(tiny(weights=str(weights)))


def test_parts_that_do_not_fit_are_refused(weights: Path, tiny: Settings) -> None:
    from diffusers import UNet2DConditionModel

    UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, cross_attention_dim=512,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=4,
    ).save_pretrained(weights / "arc2face")  # fmt: skip
    with pytest.raises(SynthesizerUnavailable, match="belong together"):
        _load(tiny(weights=str(weights)))


@pytest.mark.parametrize("file", ["scheduler/scheduler_config.json", "tokenizer/vocab.json", "vae/config.json"])
def test_damaged_json_is_a_typed_error(weights: Path, tiny: Settings, file: str) -> None:
    (weights / "stable-diffusion-v1-5" / file).write_text("{")
    with pytest.raises(SynthesizerUnavailable, match="cannot be loaded"):
        _load(tiny(weights=str(weights)))


def test_the_digest_is_of_every_file(weights: Path, tiny: Settings) -> None:
    digest = Weights.of(tiny(weights=str(weights))).digest()
    assert digest == Weights.of(tiny()).digest()
    config = weights / "stable-diffusion-v1-5" / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"beta_end": 0.02}))
    assert digest != Weights.of(tiny(weights=str(weights))).digest()


def test_no_folder_is_a_typed_error() -> None:
    with pytest.raises(SynthesizerUnavailable, match=r"arc2face\.weights"):
        Weights.of(Arc2FaceSettings())


def test_placement_follows_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert placement(Arc2FaceSettings()) == (torch.device("cuda"), torch.float16)
    assert placement(Arc2FaceSettings(half_precision=False)) == (torch.device("cuda"), torch.float32)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert placement(Arc2FaceSettings()) == (torch.device("cpu"), torch.float32)
    with pytest.raises(SynthesizerUnavailable, match="no GPU"):
        placement(Arc2FaceSettings(device="cuda"))


def test_offloading_needs_a_gpu(tiny: Settings) -> None:
    with pytest.raises(SynthesizerUnavailable, match="needs a GPU"):
        _load(tiny(cpu_offload=True))
