"""Morphs with other faces: what a pool holds and refuses, and where a morph lies."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.intake.portrait import Portrait, portrait_from
from enroll_service.pipeline.ops.face_region import face_region
from enroll_service.pipeline.ops.similarity_scale import sameness
from enroll_service.pipeline.ops.variations import Variations, identity_grids
from enroll_service.pipeline.settings import IntakeSettings
from enroll_service.pipeline.synthesize.face_morphing import MIN_FACES, FacePool, FacePoolUnusable, Morphing
from enroll_service.pipeline.synthesize.head import in_frame
from facecloak.faces import FaceFinder
from facecloak.recognizers.onnx_runtime import OnnxRuntime

RED, BLUE = (200, 60, 60), (60, 60, 200)


def _plain(*colors: tuple[int, int, int]) -> FacePool:
    return FacePool(np.stack([np.full((112, 112, 3), color, np.uint8) for color in colors]))


@pytest.fixture(scope="module")
def portrait(model_repository: Path, astronaut_photo: bytes) -> Portrait:
    finder = FaceFinder.load(model_repository)
    return portrait_from(EnrollmentPhoto(astronaut_photo), index=0, finder=finder, settings=IntakeSettings())


def test_the_pool_that_comes_along_holds_many_different_faces(model_repository: Path, portrait: Portrait) -> None:
    pool = FacePool.load()
    assert pool.faces.shape == (128, 112, 112, 3)
    runtime = OnnxRuntime(model_repository, names=["fr_feature", "faceres"], threads=1)
    crops = np.ascontiguousarray(pool.faces[:24].transpose(0, 3, 1, 2), np.float32)
    scores = sameness(np.concatenate([crops, portrait.crop]), runtime=runtime, names=runtime.names())
    # Faces to a recognizer, and different ones: most pairs are two people's.
    apart = scores[:24, :24][~np.eye(24, dtype=bool)]
    assert np.median(apart) < 0.4
    assert scores[24, :24].max() < 0.4


def test_a_sheet_is_read_as_it_was_written(tmp_path: Path) -> None:
    pool = FacePool(FacePool.load().faces[:11])
    path = tmp_path / "faces.jpg"
    path.write_bytes(pool.to_jpeg())
    read = FacePool.load(path)
    # Five places of the second row stay empty.
    assert read.faces.shape == pool.faces.shape
    assert np.abs(read.faces.astype(int) - pool.faces).mean() < 3
    assert FacePool.load(path).identity == read.identity != pool.identity


def test_what_is_no_sheet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "faces.jpg"
    pictures = [np.zeros((112, 896, 3), np.uint8), np.full((112, 800, 3), 99, np.uint8), np.full((100, 896, 3), 99)]
    files = [b"no picture", *(cv2.imencode(".png", picture)[1].tobytes() for picture in pictures)]
    for data in files:
        path.write_bytes(data)
        with pytest.raises(FacePoolUnusable):
            FacePool.load(path)
    with pytest.raises(FacePoolUnusable):
        FacePool.load(tmp_path / "none")


def test_a_pool_is_built_of_pairs_of_different_people(portrait: Portrait) -> None:
    assert portrait.mesh is not None
    portraits = [portrait] * MIN_FACES
    strangers = np.eye(MIN_FACES)
    pool = FacePool.build(portraits, sameness=strangers, count=3, seed=1)
    # Here both halves of a blend are one portrait: the blend is that portrait in the face's own frame.
    on_face = face_region().astype(bool)
    assert np.abs(pool.faces[0] - in_frame(portrait.wide_srgb_u8, portrait.mesh))[on_face].max() <= 1
    assert (pool.faces[:, :3] == 128).all()
    assert np.array_equal(pool.faces, FacePool.build(portraits, sameness=strangers, count=3, seed=1).faces)
    for few, scores in ((portraits[1:], strangers[1:, 1:]), (portraits, np.ones_like(strangers))):
        with pytest.raises(FacePoolUnusable) as refusal:
            FacePool.build(few, sameness=scores, count=3, seed=1)
        assert refusal.value.metadata["faces"] == str(len(few))


def test_a_morph_lies_in_the_faces_frame_and_nowhere_else() -> None:
    crops = torch.full((64, 3, 112, 112), 20.0)
    grids = identity_grids(64).clone()
    grids[:, :, 70:] = 1.5
    morphed = Morphing(_plain(RED), share=0.9, most=1.0).apply(
        Variations(crops, grids), generator=torch.Generator().manual_seed(0)
    )
    assert torch.equal(morphed.crops[:, :, :, 70:], crops[:, :, :, 70:])
    # Hair and background stay.
    assert float((morphed.crops - crops)[:, :, :4].abs().max()) < 0.5
    change = (morphed.crops - crops)[:, 0, 45:95, 35:65].mean(dim=(1, 2))
    # Nine of ten are morphed, with shares from nothing to all of a face whose red is 200 in its usual light.
    assert 50 <= int((change > 0.5).sum()) < 64
    assert float(change.max()) > 120
    assert float(change.mean()) == pytest.approx(0.9 * 0.5 * 180, rel=0.25)
    assert morphed.grids is grids


def test_a_mask_without_grids_is_learned_on_morphs_too_and_a_seed_decides() -> None:
    crops = torch.full((8, 3, 112, 112), 20.0)
    morphing = Morphing(_plain(RED, BLUE), share=1.0, most=0.5)
    morphed, again, other = (
        morphing.apply(Variations(crops), generator=torch.Generator().manual_seed(seed)).crops for seed in (1, 1, 2)
    )
    assert torch.equal(morphed, again)
    assert not torch.equal(morphed, other)
    reds = (morphed[:, 0] - morphed[:, 2])[:, 45:95, 35:75].mean(dim=(1, 2))
    assert float(reds.min()) < 0 < float(reds.max())
    # At most half of the way to the other face.
    assert float(morphed.max()) <= 20 + 0.5 * (255 - 20) + 1


def test_morphs_are_still_placed_by_the_mesh(portrait: Portrait) -> None:
    assert portrait.mesh is not None
    texture = in_frame(portrait.wide_srgb_u8, portrait.mesh)
    assert texture.shape == (112, 112, 3)
    crop = portrait.crop[0].transpose(1, 2, 0)
    # The astronaut looks nearly straight ahead: her face's frame is nearly her crop.
    middle = (slice(40, 100), slice(30, 82))
    assert np.corrcoef(texture[middle].ravel(), crop[middle].ravel())[0, 1] > 0.8
