"""A world small enough to know every answer: a person is a color, and a recognizer is the mean color of the crop."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.faces import ARCFACE_TEMPLATE, Box, Face
from facecloak.masks.displacement import DisplacementSize
from facecloak.models.spec import RecognizerSpec, Source
from facecloak.photos import decode_photo, encode_photo
from facecloak_evaluation.dataset import Person
from facecloak_evaluation.experiment import Experiment
from facecloak_evaluation.face_extraction import FaceExtractor
from facecloak_evaluation.protocol import CloakedPhoto, EnrollmentCost, EvaluationProtocol
from facecloak_evaluation.surrogate_guard import RecognizerIdentity

SIDE = 160
COLORS = {"ann": (200, 40, 40), "bob": (40, 200, 40), "cem": (40, 40, 200)}
STRANGERS = {"x": (200, 200, 40), "y": (40, 200, 200), "z": (200, 40, 200)}


def photo_of(color: tuple[int, int, int], *, seed: int) -> bytes:
    """A JPEG of one color with a little noise."""
    noise = np.random.default_rng(seed).integers(-6, 7, (SIDE, SIDE, 3))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(noise + color, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


class MiddleFinder:
    """One face in the middle of every photo, unless the photo is near black."""

    identity = "middle"

    def find(self, srgb_u8: np.ndarray) -> list[Face]:
        if srgb_u8.mean() < 20:
            return []
        height, width = srgb_u8.shape[:2]
        landmarks = ARCFACE_TEMPLATE + np.array([(width - 112) / 2, (height - 112) / 2], np.float32)
        return [Face(Box(width / 2 - 40, height / 2 - 50, 80, 100), landmarks, 1.0)]


class ColorRuntime:
    """Recognizers whose embedding is the crop's mean color."""

    def names(self) -> tuple[str, ...]:
        return ("judge", "judge_too")

    def spec(self, name: str) -> RecognizerSpec:
        digest = {"judge": "1", "judge_too": "2"}[name] * 64
        return RecognizerSpec(name=name, source=Source(weights_sha256=digest), model_sha256=digest, embedding_size=3)

    def embed(self, name: str, crops: np.ndarray) -> np.ndarray:
        assert crops.dtype == np.float32
        assert crops.shape[1:] == (3, 112, 112)
        colors = crops.mean(axis=(2, 3)) - 100
        return (colors / np.linalg.norm(colors, axis=1, keepdims=True)).astype(np.float32)


@dataclass
class Painter:
    """A service that paints a user's photos in another color; `paint` maps user -> color."""

    paint: Mapping[str, tuple[int, int, int]]
    refuse: frozenset[str] = frozenset()
    leave_alone: frozenset[str] = frozenset()
    learned_against: tuple[RecognizerIdentity, ...] = (RecognizerIdentity("teacher", "9" * 64, "9" * 64),)
    displacements: tuple[DisplacementSize, ...] = ()
    enrolled: list[str] = field(default_factory=list)
    photo_counts: list[int] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)

    def surrogates(self) -> tuple[RecognizerIdentity, ...]:
        return self.learned_against

    def describe(self) -> Mapping[str, Any]:
        return {"path": "paint"}

    def enroll(self, user: str, photos: Sequence[EnrollmentPhoto]) -> EnrollmentCost:
        if user in self.refuse:
            raise Blurred("The face is blurred.")
        with self.lock:
            self.enrolled.append(user)
            self.photo_counts.append(len(photos))
        return EnrollmentCost(seconds=2.0, stages={"perturb": 1.5, "synthesize": 0.5}, displacements=self.displacements)

    def cloak(self, user: str, photo: bytes, box: Box) -> CloakedPhoto:
        if user in self.leave_alone:
            return CloakedPhoto(photo, "NO_FACE")
        decoded = decode_photo(photo)
        painted = np.broadcast_to(np.array(self.paint[user], np.uint8), decoded.srgb_u8.shape)
        return CloakedPhoto(encode_photo(decoded, np.ascontiguousarray(painted)), "CLOAKED")

    def close(self) -> None:
        pass


class Blurred(FaceCloakError):
    code = ErrorCode.FAILED_PRECONDITION
    reason = "FACE_BLURRED"


PROTOCOL = EvaluationProtocol(gallery_photos=(1, 2), probe_photos=(3, 4, 5), ranks=(1, 3), resamples=200)


def experiment_of(people: Sequence[Person], others: Sequence[Path], **changes: Any) -> Experiment:
    defaults: dict[str, Any] = {
        "protocol": PROTOCOL,
        "runtime": ColorRuntime(),
        "extractor": FaceExtractor(MiddleFinder()),
    }
    return Experiment(people=people, others=others, **(defaults | changes))
