"""What was looked at once need not be looked at again: a finder and a runtime that remember, on disk, sealed.

Most of a measurement's time after enrollment goes into finding and embedding the same clean photos, and the same
cloaked ones after the same platforms. Both are functions of pixels and models, so they are kept by digests of both.
A kept embedding is biometric: every entry is sealed with the work folder's key, as the masks beside it are.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facecloak.atomic_files import write_atomically
from facecloak.stores.errors import SealBroken, WrongKey

if TYPE_CHECKING:
    from facecloak.faces import Face
    from facecloak.models.spec import RecognizerSpec
    from facecloak.stores import Sealer
    from facecloak_evaluation.face_extraction import Embedder, EvaluationFinder


class SealedCache:
    """Small sealed notes in a folder, one file each. Thread safe; losing one costs time only, so nothing is synced.

    Args:
        folder: made where there is none, mode 0700.
        sealer: of the work folder's key. Notes of another key are passed over.
    """

    def __init__(self, folder: Path, sealer: Sealer) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._sealer = sealer

    def get(self, name: str) -> bytes | None:
        """The note, or None where there is none that can be read; `name` is hex digits."""
        try:
            return self._sealer.open(self._path(name).read_bytes(), name=name)
        except (FileNotFoundError, SealBroken, WrongKey):
            return None

    def put(self, name: str, note: bytes) -> None:
        """Keep the note; a reader sees all of it or nothing."""
        path = self._path(name)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomically(path, self._sealer.seal(note, name=name), durable=False)

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name


class CachedFinder:
    """A finder that looks at the same pixels once."""

    def __init__(self, finder: EvaluationFinder, notes: SealedCache) -> None:
        self._finder = finder
        self._notes = notes
        self.identity = finder.identity

    def find(self, srgb_u8: np.ndarray) -> list[Face]:
        """As the finder's own."""
        name = _digest("faces", self.identity, str(srgb_u8.shape), srgb_u8)
        note = self._notes.get(name)
        if note is not None:
            return _faces_from(note)
        faces = self._finder.find(srgb_u8)
        self._notes.put(name, _faces_to(faces))
        return faces


class CachedRuntime:
    """Recognizers that embed the same crop once. Only embeds: an evaluation takes no gradients."""

    def __init__(self, runtime: Embedder, notes: SealedCache) -> None:
        self._runtime = runtime
        self._notes = notes

    def spec(self, name: str) -> RecognizerSpec:
        """As the runtime's own."""
        return self._runtime.spec(name)

    def embed(self, name: str, crops: np.ndarray) -> np.ndarray:
        """As the runtime's own, to the last bits: these depend on how many crops run together."""
        spec = self._runtime.spec(name)
        keys = [_digest("embedding", spec.model_sha256, str(crop.dtype), crop) for crop in crops]
        notes = [self._notes.get(key) for key in keys]
        rows = np.zeros((len(crops), spec.embedding_size), np.float32)
        missing = [index for index, note in enumerate(notes) if note is None or len(note) != rows[0].nbytes]
        known = set(range(len(crops))) - set(missing)
        for index in known:
            rows[index] = np.frombuffer(notes[index] or b"", np.float32)
        if missing:
            rows[missing] = self._runtime.embed(name, np.ascontiguousarray(crops[missing]))
            for index in missing:
                self._notes.put(keys[index], rows[index].tobytes())
        return rows


def _digest(*parts: str | np.ndarray) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part.encode() + b"\0" if isinstance(part, str) else np.ascontiguousarray(part).data)
    return total.hexdigest()


def _faces_to(faces: list[Face]) -> bytes:
    return json.dumps(
        [
            {
                "box": [face.box.x, face.box.y, face.box.width, face.box.height],
                "landmarks": face.landmarks.tolist(),
                "score": float(face.score),
            }
            for face in faces
        ]
    ).encode()


def _faces_from(note: bytes) -> list[Face]:
    from facecloak.faces import Box, Face

    return [
        Face(box=Box(*item["box"]), landmarks=np.array(item["landmarks"], np.float32), score=item["score"])
        for item in json.loads(note)
    ]
