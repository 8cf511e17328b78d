"""Light borrowed from other people's photos: what a pool holds, how it is laid on a face, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.intake.portrait import Portrait, admit
from enroll_service.pipeline.ops.variations import still_grids
from enroll_service.pipeline.settings import IntakeSettings, StageSettings, SynthesisSettings
from enroll_service.pipeline.synthesize.elastic import ElasticSynthesizer
from enroll_service.pipeline.synthesize.factory import build_synthesizer
from enroll_service.pipeline.synthesize.light_transfer import MIN_PEOPLE, LightPool, LightPoolUnusable, relight_as
from enroll_service.pipeline.synthesize.mesh import MeshSynthesizer
from facecloak.faces import FaceFinder


@pytest.fixture(scope="module")
def portrait(model_repository: Path, astronaut_photo: bytes) -> Portrait:
    finder = FaceFinder.load(model_repository)
    return admit(EnrollmentPhoto(astronaut_photo), index=0, finder=finder, settings=IntakeSettings())


def _lit(portrait: Portrait, *, left: float, right: float) -> Portrait:
    """The same face with its image's left and right darker or lighter."""
    ramp = np.linspace(left, right, 160)[None, :, None]
    return replace(portrait, wide_srgb_u8=np.clip(portrait.wide_srgb_u8 * ramp, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def pool(portrait: Portrait) -> LightPool:
    """People whose second photo is lit from one side, the next person's from the other."""
    sides = ((0.6, 1.0), (1.0, 0.6))
    people = [[portrait, _lit(portrait, left=sides[n % 2][0], right=sides[n % 2][1])] for n in range(MIN_PEOPLE)]
    return LightPool.build([*people, [portrait], [replace(portrait, mesh=None)] * 3])


def test_a_pool_holds_differences_and_nobodys_face(pool: LightPool) -> None:
    assert pool.people == MIN_PEOPLE
    assert pool.photos.shape == (2 * MIN_PEOPLE, 3, 14, 14)
    # Of each person the photos' mean is taken out, and with it the face.
    assert np.abs(pool.photos.reshape(MIN_PEOPLE, 2, -1).mean(axis=1)).max() < 1e-6
    change = pool.photos[1] - pool.photos[0]
    # From even light to light from the right: nine cells of 14 are about the face's width.
    assert change[:, 7, 3].mean() < change[:, 7, 7].mean() - 0.05 < change[:, 7, 10].mean() - 0.1


def test_a_face_is_laid_in_the_other_photos_light(pool: LightPool, portrait: Portrait) -> None:
    crop = torch.from_numpy(portrait.crop)
    change = torch.from_numpy(pool.photos[1:2] - pool.photos[0:1])
    seen = relight_as(crop, change, still_grids(1))
    # In the middle of the face, where its frame and the crop are about one.
    wanted = torch.from_numpy(_lit(portrait, left=0.6, right=1.0).crop)
    middle = (slice(None), slice(None), slice(40, 90), slice(34, 78))
    assert float((seen - wanted)[middle].abs().mean()) < 0.25 * float((crop - wanted)[middle].abs().mean())


def test_draws_are_of_one_person_mirrored_or_not_and_repeat(pool: LightPool) -> None:
    drawn, again = (pool.draw(40, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(drawn, again)
    assert drawn.shape == (40, 3, 14, 14)
    slopes = (drawn[:, :, 7, 10] - drawn[:, :, 7, 3]).mean(dim=1)
    # From the first photo to the second or back, as they are or mirrored.
    assert float(slopes.abs().min()) > 0.1
    assert 8 < int((slopes > 0).sum()) < 32
    assert float(drawn.abs().max()) <= 1.2


def test_a_pool_is_read_as_it_was_written(pool: LightPool, tmp_path: Path) -> None:
    path = tmp_path / "pool"
    path.write_bytes(pool.to_bytes())
    read = LightPool.load(path)
    assert np.abs(read.photos - pool.photos).max() < 2e-3
    assert np.array_equal(read.person_of, pool.person_of)
    assert LightPool.load(path).identity == read.identity


def test_too_few_people_or_a_file_that_is_none_is_refused(pool: LightPool, portrait: Portrait, tmp_path: Path) -> None:
    with pytest.raises(LightPoolUnusable) as few:
        LightPool.build([[portrait, portrait]] * (MIN_PEOPLE - 1))
    assert few.value.metadata == {"min_people": "10", "people": "9"}
    path = tmp_path / "pool"
    damaged = [
        b"not a pool",
        pool.to_bytes()[:-9],
        replace(pool, photos=pool.photos[:, :, :7]).to_bytes(),
        replace(pool, photos=pool.photos * np.nan).to_bytes(),
        replace(pool, person_of=np.arange(len(pool.photos))).to_bytes(),
        replace(pool, person_of=pool.person_of[::-1].copy()).to_bytes(),
        replace(pool, person_of=pool.person_of - 1).to_bytes(),
    ]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(LightPoolUnusable):
            LightPool.load(path)
    with pytest.raises(LightPoolUnusable):
        LightPool.load(tmp_path / "none")


def test_the_mesh_synthesizer_lights_as_the_pool_does(pool: LightPool, portrait: Portrait, tmp_path: Path) -> None:
    path = tmp_path / "pool"
    path.write_bytes(pool.to_bytes())
    settings = StageSettings(synthesis=SynthesisSettings(light_pool=str(path)))
    lighting = build_synthesizer(settings, runtime=None, finder=None)  # type: ignore[arg-type]
    assert lighting.identity == f"mesh-2+{LightPool.load(path).identity}"
    elastic = ElasticSynthesizer(SynthesisSettings(), in_face_frame=True)
    plain = MeshSynthesizer(SynthesisSettings(), fallback=elastic, in_face_frame=True)
    borrowed, again, own = (
        synthesizer.synthesize([portrait], count=4, seed=5, checkpoint=lambda _: None)
        for synthesizer in (lighting, lighting, plain)
    )
    assert torch.equal(borrowed.crops, again.crops)
    assert borrowed.grids is not None
    assert own.grids is not None
    assert borrowed.grids.shape == own.grids.shape
    assert float((borrowed.crops - own.crops).abs().mean()) > 3
    # In the crop's own frame the light is the same, and no grids are handed on.
    square = MeshSynthesizer(SynthesisSettings(), fallback=elastic, light=LightPool.load(path))
    flat = square.synthesize([portrait], count=4, seed=5, checkpoint=lambda _: None)
    assert flat.grids is None
    assert torch.equal(flat.crops, borrowed.crops)
