"""What the tests of faces share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from facecloak.faces import (
    Face,
    FaceFinder,
    aligning_transform,
    inverse_transform,
)
from facecloak.faces.fr_detect import FrDetect
from facecloak.faces.fr_landmark import FrLandmark
from facecloak_evaluation.independent_finder import AlternateFaceFinder


@pytest.fixture(scope="session")
def service_finder(model_repository: Path) -> FaceFinder:
    return FaceFinder.load(model_repository)


@pytest.fixture(scope="session")
def alternate_finder(model_repository: Path) -> AlternateFaceFinder:
    return AlternateFaceFinder.load(model_repository)


@pytest.fixture(scope="session")
def reduced_finder(model_repository: Path) -> FaceFinder:
    """The services' finder as it is where the largest package was left out."""
    return FaceFinder(FrDetect(model_repository), FrLandmark(model_repository), None, first_side=1.0)


@pytest.fixture(params=["service_finder", "alternate_finder", "reduced_finder"])
def finder(request: pytest.FixtureRequest) -> FaceFinder:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def frame_shift_px() -> Callable[[np.ndarray, np.ndarray], float]:
    """How far one alignment lies from another: mean over five places of the face, in px of the aligned crop."""

    def measure(one: np.ndarray, other: np.ndarray) -> float:
        places = np.array([[20.0, 30, 1], [92, 30, 1], [20, 100, 1], [92, 100, 1], [56, 66, 1]]).T
        in_photo = inverse_transform(aligning_transform(one)) @ places
        moved = aligning_transform(other) @ np.vstack([in_photo, np.ones(5)])
        return float(np.linalg.norm(moved - places[:2], axis=0).mean())

    return measure


@pytest.fixture(scope="session")
def read_srgb_u8() -> Callable[[Path], np.ndarray]:
    def read(path: Path) -> np.ndarray:
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        assert bgr is not None, path
        return np.ascontiguousarray(bgr[..., ::-1])

    return read


@pytest.fixture
def the_face(service_finder: FaceFinder, astronaut_srgb_u8: np.ndarray) -> Face:
    """The one face of the astronaut's photo, by the services' finder."""
    (face,) = service_finder.find(astronaut_srgb_u8)
    return face
