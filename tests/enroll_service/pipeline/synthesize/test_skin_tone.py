"""Skin tone changes the face's skin, and not eyes, hair and background."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.intake.portrait import Portrait, admit
from enroll_service.pipeline.settings import IntakeSettings, SynthesisSettings
from enroll_service.pipeline.synthesize.elastic import ElasticSynthesizer
from enroll_service.pipeline.synthesize.mesh import MeshSynthesizer
from enroll_service.pipeline.synthesize.skin_tone import skin_of, vary_skin_tone
from facecloak.faces import FaceFinder


@pytest.fixture(scope="module")
def portrait(model_repository: Path, astronaut_photo: bytes) -> Portrait:
    finder = FaceFinder.load(model_repository)
    return admit(EnrollmentPhoto(astronaut_photo), index=0, finder=finder, settings=IntakeSettings())


def test_cheeks_are_skin_and_eyes_and_background_are_not(portrait: Portrait) -> None:
    skin = skin_of(portrait)
    assert skin.shape == (160, 160)
    assert skin.dtype == np.uint8
    assert portrait.mesh is not None
    # mediapipe's canonical mesh: a cheek, the middle of the forehead; between the lids of one eye, between the lips.
    cheek, forehead, eye, mouth = (
        int(skin[tuple(np.round(portrait.mesh[list(points), 1::-1].mean(axis=0) + 24).astype(int))])
        for points in ([50], [151], [159, 145], [13, 14])
    )
    assert min(cheek, forehead) > 150
    assert max(eye, mouth) < 0.6 * min(cheek, forehead)
    assert skin[:12].max() == skin[:, :8].max() == 0
    assert skin_of(replace(portrait, mesh=None)).max() == 0


def test_the_tone_of_the_skin_alone_changes() -> None:
    crops = torch.full((64, 3, 8, 8), 120.0)
    skin = torch.zeros(64, 1, 8, 8)
    skin[..., 4:] = 1
    varied = vary_skin_tone(crops, skin, amount=1.0, generator=torch.Generator().manual_seed(0))
    assert torch.equal(varied[..., :4], crops[..., :4])
    change = varied[:, :, 0, 6] - 120
    red, _, blue = change.std(dim=0).tolist()
    assert 5 < red < 14
    assert 5 < blue < 14
    # Paler or darker, all three together; warmer or colder, red against blue.
    assert float(change.mean(dim=1).std()) > 4
    twice = vary_skin_tone(crops, skin, amount=2.0, generator=torch.Generator().manual_seed(0))
    assert float((twice - crops).abs().mean()) > 1.6 * float((varied - crops).abs().mean())


@pytest.mark.parametrize("kind", ["mesh", "elastic"])
def test_synthesizers_vary_skin_and_compression_where_settings_say_so(portrait: Portrait, kind: str) -> None:
    def made(**fields: float) -> torch.Tensor:
        settings = SynthesisSettings.model_validate(fields)
        elastic = ElasticSynthesizer(settings)
        synthesizer = MeshSynthesizer(settings, fallback=elastic) if kind == "mesh" else elastic
        return synthesizer.synthesize([portrait], count=4, seed=2, checkpoint=lambda _: None).crops

    plain, skin, jpeg = made(), made(skin_tone=1.0), made(jpeg=1.0)
    assert plain.shape == skin.shape == jpeg.shape
    assert torch.equal(plain, made(skin_tone=0.0, jpeg=0.0))
    # The tones draw numbers of their own, so that all that follows them differs; JPEG comes last.
    assert float((skin - plain).abs().mean()) > 1
    assert 0.3 < float((jpeg - plain).abs().mean()) < 8
