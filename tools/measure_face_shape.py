"""Measures `face_shape.safetensors`: the mean face mesh, how it is triangulated, and how one person's face deforms.

    python -m tools.measure_face_shape --others OTHERS --people PEOPLE --repository model_repository

OTHERS holds photos of many people; PEOPLE holds a folder a person with several photos each. What comes out is means and
principal components over hundreds of photos. Needs scipy (comes with the extra `enroll`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
import safetensors.numpy

from facecloak.faces.align import ARCFACE_TEMPLATE, aligning_transform, similarity_transform, transform_points
from facecloak.faces.facemesh import FaceMesh, five_of_mesh
from facecloak.faces.finder import FaceFinder
from facecloak.faces.pose import fit_pose
from facecloak.faces.shape import BORDER, OUTLINE, RING_REACH, SHAPE_FILE
from facecloak.photos import decode_photo

_COMPONENTS = 12
_ROUNDS = 30
_SPARSE_PX = 5.0
_MIN_PRESENCE = 0.9
_folder = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option("--others", required=True, type=_folder, help="Photos of many people, one each.")
@click.option("--people", required=True, type=_folder, help="Folders of photos, one a person.")
@click.option("--first", default=20, show_default=True, help="Only this many people, in name order.")
@click.option("--repository", default=Path("model_repository"), show_default=True, type=_folder)
def main(*, others: Path, people: Path, first: int, repository: Path) -> None:
    """Write the shape file from photos."""
    finder, mesh = FaceFinder.load(repository), FaceMesh(repository)
    strangers = np.array(list(_meshes(sorted(others.iterdir()), finder, mesh)))
    folders = sorted(path for path in people.iterdir() if path.is_dir())[:first]
    groups = [np.array(list(_meshes(sorted(folder.iterdir()), finder, mesh))) for folder in folders]
    mirror = _mirror_of(strangers.mean(axis=0))
    mean = _placed(_frontal(strangers, mirror))
    components = _deformations(groups, mean, mirror)
    tensors: dict[str, np.ndarray] = {
        "mean": mean.astype(np.float32),
        "mirror": mirror.astype(np.int16),
        "triangles": _triangles(mean, np.arange(len(mean))).astype(np.int16),
        "coarse_triangles": _triangles(mean, _sparse(mean, mirror)).astype(np.int16),
        "deformations": components.astype(np.float16),
    }
    SHAPE_FILE.write_bytes(safetensors.numpy.save(tensors))
    spread = float(np.sqrt((components**2).sum(axis=0).mean()))
    click.echo(f"{len(strangers)} strangers, {sum(map(len, groups))} photos of {len(groups)} people, {spread:.2f} px")


def _meshes(paths: Sequence[Path], finder: FaceFinder, mesh: FaceMesh) -> Iterator[np.ndarray]:
    """(468, 3) px of the aligned crop, of the face nearest to the middle of each photo."""
    for path in paths:
        srgb_u8 = decode_photo(path.read_bytes()).srgb_u8
        center = np.array(srgb_u8.shape[1::-1]) / 2
        faces = finder.find(srgb_u8)
        if not faces:
            continue
        face = min(faces, key=lambda face: float(np.linalg.norm(face.landmarks.mean(axis=0) - center)))
        points, presence = mesh.points(srgb_u8, face.landmarks)
        if presence >= _MIN_PRESENCE:
            to_crop = aligning_transform(face.landmarks)
            depth = points[:, 2:] * np.hypot(to_crop[0, 0], to_crop[1, 0])
            yield np.hstack([transform_points(to_crop, points[:, :2]), depth])


def _mirror_of(mean: np.ndarray) -> np.ndarray:
    """For each vertex the one on the face's other side: the best pairing of the mean with its own mirror image."""
    from scipy.optimize import linear_sum_assignment

    centered = mean - mean.mean(axis=0)
    flipped = centered * (-1, 1, 1)
    moved, mirror = flipped, np.arange(len(mean))
    for _ in range(_ROUNDS):
        distances = np.square(moved[:, None] - centered[None]).sum(axis=2)
        _, mirror = linear_sum_assignment(distances)
        moved = fit_pose(flipped, centered[mirror]).apply(flipped)
    if not np.array_equal(mirror[mirror], np.arange(len(mean))):
        raise click.ClickException("the vertices do not pair up: more photos, or more frontal ones, are needed")
    return mirror


def _frontal(meshes: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """The symmetric mean shape, turned as the mean photo is (generalized Procrustes analysis)."""
    both = np.concatenate([meshes, (meshes * (-1, 1, 1))[:, mirror]])
    mean = both.mean(axis=0)
    for _ in range(_ROUNDS):
        mean = np.mean([fit_pose(mesh, mean).apply(mesh) for mesh in both], axis=0)
    # Photos and their mirror images together look straight ahead but for pitch.
    mean -= mean.mean(axis=0)
    rotation = np.mean([fit_pose(mean, mesh).rotation for mesh in both], axis=0)
    left, _, right = np.linalg.svd(rotation)
    mean = mean @ (left @ right).T
    return (mean + (mean * (-1, 1, 1))[mirror]) / 2


def _placed(mean: np.ndarray) -> np.ndarray:
    """The mean shape in the aligned crop: its five points, less their bias, brought to ArcFace's template."""
    to_crop = similarity_transform(five_of_mesh(mean[:, :2]) - FaceMesh.bias, ARCFACE_TEMPLATE.astype(np.float64))
    scale = float(np.hypot(to_crop[0, 0], to_crop[1, 0]))
    return np.hstack([transform_points(to_crop, mean[:, :2]), mean[:, 2:] * scale])


def _deformations(groups: Sequence[np.ndarray], mean: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """(K, 468, 3) px: principal components of how a person's photos differ when pose is taken out, each as large as
    its standard deviation."""
    differences = []
    for group in groups:
        posed = np.array([fit_pose(mesh, mean).apply(mesh) for mesh in group])
        centered = (posed - posed.mean(axis=0)) * np.sqrt(len(group) / (len(group) - 1))
        differences += [centered, (centered * (-1, 1, 1))[:, mirror]]
    rows = np.concatenate(differences).reshape(-1, mean.size)
    _, scales, components = np.linalg.svd(rows, full_matrices=False)
    return (components * (scales / np.sqrt(len(rows)))[:, None])[:_COMPONENTS].reshape(-1, *mean.shape)


def _sparse(mean: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Vertices at least _SPARSE_PX apart, the outline's first, then mirrored pairs in the network's order."""
    kept = list(OUTLINE)
    for index in range(len(mean)):
        pair = [index, int(mirror[index])]
        if np.linalg.norm(mean[pair][:, None] - mean[kept][None], axis=2).min() >= _SPARSE_PX and (
            pair[0] == pair[1] or np.linalg.norm(mean[pair[0]] - mean[pair[1]]) >= _SPARSE_PX
        ):
            kept += dict.fromkeys(pair)
    return np.sort(kept)


def _triangles(mean: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(T, 3) of the ``chosen`` vertices of the face, the ring about it and the border: Delaunay's, on the face unrolled
    from a cylinder."""
    from scipy.spatial import Delaunay

    center = mean[OUTLINE].mean(axis=0)
    x, y, z = (mean - center).T
    axis = z.max() + 10.0
    radius = axis - z
    flat = np.stack([np.arctan2(x, radius) * radius.mean(), y], axis=1)
    ring = flat[OUTLINE] * RING_REACH
    points = np.concatenate([flat, ring, (BORDER - center[:2]) * 2])
    used = np.concatenate([chosen, np.arange(len(flat), len(points))])
    corners = used[Delaunay(points[used]).simplices]
    one, two, three = (points[corners[:, index]] for index in range(3))
    area = (two[:, 0] - one[:, 0]) * (three[:, 1] - one[:, 1]) - (two[:, 1] - one[:, 1]) * (three[:, 0] - one[:, 0])
    corners[area < 0] = corners[area < 0][:, ::-1]
    return corners


if __name__ == "__main__":
    main()
