"""CLOAKED means that the photo was changed: a mask that its coding would take is not said to be there."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks.service import some_mask
from facecloak.cloaking.cloaker import Cloaker, CloakResult, MasksInMemory, Outcome, PhotoNotCloaked, Subject
from facecloak.cloaking.photo_session import FAINTEST_KEPT, EncodingPath
from facecloak.faces import FaceFinder, aligned_crop
from facecloak.masks.mask import Mask, MaskGeometry
from facecloak.photos import decode_photo
from facecloak.photos.file_tag import payload_of
from facecloak.photos.kept_change import kept_along, kept_in_blocks

SQUARE, MOVING = some_mask(MaskGeometry.SQUARE), some_mask(moves=True)
NOTHING = np.zeros((112, 112, 3), np.int8)
EMPTY = {
    "no levels": Mask.new(NOTHING, seed=0),
    "no levels and no displacement": Mask.new(NOTHING, seed=0, displacement=np.zeros_like(MOVING.displacement)),
    "a level here and there": Mask.new((np.indices((112, 112, 3)).sum(axis=0) % 40 == 0).astype(np.int8), seed=0),
}
FORMATS: dict[str, tuple[str, dict[str, object]]] = {
    "baseline JPEG": ("JPEG", {"quality": 92}),
    "progressive JPEG": ("JPEG", {"quality": 92, "progressive": True}),
    "PNG": ("PNG", {}),
    "WebP": ("WEBP", {"quality": 80}),
    "lossless WebP": ("WEBP", {"lossless": True}),
}


@pytest.fixture(scope="module")
def finder(model_repository: object) -> FaceFinder:
    return FaceFinder.load(model_repository)  # type: ignore[arg-type]


def encoded(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def cloaked(finder: FaceFinder, photo: bytes, mask: Mask, **options: float) -> CloakResult:
    return Cloaker(finder, MasksInMemory({"alice": mask}), **options).cloak(photo, [Subject("alice")])


def change_of(photo: bytes, result: CloakResult) -> float:
    """Mean absolute difference of the face's aligned crop, levels."""
    face = result.subjects[0].face
    assert face is not None
    one, other = (
        aligned_crop(decode_photo(data).srgb_u8, face.landmarks).astype(float) for data in (photo, result.photo)
    )
    return float(np.abs(one - other).mean())


def assert_lost(photo: bytes, result: CloakResult) -> None:
    (subject,) = result.subjects
    assert (subject.outcome, result.encoding_path) == (Outcome.MASK_LOST, EncodingPath.UNCHANGED)
    assert (subject.mask_id, subject.strength, subject.placement_method) == (None, None, None)
    assert subject.face is not None
    assert subject.advice
    assert (result.photo, result.dropped) == (photo, ())
    with pytest.raises(PhotoNotCloaked, match="MASK_LOST"):
        result.require_cloaked()


@pytest.mark.parametrize("name", FORMATS)
def test_masks_that_do_nothing(name: str, finder: FaceFinder, astronaut_srgb_u8: np.ndarray) -> None:
    kind, options = FORMATS[name]
    photo = encoded(astronaut_srgb_u8, kind, **options)
    for mask in EMPTY.values():
        assert_lost(photo, cloaked(finder, photo, mask))
    for strength in (0.0, 0.01):
        assert_lost(photo, cloaked(finder, photo, MOVING, strength=strength))
    for mask in (SQUARE, MOVING):
        result = cloaked(finder, photo, mask)
        assert result.subjects[0].outcome is Outcome.CLOAKED
        assert change_of(photo, result) > 2


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("quality", [1, 3, 5, 10, 20, 40])
def test_strongly_compressed_photos(
    quality: int, progressive: bool, finder: FaceFinder, astronaut_srgb_u8: np.ndarray
) -> None:
    photo = encoded(astronaut_srgb_u8, "JPEG", quality=quality, progressive=progressive)
    for mask in (SQUARE, MOVING):
        result = cloaked(finder, photo, mask)
        if result.subjects[0].outcome is Outcome.CLOAKED:
            assert change_of(photo, result) > 0.25
        else:
            assert_lost(photo, result)
        assert quality > 5 or mask is MOVING or result.subjects[0].outcome is Outcome.MASK_LOST
        assert quality < 20 or result.subjects[0].outcome is Outcome.CLOAKED


@pytest.mark.parametrize("name", FORMATS)
def test_one_lost_mask_leaves_the_others(name: str, finder: FaceFinder, astronaut_srgb_u8: np.ndarray) -> None:
    kind, options = FORMATS[name]
    half = astronaut_srgb_u8[:, :400]
    photo = encoded(np.ascontiguousarray(np.hstack([half, half[:, ::-1]])), kind, **options)
    one, other = finder.find(decode_photo(photo).srgb_u8)
    cloaker = Cloaker(finder, MasksInMemory({"alice": MOVING, "bob": EMPTY["no levels"]}))
    subjects = [Subject("bob", box=other.box), Subject("alice", box=one.box)]
    result = cloaker.cloak(photo, subjects)
    assert [subject.outcome for subject in result.subjects] == [Outcome.MASK_LOST, Outcome.CLOAKED]
    # As if the other had not been asked for, but for the tag.
    alone = cloaker.cloak(photo, subjects[1:])
    assert np.array_equal(decode_photo(alone.photo).srgb_u8, decode_photo(result.photo).srgb_u8)
    assert payload_of(result.photo) == payload_of(alone.photo)
    again = cloaker.cloak(result.photo, subjects)
    assert [subject.outcome for subject in again.subjects] == [Outcome.MASK_LOST, Outcome.ALREADY_CLOAKED]
    assert again.photo == result.photo


def test_what_quantization_keeps() -> None:
    rng = np.random.default_rng(1)
    levels = cv2.GaussianBlur(rng.normal(0, 10, (80, 64)).astype(np.float32), (0, 0), 2)
    fine, coarse = np.ones((8, 8), np.float32), np.full((8, 8), 400, np.float32)
    assert kept_in_blocks(levels, fine) == pytest.approx(np.sqrt((levels**2).mean()), rel=0.02)
    assert kept_in_blocks(levels, coarse) == 0
    flat = np.full((24, 40), 3, np.float32)  # a DC coefficient of 24
    assert kept_in_blocks(flat, np.full((8, 8), 24, np.float32)) == pytest.approx(3, rel=1e-4)
    assert kept_in_blocks(flat, np.full((8, 8), 50, np.float32)) == 0
    assert kept_in_blocks(np.zeros((0, 8), np.float32), fine) == 0


def test_noise_is_no_change() -> None:
    rng = np.random.default_rng(1)
    wanted, noise = rng.normal(0, 4, (200, 200, 3)), rng.normal(0, 8, (200, 200, 3))
    assert kept_along(wanted, wanted) == pytest.approx(4, rel=0.02)
    assert kept_along(wanted, wanted + noise) == pytest.approx(4, rel=0.05)
    assert kept_along(wanted, noise) < FAINTEST_KEPT / 5
    assert kept_along(wanted, -wanted) == 0
    assert kept_along(np.zeros(8), np.ones(8)) == 0
