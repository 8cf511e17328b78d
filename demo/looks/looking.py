"""One photo at one strength: cloaked by the services' own code, and measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demo.looks.subjects import LooksSubject
from demo.photos import NamedPhoto
from facecloak.faces import Box, Face, FaceFinder, aligned_crop
from facecloak.masks.displacement import DisplacementSize
from facecloak_evaluation.delivered_photo import as_png, decode, mask_box
from facecloak_evaluation.face_extraction import Embedder, embed
from facecloak_evaluation.protectors.in_process import InProcessProtector
from facecloak_evaluation.visibility import Visibility, crop_to_box, visibility_to_people


@dataclass(frozen=True)
class MeasuredLook:
    """What came back for one photo at one strength.

    Attributes:
        photo: the cloaked file.
        outcome: the service's own word; anything but CLOAKED left the photo as it was.
        seen: the face as delivered against the original.
        painted: the same against the original displaced alike; coded without loss.
        displacement: of the person's mask; None where it displaces nothing.
        similarities: recognizer -> cosine to the enrolled face before and after; after is None where no face is found.
    """

    photo: bytes
    outcome: str
    seen: Visibility | None
    painted: Visibility | None
    displacement: DisplacementSize | None
    similarities: Mapping[str, tuple[float, float | None]]


class Onlooker:
    """Finds faces and embeds them.

    Args:
        recognizers: names of those that `embedder` runs.
    """

    def __init__(self, model_repository: Path, embedder: Embedder, recognizers: Sequence[str]) -> None:
        self._finder = FaceFinder.load(model_repository, threads=1)
        self._embedder = embedder
        self.recognizers = tuple(recognizers)

    def face_in(self, srgb_u8: np.ndarray, *, near: Box | None = None) -> Face | None:
        """The largest face, or the one that lies most on `near`."""
        faces = self._finder.find(srgb_u8)
        if near is None:
            return max(faces, key=lambda face: face.box.area, default=None)
        holding = [face for face in faces if face.box.iou(near) > 0.1]
        return max(holding, key=lambda face: face.box.iou(near), default=None)

    def embeddings(self, srgb_u8: np.ndarray, face: Face) -> dict[str, np.ndarray]:
        """By recognizer the face's embedding, (D,) of unit length."""
        crop = aligned_crop(srgb_u8, face.landmarks)
        return {name: embed(self._embedder, name, [crop])[0] for name in self.recognizers}


def look_at(
    subject: LooksSubject,
    photo: NamedPhoto,
    *,
    protector: InProcessProtector,
    displacement: DisplacementSize | None,
    onlooker: Onlooker,
) -> MeasuredLook:
    """Cloak one photo of an enrolled person and measure what came back."""
    clean = decode(photo.data)
    face = onlooker.face_in(clean)
    if face is None:
        return MeasuredLook(photo.data, "NO_FACE", None, None, None, {})
    cloaked = protector.cloak(subject.name, photo.data, face.box)
    if not cloaked.is_cloaked:
        return MeasuredLook(photo.data, cloaked.outcome, None, None, None, {})
    pixels, box = decode(cloaked.photo), mask_box(face.landmarks)
    png = as_png(clean)
    lossless = decode(protector.cloak(subject.name, png, face.box).photo)
    displaced = protector.displace(subject.name, png, face.box)
    since = decode(displaced.photo) if displaced else clean
    return MeasuredLook(
        photo=cloaked.photo,
        outcome=cloaked.outcome,
        seen=visibility_to_people(crop_to_box(clean, box), crop_to_box(pixels, box)),
        painted=visibility_to_people(crop_to_box(since, box), crop_to_box(lossless, box)),
        displacement=displacement,
        similarities=_similarities(subject, clean, face, pixels, onlooker),
    )


def _similarities(
    subject: LooksSubject, clean: np.ndarray, face: Face, cloaked: np.ndarray, onlooker: Onlooker
) -> dict[str, tuple[float, float | None]]:
    enrolled = decode(subject.enrolled.data)
    owner = onlooker.face_in(enrolled)
    if owner is None:
        return {}
    own, before = onlooker.embeddings(enrolled, owner), onlooker.embeddings(clean, face)
    again = onlooker.face_in(cloaked, near=face.box)
    after = onlooker.embeddings(cloaked, again) if again is not None else {}
    return {
        name: (float(own[name] @ before[name]), float(own[name] @ after[name]) if name in after else None)
        for name in onlooker.recognizers
    }
