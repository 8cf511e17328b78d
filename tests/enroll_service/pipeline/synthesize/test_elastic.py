"""Stage one: variations are varied, in range, the same for a seed, and still the person."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from enroll_service.pipeline.intake.portrait import Portrait
from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.ops.warping import WIDE_MARGIN, WIDE_SIZE, draw_bends, misalign
from enroll_service.pipeline.recipe import SynthesisRecipe
from enroll_service.pipeline.settings import PipelineSettings, SynthesizerName
from enroll_service.pipeline.synthesize.elastic import ElasticSynthesizer
from enroll_service.pipeline.synthesize.factory import build_synthesizer


def _synthesize(*wide_crops: np.ndarray, count: int, seed: int) -> Variations:
    portraits = [Portrait(wide_srgb_u8=crop, sharpness=100.0, eye_distance_px=60.0) for crop in wide_crops]
    return ElasticSynthesizer(SynthesisRecipe()).synthesize(
        portraits, count=count, seed=seed, checkpoint=lambda _: None
    )


@pytest.fixture
def wide_crop(astronaut_srgb_u8: np.ndarray) -> np.ndarray:
    # Roughly the face; these tests do not need it aligned.
    return np.ascontiguousarray(astronaut_srgb_u8[30 : 30 + WIDE_SIZE, 140 : 140 + WIDE_SIZE])


def test_variations_have_shape_range_and_variety(wide_crop: np.ndarray) -> None:
    crops = _synthesize(wide_crop, count=5, seed=1).crops
    assert crops.shape == (5, 3, 112, 112)
    assert crops.dtype == torch.float32
    assert float(crops.min()) >= 0
    assert float(crops.max()) <= 255
    for index in range(4):
        assert float((crops[index] - crops[index + 1]).abs().mean()) > 3


def test_same_seed_same_variations_other_seed_others(wide_crop: np.ndarray) -> None:
    first, again, other = (_synthesize(wide_crop, count=3, seed=seed).crops for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_photo_is_used(wide_crop: np.ndarray) -> None:
    dark = np.zeros_like(wide_crop)
    crops = _synthesize(wide_crop, dark, count=4, seed=0).crops
    means = crops.mean(dim=(1, 2, 3))
    assert float(means[0]) > 40 > float(means[1])
    assert float(means[2]) > 40 > float(means[3])


def test_without_elastic_warps_only_the_alignment_varies(wide_crop: np.ndarray) -> None:
    settings = SynthesisRecipe(elastic_px=0, rotation_radians=0, mirrored=0)
    wide = torch.from_numpy(wide_crop).permute(2, 0, 1)[None].float()
    crop = draw_bends(1, settings=settings, generator=torch.Generator().manual_seed(0)).apply(wide)
    inner = wide[:, :, WIDE_MARGIN:-WIDE_MARGIN, WIDE_MARGIN:-WIDE_MARGIN]
    # A scale of up to 5 % and a shift of up to 2 px remain: close on average, not equal.
    assert 0 < float((crop - inner).abs().mean()) < 25


def test_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="wide crops"):
        _synthesize(np.zeros((112, 112, 3), np.uint8), count=1, seed=0)


def test_misalignment_is_small_differentiable_and_can_be_switched_off() -> None:
    ramp = torch.linspace(0, 255, 112).expand(2, 3, 112, 112).clone().requires_grad_(True)
    moved = misalign(ramp, amount=1.0, generator=torch.Generator().manual_seed(3))
    assert 0.1 < float((moved - ramp).detach().abs().mean()) < 12
    (gradient,) = torch.autograd.grad(moved.sum(), ramp)
    assert float(gradient.abs().sum()) > 0
    assert misalign(ramp, amount=0, generator=torch.Generator()) is ramp


def test_settings_name_the_synthesizer() -> None:
    chosen = PipelineSettings(synthesizer=SynthesizerName.ELASTIC)
    assert isinstance(build_synthesizer(chosen, runtime=None, finder=None), ElasticSynthesizer)
    with pytest.raises(ValueError, match="elastic"):
        PipelineSettings.model_validate({"synthesizer": "nobody"})
