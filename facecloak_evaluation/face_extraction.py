"""A stranger's eye on a photo: find the face afresh, align it, hand the crop to recognizers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from facecloak_evaluation.platforms import Platform

if TYPE_CHECKING:
    from facecloak.faces import Face
    from facecloak.models.spec import RecognizerSpec

MIDDLE_TOLERANCE = 0.25
"""A photo's person is the largest face whose center lies at most this share of the shorter side from the middle."""

EMBED_BATCH = 16


class Embedder(Protocol):
    """What the evaluation needs of a recognizer runtime."""

    def spec(self, name: str) -> RecognizerSpec: ...

    def embed(self, name: str, crops: np.ndarray) -> np.ndarray: ...


class EvaluationFinder(Protocol):
    """What the evaluation needs of a face finder (both of FaceCloak's own fit)."""

    identity: str

    def find(self, srgb_u8: np.ndarray) -> list[Face]: ...


@dataclass(frozen=True)
class ExtractedFace:
    """One photo as a recognizer gets it.

    Attributes:
        crop_u8: (112, 112, 3) aligned sRGB.
        face: where the face was taken from, px of the photo looked at.
        found_afresh: false where the finder did not find the face and the known place was used.
    """

    crop_u8: np.ndarray
    face: Face
    found_afresh: bool


class FaceExtractor:
    """Finds the person of a photo.

    Args:
        finder: the evaluation's own finder, not the services' where another exists.
        second: asked where `finder` sees nobody in a clean photo; its finds are counted.
    """

    def __init__(self, finder: EvaluationFinder, *, second: EvaluationFinder | None = None) -> None:
        self.finder = finder
        self.second = second
        self.second_used = 0

    def person_in(self, srgb_u8: np.ndarray) -> Face | None:
        """The face of a clean photo's person: the largest near the middle, if there is one."""
        face = _person_of(self.finder.find(srgb_u8), srgb_u8)
        if face is None and self.second is not None:
            face = _person_of(self.second.find(srgb_u8), srgb_u8)
            self.second_used += face is not None
        return face

    def see_clean(self, srgb_u8: np.ndarray) -> ExtractedFace | None:
        """A clean photo as recognizers get it; none if it holds no face near the middle."""
        from facecloak.faces import aligned_crop

        face = self.person_in(srgb_u8)
        if face is None:
            return None
        return ExtractedFace(crop_u8=aligned_crop(srgb_u8, face.landmarks), face=face, found_afresh=True)

    def see_uploaded(self, delivered_srgb_u8: np.ndarray, *, known: Face, platform: Platform) -> ExtractedFace:
        """An uploaded photo after a platform, found afresh.

        A face counts as found if its box holds the known center. Where none does, the crop is taken at the clean
        photo's landmarks, so that a missed detection by itself never counts as protection.

        Args:
            delivered_srgb_u8: (H, W, 3) of the clean photo's size.
            known: the person's face in the clean photo.
            platform: what is done to the photo first.
        """
        from facecloak.faces import aligned_crop

        height, width = delivered_srgb_u8.shape[:2]
        result = platform.process(delivered_srgb_u8)
        center = platform.move(_center(known)[None], width=width, height=height)[0]
        holding = [face for face in self.finder.find(result) if _holds(face, center)]
        if holding:
            face = min(holding, key=lambda face: float(np.linalg.norm(_center(face) - center)))
            return ExtractedFace(crop_u8=aligned_crop(result, face.landmarks), face=face, found_afresh=True)
        landmarks = platform.move(known.landmarks, width=width, height=height)
        return ExtractedFace(crop_u8=aligned_crop(result, landmarks), face=known, found_afresh=False)


def embed(runtime: Embedder, name: str, crops_u8: Sequence[np.ndarray]) -> np.ndarray:
    """Aligned crops (n of (112, 112, 3) uint8) as (n, D) float32 unit embeddings, in small batches."""
    batches = []
    for start in range(0, len(crops_u8), EMBED_BATCH):
        batch = np.stack(crops_u8[start : start + EMBED_BATCH]).astype(np.float32).transpose(0, 3, 1, 2)
        batches.append(runtime.embed(name, np.ascontiguousarray(batch)))
    return np.concatenate(batches)


def _center(face: Face) -> np.ndarray:
    return np.asarray(face.box.center, np.float32)


def _holds(face: Face, point: np.ndarray) -> bool:
    box = face.box
    return bool(box.x <= point[0] <= box.x + box.width and box.y <= point[1] <= box.y + box.height)


def _person_of(faces: Sequence[Face], srgb_u8: np.ndarray) -> Face | None:
    height, width = srgb_u8.shape[:2]
    middle = np.array([width / 2, height / 2], np.float32)
    reach = MIDDLE_TOLERANCE * min(width, height)
    near = [face for face in faces if float(np.linalg.norm(_center(face) - middle)) <= reach]
    return max(near, key=lambda face: face.box.area, default=None)
