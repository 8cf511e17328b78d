"""What recognizers make of a photo before and after: from the files' bytes, with fresh detection and alignment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.faces import Box, Face, aligned_crop
from facecloak.photos import decode_photo
from facecloak.recognizers.onnx_runtime import OnnxRuntime
from facecloak_evaluation.independent_finder import AlternateFaceFinder
from facecloak_evaluation.visibility import Visibility, crop_to_box, visibility_to_people

Embeddings = Mapping[str, np.ndarray]
"""Recognizer name -> unit vector (D,) float32."""


class NothingToCompare(FaceCloakError):
    """No face in the photo, or the two are not of one photo."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "NOTHING_TO_COMPARE"


@dataclass(frozen=True)
class Reading:
    """A photo as the recognizers see it.

    Attributes:
        srgb_u8: (H, W, 3) the upright photo.
        face: the face that was read, None where none was found.
        embeddings: of that face; empty where none was found.
    """

    srgb_u8: np.ndarray
    face: Face | None
    embeddings: Embeddings


@dataclass(frozen=True)
class Comparison:
    """One photo before and after.

    Attributes:
        before, after: recognizer -> cosine similarity to the enrolled photo's face, -1 to 1. `after` is empty where no
            face was found in the cloaked photo any more.
        visible: what changed within the face's box, in the photo's own pixels.
    """

    name: str
    original: Reading
    cloaked: Reading
    before: Mapping[str, float]
    after: Mapping[str, float]
    visible: Visibility
    bytes_before: int
    bytes_after: int


class Observer:
    """Reads photos with all recognizers of a model repository."""

    def __init__(self, model_repository: Path) -> None:
        # Not the finder that the services place masks by: others will not use it either.
        self._finder = AlternateFaceFinder.load(model_repository, threads=2)
        self._runtime = OnnxRuntime(model_repository)
        self.recognizers: tuple[str, ...] = tuple(self._runtime.names())

    def read(self, data: bytes, *, like: Embeddings | None = None, near: Box | None = None) -> Reading:
        """Decodes a photo, finds its faces and embeds one of them.

        Args:
            like: of several faces, read the one most similar to this; otherwise the largest.
            near: of several faces, read the one that overlaps this box most.
        """
        srgb_u8 = decode_photo(data).srgb_u8
        faces = self._finder.find(srgb_u8)
        if near is not None:
            faces = sorted((face for face in faces if face.box.iou(near) > 0.1), key=lambda face: -face.box.iou(near))
        if not faces:
            return Reading(srgb_u8, None, {})
        candidates = faces[:8] if like is not None else faces[:1]
        read = [(face, self._embed(srgb_u8, face)) for face in candidates]
        face, embeddings = max(
            read, key=lambda item: float(np.mean(list(similarities(item[1], like or {}).values() or [0])))
        )
        return Reading(srgb_u8, face, embeddings)

    def close(self) -> None:
        """Lets the recognizers go."""
        self._runtime.close()

    def _embed(self, srgb_u8: np.ndarray, face: Face) -> Embeddings:
        crop = aligned_crop(srgb_u8, face.landmarks).astype(np.float32).transpose(2, 0, 1)[None]
        return {name: self._runtime.embed(name, crop)[0] for name in self.recognizers}


def similarities(one: Embeddings, other: Embeddings) -> dict[str, float]:
    """Cosine similarity for each recognizer that both were read with."""
    return {name: float(one[name] @ other[name]) for name in one if name in other}


def compare(
    observer: Observer, enrolled: Embeddings, *, name: str, before: bytes, original: Reading, after: bytes
) -> Comparison:
    """Measures one cloaked photo against the enrolled face.

    Args:
        before, after: the photo's file, and the cloaked one's.
        original: ``before`` as it was read.

    Raises:
        NothingToCompare: no face was found before, or the photo came back in another size.
    """
    if original.face is None:
        raise NothingToCompare(f"No face was found in {name}.")
    box = original.face.box
    cloaked = observer.read(after, near=box)
    if cloaked.srgb_u8.shape != original.srgb_u8.shape:
        raise NothingToCompare(f"{name} came back in another size.")
    return Comparison(
        name=name,
        original=original,
        cloaked=cloaked,
        before=similarities(original.embeddings, enrolled),
        after=similarities(cloaked.embeddings, enrolled),
        visible=visibility_to_people(crop_to_box(original.srgb_u8, box), crop_to_box(cloaked.srgb_u8, box)),
        bytes_before=len(before),
        bytes_after=len(after),
    )
