"""Cloaking JPEGs by splicing: the same people in the same places as by encoding again, and never twice."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from facecloak.call_context import unobserved
from facecloak.cloaking.blend import add_in_place
from facecloak.cloaking.cloaker import Cloaker, EncodingPath, Outcome, Subject
from facecloak.cloaking.face_search import FaceSearch
from facecloak.cloaking.photo_session import PhotoSession
from facecloak.cloaking.placement import place_mask
from facecloak.faces import Box, Face, FaceFinder, WorkingCopy
from facecloak.masks.mask import Mask
from facecloak.photos import DEFAULT_LIMITS, decode_photo, encode_photo
from facecloak.photos.changed_region import Rectangle
from facecloak.photos.file_tag import payload_of, without_tag
from facecloak.photos.native_splice import is_available
from facecloak.photos.splice import Look
from facecloak.stores import MaskNotFound
from facecloak.users import User
from tests.photos.test_splice import soft

pytestmark = pytest.mark.skipif(not is_available(), reason="the splice codec was not built: no Rust compiler here")


def mask(seed: int) -> Mask:
    return Mask.new(soft(np.random.default_rng(seed), 112, 112).round().astype(np.int8), seed=seed)


MASKS = {"alice": mask(1), "bob": mask(2)}


class Masks:
    def get(self, user: User) -> Mask:
        if user.user_id not in MASKS:
            raise MaskNotFound("not enrolled")
        return MASKS[user.user_id]


class CountingFinder:
    """The real finder; counts the pixels that it was shown."""

    def __init__(self, finder: FaceFinder) -> None:
        self.finder = finder
        self.pixels = 0

    def find(self, srgb_u8: np.ndarray) -> list[Face]:
        self.pixels += srgb_u8.shape[0] * srgb_u8.shape[1]
        return self.finder.find(srgb_u8)

    def find_by_looks(self, small: WorkingCopy, *, look: Callable[[Box], WorkingCopy | None]) -> list[Face] | None:
        self.pixels += small.srgb_u8.shape[0] * small.srgb_u8.shape[1]
        return self.finder.find_by_looks(small, look=self._counted(look))

    def find_main(self, small: WorkingCopy, *, look: Callable[[Box], WorkingCopy | None]) -> Face | None:
        self.pixels += small.srgb_u8.shape[0] * small.srgb_u8.shape[1]
        return self.finder.find_main(small, look=self._counted(look))

    @property
    def glance_side_px(self) -> int | None:
        return self.finder.glance_side_px

    def _counted(self, look: Callable[[Box], WorkingCopy | None]) -> Callable[[Box], WorkingCopy | None]:
        def counted(box: Box) -> WorkingCopy | None:
            seen = look(box)
            self.pixels += 0 if seen is None else seen.srgb_u8.shape[0] * seen.srgb_u8.shape[1]
            return seen

        return counted

    def landmarks_for(self, srgb_u8: np.ndarray, box: Box) -> Face | None:
        self.pixels += srgb_u8.shape[0] * srgb_u8.shape[1]
        return self.finder.landmarks_for(srgb_u8, box)

    def face_at(self, srgb_u8: np.ndarray, landmarks: np.ndarray) -> Face | None:
        self.pixels += srgb_u8.shape[0] * srgb_u8.shape[1]
        return self.finder.face_at(srgb_u8, landmarks)

    def mesh_of(self, srgb_u8: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None:
        return self.finder.mesh_of(srgb_u8, landmarks)


class ScalesOfLooks(PhotoSession):
    """A photo that remembers the scales at which it was looked at."""

    def __init__(self, data: bytes, **options: Any) -> None:
        super().__init__(data, **options)
        self.scales: list[float] = []

    def look(self, part: Rectangle, *, smallest_scale: float, keep: bool = False) -> Look | None:
        look = super().look(part, smallest_scale=smallest_scale, keep=keep)
        self.scales += [] if look is None else [look.scale]
        return look


@pytest.fixture(scope="module")
def finder(model_repository: Path) -> FaceFinder:
    return FaceFinder.load(model_repository)


@pytest.fixture(scope="module")
def pair(astronaut_srgb_u8: np.ndarray) -> np.ndarray:
    """Two faces, side by side."""
    return np.hstack([astronaut_srgb_u8, astronaut_srgb_u8[:, ::-1]])


def jpeg(pixels: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **{"quality": 90, "subsampling": "4:2:0", **options})
    return out.getvalue()


def enlarged(pixels: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("side", [512, 2000, 4000])
@pytest.mark.parametrize("hint", ["box", "landmarks", "none"])
def test_a_cheap_look_places_the_mask_where_decoding_everything_does(
    finder: FaceFinder, astronaut_srgb_u8: np.ndarray, side: int, hint: str
) -> None:
    data = jpeg(enlarged(astronaut_srgb_u8, side))
    seen = finder.find(decode_photo(data).srgb_u8)[0]
    hints = {
        "box": Subject("alice", box=seen.box),
        "landmarks": Subject("alice", landmarks=seen.landmarks),
        "none": Subject("alice"),
    }
    watched = CountingFinder(finder)
    result = Cloaker(watched, Masks()).cloak(data, [hints[hint]])
    assert result.encoding_path is EncodingPath.SPLICED
    assert result.fallback_reason == ""
    assert result.subjects[0].outcome is Outcome.CLOAKED
    face = result.subjects[0].face
    assert face is not None
    # In shares of the eye distance: a hundredth is a third of a px of the recognizers' crop.
    assert np.linalg.norm(face.landmarks - seen.landmarks, axis=1).max() < 0.03 * seen.eye_distance_px
    if (side >= 2000 and hint == "box") or side >= 4000:
        assert watched.pixels < side * side / 4


@pytest.mark.parametrize("hinted", [True, False])
def test_a_small_face_beside_a_large_one_is_looked_at_closely(
    finder: FaceFinder, astronaut_srgb_u8: np.ndarray, hinted: bool
) -> None:
    canvas = enlarged(astronaut_srgb_u8, 3000).copy()
    # A face of 90 px, 450 px from the middle of one of 540.
    canvas[560:1072, 1540:2052] = astronaut_srgb_u8
    data = jpeg(canvas)
    large, small = finder.find(decode_photo(data).srgb_u8)
    assert large.box.area > 16 * small.box.area
    photo = ScalesOfLooks(data, limits=DEFAULT_LIMITS, observer=unobserved)
    search = FaceSearch(finder, photo)
    if hinted:
        faces = [search.face_of(Subject(name, box=face.box)).face for name, face in (("alice", large), ("bob", small))]
    else:
        assert search.face_of(Subject("alice")).outcome is Outcome.CLOAKED
        faces = list(search.faces)
    assert len(faces) == 2
    for face, expected in zip(faces, (large, small), strict=True):
        assert face is not None
        assert np.linalg.norm(face.landmarks - expected.landmarks, axis=1).max() < 0.03 * expected.eye_distance_px
    # The large face at a quarter of its size, the small one as it is.
    assert min(photo.scales) < 0.5
    assert max(photo.scales) == 1


def test_a_face_of_a_sixth_of_a_panoramas_height_is_cloaked(finder: FaceFinder, astronaut_srgb_u8: np.ndarray) -> None:
    """Sought in a copy of a third of its size, as the panorama's parts are looked at; not in one of 960 px."""
    scale = 1000 / 6 / 125
    head = cv2.resize(astronaut_srgb_u8[20:260, 110:350], (0, 0), fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    canvas = np.full((1000, 16000, 3), 110, np.uint8)
    canvas[400 : 400 + len(head), 9600 : 9600 + len(head)] = head
    watched = CountingFinder(finder)
    result = Cloaker(watched, Masks()).cloak(jpeg(canvas), [Subject("alice")])
    (alice,) = result.subjects
    assert (alice.outcome, result.encoding_path) == (Outcome.CLOAKED, EncodingPath.SPLICED)
    assert alice.face is not None
    expected = (np.array([93.5, 82]) + 0.5) * scale - 0.5 + (9600, 400)
    assert np.abs(alice.face.landmarks[0] - expected).max() < 6 * scale
    assert watched.pixels < canvas.shape[0] * canvas.shape[1] / 4


def test_a_crowd_in_a_large_photo_is_sought_in_the_whole(finder: FaceFinder, astronaut_srgb_u8: np.ndarray) -> None:
    face = astronaut_srgb_u8[20:212, 126:318]
    crowd = np.tile(face, (8, 14, 1))
    watched = CountingFinder(finder)
    result = Cloaker(watched, Masks()).cloak(jpeg(crowd), [Subject("alice")])
    assert result.subjects[0].outcome is Outcome.AMBIGUOUS_FACE
    assert watched.pixels > crowd.shape[0] * crowd.shape[1]


def test_a_large_photo_that_cannot_be_looked_at_is_sought_in_the_whole(
    finder: FaceFinder, astronaut_srgb_u8: np.ndarray
) -> None:
    data = jpeg(enlarged(astronaut_srgb_u8, 3000), progressive=True)
    result = Cloaker(finder, Masks()).cloak(data, [Subject("alice")])
    assert (result.encoding_path, result.subjects[0].outcome) == (EncodingPath.REENCODED, Outcome.CLOAKED)


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"restart_marker_rows": 1}, {"subsampling": "4:4:4"}])
def test_more_of_the_mask_arrives_than_by_the_full_way_and_nothing_beside_it(
    finder: FaceFinder, astronaut_srgb_u8: np.ndarray, options: dict
) -> None:
    data = jpeg(astronaut_srgb_u8, **options)
    result = Cloaker(finder, Masks()).cloak(data, [Subject("alice")])
    photo = decode_photo(data)
    face = result.subjects[0].face
    assert face is not None
    placement = place_mask(MASKS["alice"], face)
    wanted = photo.srgb_u8.copy()
    add_in_place(wanted, placement)
    before = photo.srgb_u8.astype(float)
    left, top, right, bottom = placement.bounds(width=512, height=512)
    inside = (slice(top, bottom), slice(left, right))

    def arrived(out: bytes) -> float:
        change = decode_photo(out).srgb_u8 - before
        return float(np.corrcoef(change[inside].ravel(), (wanted - before)[inside].ravel())[0, 1])

    assert arrived(result.photo) >= arrived(encode_photo(photo, wanted)) - 0.005
    change = decode_photo(result.photo).srgb_u8 - before
    change[max(top - 18, 0) : bottom + 18, max(left - 18, 0) : right + 18] = 0
    assert np.abs(change).max() == 0


def test_a_cloaked_photo_is_not_cloaked_again(finder: FaceFinder, astronaut_photo: bytes) -> None:
    cloaker = Cloaker(finder, Masks())
    once = cloaker.cloak(astronaut_photo, [Subject("alice")])
    again = cloaker.cloak(once.photo, [Subject("alice")])
    assert again.photo is once.photo
    assert again.encoding_path is EncodingPath.UNCHANGED
    assert again.subjects[0].outcome is Outcome.ALREADY_CLOAKED
    assert again.subjects[0].mask_id == MASKS["alice"].mask_id


def test_another_user_is_cloaked_in_a_marked_photo_and_both_stay_named(finder: FaceFinder, pair: np.ndarray) -> None:
    cloaker = Cloaker(finder, Masks())
    data = jpeg(pair)
    faces = sorted(finder.find(pair), key=lambda face: face.box.x)
    alice, bob = (Subject(name, box=face.box) for name, face in zip(("alice", "bob"), faces, strict=True))
    once = cloaker.cloak(data, [alice])
    both = cloaker.cloak(once.photo, [alice, bob])
    assert [subject.outcome for subject in both.subjects] == [Outcome.ALREADY_CLOAKED, Outcome.CLOAKED]
    third = cloaker.cloak(both.photo, [bob, alice])
    assert [subject.outcome for subject in third.subjects] == [Outcome.ALREADY_CLOAKED] * 2
    together = cloaker.cloak(data, [alice, bob])
    assert np.array_equal(decode_photo(both.photo).srgb_u8, decode_photo(together.photo).srgb_u8)


def test_a_marker_from_another_photo_protects_nobody_from_being_cloaked(
    finder: FaceFinder, astronaut_photo: bytes, astronaut_srgb_u8: np.ndarray
) -> None:
    from facecloak.photos.file_tag import with_tag

    cloaker = Cloaker(finder, Masks())
    stolen = payload_of(cloaker.cloak(astronaut_photo, [Subject("alice")]).photo)
    assert stolen is not None
    forged = with_tag(jpeg(astronaut_srgb_u8[:, ::-1]), stolen)
    result = cloaker.cloak(forged, [Subject("alice")])
    assert result.subjects[0].outcome is Outcome.CLOAKED
    assert payload_of(result.photo) != stolen


def test_without_its_marker_a_cloaked_photo_looks_like_any_other(finder: FaceFinder, astronaut_photo: bytes) -> None:
    once = Cloaker(finder, Masks()).cloak(astronaut_photo, [Subject("alice")])
    untagged = Cloaker(finder, Masks(), tag=False).cloak(astronaut_photo, [Subject("alice")])
    assert without_tag(once.photo) == untagged.photo
    again = Cloaker(finder, Masks()).cloak(untagged.photo, [Subject("alice")])
    assert again.subjects[0].outcome is Outcome.CLOAKED


@pytest.mark.parametrize(
    ("make", "reason"),
    [(lambda pixels: jpeg(pixels, progressive=True), "UNSUPPORTED"),
     (lambda pixels: png(pixels), "NOT_A_JPEG")],
    ids=["progressive", "png"],
)  # fmt: skip
def test_the_full_way_says_why_and_marks_too(
    finder: FaceFinder, astronaut_srgb_u8: np.ndarray, make: Callable[[np.ndarray], bytes], reason: str
) -> None:
    cloaker = Cloaker(finder, Masks())
    result = cloaker.cloak(make(astronaut_srgb_u8), [Subject("alice")])
    assert (result.encoding_path, result.fallback_reason) == (EncodingPath.REENCODED, reason)
    assert cloaker.cloak(result.photo, [Subject("alice")]).subjects[0].outcome is Outcome.ALREADY_CLOAKED


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
