"""What a photo does not show: filled with what lies about it, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.intake.portrait import Portrait, portrait_from, portrait_of
from enroll_service.pipeline.ops import inpainting
from enroll_service.pipeline.ops.inpainting import fill_beyond_photo, filled_texture
from enroll_service.pipeline.ops.warping import WIDE_MARGIN, WIDE_SIZE
from enroll_service.pipeline.settings import IntakeSettings
from enroll_service.pipeline.synthesize import head as head_module
from enroll_service.pipeline.synthesize.head import Head, head_of, render
from facecloak.faces import FaceFinder
from facecloak.faces.pose import rotation_of
from facecloak.faces.raster import Raster, rasterize
from facecloak.faces.shape import MESH_POINTS, OUTLINE, face_shape, with_border

SKIN, WALL = (200, 150, 120), (20, 60, 220)


@pytest.fixture(scope="module")
def finder(model_repository: Path) -> FaceFinder:
    return FaceFinder.load(model_repository)


@pytest.fixture(scope="module")
def portrait(finder: FaceFinder, astronaut_photo: bytes) -> Portrait:
    return portrait_from(EnrollmentPhoto(astronaut_photo), index=0, finder=finder, settings=IntakeSettings())


@pytest.fixture(scope="module")
def head(portrait: Portrait) -> Head:
    assert portrait.mesh is not None
    return head_of(portrait.mesh, face_shape())


def _turned(head: Head, *, yaw: float = 0, pitch: float = 0) -> np.ndarray:
    """(1, 528, 3) the head turned, where the photo has it."""
    (rotation,) = rotation_of(yaw=np.radians([yaw]), pitch=np.radians([pitch]), roll=np.zeros(1))
    middle = head.neutral.mean(axis=0)
    turned = (head.neutral - middle) @ rotation.T * head.pose.scale + head.pose.apply(middle[None])
    return with_border(turned)[None]


def _unseen_share(head: Head, vertices: np.ndarray) -> np.ndarray:
    """(N, 112, 112): how little the photo shows of the surface at each pixel, on either side."""
    triangles = face_shape().triangles
    seen, mirror = head.well_seen, head.well_seen.copy()
    mirror[: len(head.neutral)] = seen[face_shape().head_mirror]
    raster = rasterize(vertices, triangles, width=112, height=112)
    return raster.interpolate(((1 - seen) * (1 - mirror))[:, None])[..., 0]


@pytest.mark.parametrize("yaw", [-35.0, 35.0])
def test_a_hidden_flank_gets_the_color_about_it(head: Head, monkeypatch: pytest.MonkeyPatch, yaw: float) -> None:
    """All is skin but the line in the photo that the flanks are there."""
    wide = np.full((WIDE_SIZE, WIDE_SIZE, 3), SKIN, np.uint8)
    at = head.in_photo[None].copy()
    at[..., :2] += WIDE_MARGIN
    raster = rasterize(at, face_shape().triangles, width=WIDE_SIZE, height=WIDE_SIZE)
    line = raster.interpolate((1 - head.well_seen)[:, None])[0, ..., 0] > 0.9
    assert 30 < line.sum() < 500
    wide[line] = WALL
    vertices = _turned(head, yaw=yaw)
    (filled,), _ = render(wide, head, vertices)
    monkeypatch.setattr(head_module, "filled_texture", lambda *_, **__: None)
    (smeared,), _ = render(wide, head, vertices)
    flank = _unseen_share(head, vertices)[0] > 0.7
    flank[:, 36:76] = False
    assert flank.sum() > 100
    assert np.abs(smeared[flank] - SKIN).mean() > 50
    # What is left of the line is in what the photo half shows.
    assert np.abs(filled[flank] - SKIN).mean() < 20


def test_seen_surfaces_stay_bit_for_bit(portrait: Portrait, head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    poses = [_turned(head, yaw=yaw, pitch=pitch) for yaw, pitch in ((35, 0), (-35, 10), (0, 20), (0, -20))]
    vertices = np.concatenate(poses)
    filled, normals = render(portrait.wide_srgb_u8, head, vertices)
    monkeypatch.setattr(head_module, "filled_texture", lambda *_, **__: None)
    before, normals_before = render(portrait.wide_srgb_u8, head, vertices)
    seen = _unseen_share(head, vertices) <= 0
    assert 0.85 < seen.mean() < 1
    assert np.array_equal(filled[seen], before[seen])
    assert np.array_equal(normals, normals_before)
    for one, other, shown in zip(filled, before, seen, strict=True):
        assert not np.array_equal(one[~shown], other[~shown])
    # Nostrils and lips keep their own texture, seen or not.
    assert np.array_equal(filled[2, 75:95, 46:66], before[2, 75:95, 46:66])


@pytest.mark.parametrize("yaw", [-35.0, 35.0])
def test_a_turned_heads_far_temple_is_the_near_one_and_the_wall_beside_it_stays_wall(head: Head, yaw: float) -> None:
    turned = head_of(_turned(head, yaw=yaw)[0, :MESH_POINTS], face_shape())
    points = np.round(turned.in_photo[: len(head.neutral), :2] + WIDE_MARGIN).astype(np.int32)
    # The photo shows wall behind the far outline, and the mesh reaches a little into it.
    nose_to_right = points[1, 0] > points[OUTLINE, 0].mean()
    wide = np.full((WIDE_SIZE, WIDE_SIZE, 3), WALL, np.uint8)
    cv2.fillPoly(wide, [cv2.convexHull(points)], SKIN)
    if nose_to_right:
        wide[:, points[OUTLINE, 0].max() - 6 :] = WALL
    else:
        wide[:, : points[OUTLINE, 0].min() + 6] = WALL
    straight = _turned(head)
    (picture,), _ = render(wide, turned, straight)
    (corners,) = rasterize(straight, face_shape().triangles, width=112, height=112).corners
    temple = (corners >= MESH_POINTS).any(axis=-1) & (corners < len(head.neutral)).all(axis=-1)
    temple[:, slice(None, 56) if nose_to_right else slice(56, None)] = False
    temple[:40] = temple[90:] = False
    assert temple.sum() > 200
    assert np.abs(picture[temple] - SKIN).mean() < np.abs(picture[temple] - WALL).mean() / 3
    # In the photo's own pose the wall beside the head is the photo's, not a second face.
    (own,), _ = render(wide, turned, turned.in_photo[None])
    (corners,) = rasterize(turned.in_photo[None], face_shape().triangles, width=112, height=112).corners
    beside = (corners >= len(head.neutral)).any(axis=-1)
    shown = wide[WIDE_MARGIN:-WIDE_MARGIN, WIDE_MARGIN:-WIDE_MARGIN].astype(np.float32)
    assert beside.sum() > 500
    assert np.abs(own[beside] - shown[beside]).mean() < 4


def test_a_head_is_filled_once_a_photo(portrait: Portrait, head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    paint = cv2.inpaint

    def counted(picture: np.ndarray, hole: np.ndarray, reach: float, method: int) -> np.ndarray:
        calls.append(int(hole.sum()))
        return paint(picture, hole, reach, method)

    monkeypatch.setattr(inpainting.cv2, "inpaint", counted)
    four_channels = np.dstack([portrait.wide_srgb_u8, portrait.wide_srgb_u8[..., :1]])
    crops, _ = render(four_channels, head, np.concatenate([_turned(head, yaw=yaw) for yaw in range(-30, 31, 6)]))
    assert crops.shape == (11, 112, 112, 4)
    # Color and the fourth channel, a small part of the 160 x 160 px each.
    assert len(calls) == 2
    assert 100 < max(calls) < 4000


def test_a_head_seen_all_about_needs_no_filling(head: Head) -> None:
    def never(_: Raster) -> np.ndarray:
        raise AssertionError

    assert filled_texture(never, neutral=head.neutral, unseen=np.zeros(528)) is None


def test_beyond_the_photo_comes_what_lies_at_its_edge() -> None:
    # 60 of 160 px lie left of the photo, whose rows each have one color.
    photo = np.repeat(np.linspace(0, 255, 160).astype(np.uint8)[:, None, None], 200, axis=1).repeat(3, axis=2)
    to_crop = np.array([[1.0, 0, 60], [0, 1, 0]])
    crop = cv2.warpAffine(photo, to_crop, (160, 160), borderMode=cv2.BORDER_CONSTANT, borderValue=(0, 255, 0))
    filled = fill_beyond_photo(crop, to_crop, width=200, height=160)
    assert np.array_equal(filled[:, 60:], crop[:, 60:])
    assert np.abs(filled[:, :60].astype(float) - photo[:, :60]).mean() < 12
    assert fill_beyond_photo(crop, np.array([[1.0, 0, -10], [0, 1, 0]]), width=200, height=160) is crop


def test_a_face_at_the_photos_edge_is_not_shown_twice(
    finder: FaceFinder, astronaut_srgb_u8: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_edge = np.ascontiguousarray(astronaut_srgb_u8[:180, 190:300])

    def faces(admitted: Portrait) -> int:
        doubled = cv2.resize(admitted.wide_srgb_u8, None, fx=2, fy=2)
        return len(finder.find(doubled))

    def admitted() -> Portrait:
        return portrait_of(at_edge, index=0, finder=finder, settings=IntakeSettings(min_share_inside=0.5))

    assert faces(admitted()) == 1
    same: Callable[..., np.ndarray] = lambda crop, *_, **__: crop  # noqa: E731
    monkeypatch.setattr("enroll_service.pipeline.intake.portrait.fill_beyond_photo", same)
    assert faces(admitted()) > 1
