"""Drawing with the tiny pipeline: pictures follow embedding and seed, the embedding reaches the prompt as published,
and one can stop at any step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from enroll_service.pipeline.ops.similarity_scale import unit
from enroll_service.pipeline.recipe import Arc2FaceRecipe
from enroll_service.pipeline.settings import Arc2FaceSettings
from enroll_service.pipeline.synthesize.arc2face.painter import Painter
from enroll_service.pipeline.synthesize.arc2face.prompt import SENTENCE, identity_prompt

Settings = Callable[..., Arc2FaceSettings]
QUICK = Arc2FaceRecipe(steps=2)


def _identity(seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=512).astype(np.float32))


@pytest.fixture(scope="module")
def painter(whole_weights: object) -> Painter:
    return Painter(
        Arc2FaceSettings(weights=str(whole_weights), recognizer="fr_feature", device="cpu", batch=2), recipe=QUICK
    )


def _draw(painter: Painter, *seeds: int, identity: int = 0) -> list[np.ndarray]:
    drawn = painter.draw(_identity(identity), seeds=seeds, checkpoint=lambda _: None)
    assert all(picture is not None for picture in drawn)
    return [picture for picture in drawn if picture is not None]


def test_one_picture_a_seed_whatever_the_batch(painter: Painter) -> None:
    together = _draw(painter, 1, 2, 3)
    assert [picture.shape for picture in together] == [(16, 16, 3)] * 3
    assert together[0].dtype == np.uint8
    for picture, seed in zip(together, (1, 2, 3), strict=True):
        (alone,) = _draw(painter, seed)
        # In another batch the same sums may run in another order.
        assert int(np.abs(picture.astype(int) - alone).max()) <= 1
    assert not np.array_equal(together[0], together[1])


def test_another_person_is_another_picture(painter: Painter) -> None:
    (one,), (other,) = _draw(painter, 7), _draw(painter, 7, identity=1)
    assert not np.array_equal(one, other)


def test_the_prompt_is_the_encoder_s_own_with_the_identity_in_one_place(painter: Painter) -> None:
    """Against the definition, written out: embed the tokens, put the padded identity in, run encoder and last norm."""
    pipeline = painter._pipeline
    encoder = pipeline.text_encoder
    identity = _identity(3)
    tokens = pipeline.tokenizer(SENTENCE, padding="max_length", max_length=77, return_tensors="pt").input_ids
    text = getattr(encoder, "text_model", encoder)
    with torch.no_grad():
        embedded = text.embeddings.token_embedding(tokens)
        # Start, "photo", "of", "a", then the placeholder.
        embedded[0, 4] = torch.cat([torch.from_numpy(identity), torch.zeros(embedded.shape[-1] - 512)])
        hidden = embedded + text.embeddings.position_embedding.weight[None, :77]
        mask = torch.full((77, 77), float("-inf")).triu(1)[None, None]
        for layer in text.encoder.layers:
            hidden = layer(hidden, attention_mask=mask)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        expected = text.final_layer_norm(hidden)
    given = identity_prompt(pipeline, identity)
    assert given.shape == (1, 77, 576)
    assert torch.allclose(given, expected, atol=1e-5)


def test_the_encoder_is_left_as_it_was(painter: Painter) -> None:
    tokens = painter._pipeline.tokenizer(SENTENCE, return_tensors="pt").input_ids
    with torch.no_grad():
        before = painter._pipeline.text_encoder(tokens)[0]
        identity_prompt(painter._pipeline, _identity(1))
        after = painter._pipeline.text_encoder(tokens)[0]
    assert torch.equal(before, after)


def test_progress_rises_and_stopping_is_at_the_next_step(painter: Painter) -> None:
    seen: list[float] = []
    painter.draw(_identity(0), seeds=(1, 2, 3), checkpoint=seen.append)
    assert seen == sorted(seen)
    assert (seen[0], seen[-1], len(seen)) == (0.0, 1.0, 6)

    class Stop(Exception):
        pass

    def stop(done: float) -> None:
        stopped.append(done)
        if len(stopped) == 2:
            raise Stop

    stopped: list[float] = []
    with pytest.raises(Stop):
        painter.draw(_identity(0), seeds=(1, 2, 3), checkpoint=stop)
    assert len(stopped) == 2
    # And the pipeline is free for the next.
    assert len(_draw(painter, 5)) == 1


def test_waiting_for_the_pipeline_can_be_given_up(painter: Painter) -> None:
    class GivenUp(Exception):
        pass

    def give_up(_done: float) -> None:
        raise GivenUp

    with painter._drawing, pytest.raises(GivenUp):
        painter.draw(_identity(0), seeds=(1,), checkpoint=give_up)


def test_what_is_withheld_or_overflowed_is_no_picture(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoiled(*, prompt_embeds: torch.Tensor, **_: object) -> object:
        images = np.full((len(prompt_embeds), 4, 4, 3), 0.5)
        images[1, 0, 0, 0] = np.nan
        return type("Drawn", (), {"images": images, "nsfw_content_detected": [True, False]})()

    spoiled.tokenizer, spoiled.text_encoder = painter._pipeline.tokenizer, painter._pipeline.text_encoder  # type: ignore[attr-defined]
    monkeypatch.setattr(painter, "_pipeline", spoiled)
    assert painter.draw(_identity(0), seeds=(1, 2), checkpoint=lambda _: None) == [None, None]


def test_the_safety_checker_withholds_what_it_flags(weights: Path, tiny: Settings) -> None:
    """With concepts set to be everywhere it withholds all, and nowhere, nothing."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    base = weights / "stable-diffusion-v1-5"
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = small | {"image_size": 32, "patch_size": 16}
    checker = StableDiffusionSafetyChecker(CLIPConfig(text_config=small, vision_config=vision, projection_dim=16))
    CLIPImageProcessor(size=32, crop_size=32).save_pretrained(base / "feature_extractor")
    for threshold, kept in ((-2.0, 0), (2.0, 2)):
        for name in ("concept_embeds_weights", "special_care_embeds_weights"):
            getattr(checker, name).data.fill_(threshold)
        checker.save_pretrained(base / "safety_checker")
        drawn = Painter(tiny(weights=str(weights), safety_checker=True), recipe=QUICK).draw(
            _identity(0), seeds=(1, 2), checkpoint=lambda _: None
        )
        assert sum(picture is not None for picture in drawn) == kept


@pytest.mark.parametrize("option", ["attention_slicing", "vae_slicing"])
def test_memory_options_change_no_picture(tiny: Settings, painter: Painter, option: str) -> None:
    (sliced,), (whole,) = _draw(Painter(tiny(**{option: True}), recipe=QUICK), 9), _draw(painter, 9)
    assert int(np.abs(sliced.astype(int) - whole).max()) <= 1
