"""Stage one by a face mesh: it shows the person, as turned as was asked for, in the aligned crop's frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.intake.portrait import Portrait, portrait_from
from enroll_service.pipeline.ops.photometry import relight
from enroll_service.pipeline.ops.similarity_scale import as_crops
from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.recipe import SynthesisRecipe
from enroll_service.pipeline.settings import IntakeSettings, PipelineSettings, SynthesizerName
from enroll_service.pipeline.synthesize.elastic import ElasticSynthesizer
from enroll_service.pipeline.synthesize.factory import build_synthesizer
from enroll_service.pipeline.synthesize.head import head_of, render
from enroll_service.pipeline.synthesize.mesh import MeshSynthesizer, vary_head
from facecloak.faces import ARCFACE_TEMPLATE, FaceFinder
from facecloak.faces.frame import field_at, frame_field
from facecloak.faces.pose import angles_of, fit_pose, rotation_of
from facecloak.faces.shape import face_shape
from facecloak.recognizers import OnnxRuntime

STILL = SynthesisRecipe(yaw_degrees=0, pitch_degrees=0, roll_degrees=0, expression=0, mirrored=0)


@pytest.fixture(scope="module")
def finder(model_repository: Path) -> FaceFinder:
    return FaceFinder.load(model_repository)


@pytest.fixture(scope="module")
def portrait(finder: FaceFinder, astronaut_photo: bytes) -> Portrait:
    return portrait_from(EnrollmentPhoto(astronaut_photo), index=0, finder=finder, settings=IntakeSettings())


def _synthesize(*portraits: Portrait, count: int, seed: int, settings: SynthesisRecipe | None = None) -> Variations:
    settings = settings or SynthesisRecipe()
    synthesizer = MeshSynthesizer(settings, fallback=ElasticSynthesizer(settings))
    return synthesizer.synthesize(portraits, count=count, seed=seed, checkpoint=lambda _: None)


def test_the_photos_own_pose_gives_the_photo_back(portrait: Portrait) -> None:
    assert portrait.mesh is not None
    head = head_of(portrait.mesh, face_shape())
    (picture,), (normals,) = render(portrait.wide_srgb_u8, head, head.in_photo[None])
    assert np.abs(picture.transpose(2, 0, 1) - portrait.crop[0]).mean() < 1.5
    # The nose's tip looks at the camera, the cheeks to the sides.
    assert normals[72, 56, 2] < -0.9
    assert normals[70, 25, 0] < -0.3
    assert normals[70, 87, 0] > 0.3


@pytest.mark.parametrize("degrees", [-25.0, 25.0])
def test_a_turned_head_is_seen_turned_by_the_network_itself(
    portrait: Portrait, finder: FaceFinder, degrees: float
) -> None:
    # Hair and background, which turn less, make the network see 0.6 to 0.7 of a turn.
    assert portrait.mesh is not None
    shape = face_shape()
    head = head_of(portrait.mesh, shape)
    turned = _turned(degrees)
    vertices = vary_head(head, count=1, settings=STILL, rng=np.random.default_rng(0), rotations=turned)
    (picture,), _ = render(portrait.wide_srgb_u8, head, vertices)
    seen = finder.mesh_of(np.clip(picture.round(), 0, 255).astype(np.uint8), ARCFACE_TEMPLATE)
    assert seen is not None
    yaw, _, _ = np.degrees(angles_of(fit_pose(shape.mean.astype(np.float64), seen).rotation))
    assert 0.5 < yaw / degrees < 1.1


def _turned(degrees: float) -> np.ndarray:
    zero = np.zeros(1)
    return rotation_of(yaw=np.radians(np.array([degrees])), pitch=zero, roll=zero)


def test_variations_have_shape_range_variety_and_repeat(portrait: Portrait) -> None:
    variations, again, other = (_synthesize(portrait, count=6, seed=seed) for seed in (3, 3, 4))
    crops = variations.crops
    assert crops.shape == (6, 3, 112, 112)
    assert crops.dtype == torch.float32
    assert 0 <= float(crops.min()) < float(crops.max()) <= 255
    assert torch.equal(crops, again.crops)
    assert not torch.equal(crops, other.crops)
    for index in range(5):
        assert float((crops[index] - crops[index + 1]).abs().mean()) > 3
    assert variations.record.pictures == {"mesh-2": 6, "elastic-1": 0}
    assert variations.warnings == ()


@pytest.mark.parametrize("kind", ["mesh", "elastic"])
def test_grids_say_where_the_mesh_sees_the_face_in_each_picture(
    portrait: Portrait, finder: FaceFinder, kind: str
) -> None:
    """Independent of how a picture was made: the network looks at the picture as it will look at a photo."""
    settings = SynthesisRecipe(yaw_degrees=24)
    elastic = ElasticSynthesizer(settings, in_face_frame=True)
    mesh = MeshSynthesizer(settings, fallback=elastic, in_face_frame=True)
    synthesizer = mesh if kind == "mesh" else elastic
    variations = synthesizer.synthesize([portrait], count=8, seed=1, checkpoint=lambda _: None)
    still = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    assert variations.grids is not None
    astray, unbent = [], []
    for crop, grid in zip(variations.crops, variations.grids, strict=True):
        picture = np.ascontiguousarray(crop.permute(1, 2, 0).numpy().round().astype(np.uint8))
        seen = finder.mesh_of(picture, ARCFACE_TEMPLATE)
        if seen is None:
            continue
        seen_places = field_at(frame_field(seen), still, width=112, height=112)[30:100, 30:82]
        places = (grid.numpy() + 1)[30:100, 30:82] * 111 / 2
        where = np.stack(np.meshgrid(np.arange(30.0, 82), np.arange(30.0, 100)), axis=-1)
        astray.append(np.median(np.linalg.norm(seen_places - places, axis=-1)))
        unbent.append(np.median(np.linalg.norm(seen_places - where, axis=-1)))
    assert len(astray) >= 6
    # Two looks at one photo part by about 1 px.
    assert np.median(astray) < 2.5
    assert np.median(astray) < np.median(unbent)


def test_variations_are_still_the_person_and_not_the_photo(portrait: Portrait, model_repository: Path) -> None:
    runtime = OnnxRuntime(model_repository, names=["fr_feature"], threads=1)
    own = runtime.embed("fr_feature", portrait.crop)[0]
    similar = runtime.embed("fr_feature", as_crops(_synthesize(portrait, count=16, seed=1).crops)) @ own
    # Photos of two people have 0.02 in the mean, of one person 0.68 (TYPICAL_SIMILARITY).
    assert 0.6 < float(similar.mean()) < 0.9
    assert float(similar.min()) > 0.4


def test_a_photo_without_a_mesh_is_left_to_the_fallback(portrait: Portrait) -> None:
    meshless = replace(portrait, mesh=None)
    mixed = _synthesize(portrait, meshless, count=5, seed=0)
    assert mixed.record.pictures == {"mesh-2": 3, "elastic-1": 2}
    assert len(mixed) == 5
    assert len(mixed.warnings) == 1
    alone = _synthesize(meshless, count=2, seed=0)
    assert alone.record.pictures == {"mesh-2": 0, "elastic-1": 2}


def test_the_settings_name_the_synthesizer() -> None:
    def built(name: SynthesizerName) -> str:
        settings = PipelineSettings(synthesizer=name)
        return build_synthesizer(settings, runtime=None, finder=None).identity  # type: ignore[arg-type]

    assert built(SynthesizerName.MESH) == "mesh-2"
    assert built(SynthesizerName.ELASTIC) == "elastic-1"


def test_light_follows_the_surface_and_leaves_the_background_alone() -> None:
    crops = torch.full((4, 3, 8, 8), 100.0)
    normals = torch.zeros(4, 8, 8, 3)
    normals[:, :, :3, 0] = -1
    normals[:, :, 5:, 0] = 1
    lit = relight(crops, normals, generator=torch.Generator().manual_seed(1))
    assert torch.equal(lit[:, :, :, 3:5], crops[:, :, :, 3:5])
    left, right = lit[:, :, 0, 0] / 100, lit[:, :, 0, 7] / 100
    assert float((left - 1).abs().max()) > 0.1
    # Light that comes more from one side comes less from the other, but for the quadric part.
    assert float((left * right).mean()) == pytest.approx(1, abs=0.15)
