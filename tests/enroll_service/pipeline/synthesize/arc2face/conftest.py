"""Arc2Face in miniature: the same classes, files and key names as the published weights, a thousandth of their size,
filled at random. What it draws is noise."""

from __future__ import annotations

import json
import shutil
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from enroll_service.pipeline.settings import Arc2FaceSettings

WORDS = ("photo", "of", "a", "id", "person")
START, END = "<|startoftext|>", "<|endoftext|>"
WIDTH = 576
"""Of a token's embedding: more than the identity's 512, as the real 768 is."""
SIDE = 16
"""Of the pictures drawn: the UNet's sample of 8, and 2 px for each of the autoencoder's."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small wait for their threads longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def whole_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder; read only."""
    from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel

    folder = tmp_path_factory.mktemp("weights")
    base = folder / "stable-diffusion-v1-5"
    vocabulary = write_tokenizer(base / "tokenizer")
    torch.manual_seed(0)
    write_encoder(folder / "encoder", vocabulary)
    UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=4,
    ).save_pretrained(folder / "arc2face")
    AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=SIDE,
    ).save_pretrained(base / "vae")
    # As Stable Diffusion 1.5 has it.
    PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        steps_offset=1,
        set_alpha_to_one=False,
    ).save_pretrained(base / "scheduler")
    return folder


@pytest.fixture
def weights(whole_weights: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(whole_weights, tmp_path / "weights"))


@pytest.fixture
def tiny(whole_weights: Path) -> Callable[..., Arc2FaceSettings]:
    """Settings for the folder: on the CPU."""

    def make(**fields: Any) -> Arc2FaceSettings:
        quick = {"weights": str(whole_weights), "recognizer": "fr_feature", "device": "cpu", "batch": 2}
        return Arc2FaceSettings.model_validate(quick | fields)

    return make


def write_tokenizer(folder: Path) -> dict[str, int]:
    """A CLIP tokenizer that knows the prompt's words as one token each; returns its vocabulary."""
    tokens = [letter + end for end in ("", "</w>") for letter in string.ascii_lowercase]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        first, *rest = [*word[:-1], word[-1] + "</w>"]
        for part in rest:
            if (first, part) not in merges:
                merges.append((first, part))
                tokens.append(first + part)
            first += part
    vocabulary = {token: index for index, token in enumerate([*tokens, START, END])}
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)]) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            special
            | {"tokenizer_class": "CLIPTokenizer", "do_lower_case": True, "model_max_length": 77, "errors": "replace"}
        )
    )
    return vocabulary


def write_encoder(folder: Path, vocabulary: dict[str, int]) -> None:
    """A text encoder under the key names of published ones, which have a prefix and a table of positions more."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        bos_token_id=vocabulary[START],
        eos_token_id=vocabulary[END],
        pad_token_id=vocabulary[END],
    )
    CLIPTextModel(config).save_pretrained(folder)
    file = folder / "model.safetensors"
    published = {f"text_model.{name.removeprefix('text_model.')}": value for name, value in load_file(file).items()}
    published["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(published, file, metadata={"format": "pt"})
