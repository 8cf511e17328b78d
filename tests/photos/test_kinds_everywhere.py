"""What ApplyCloak takes, FindFaces and enrollment take, too, or refuse by name."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from enroll_service.pipeline import IntakeSettings
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.intake.portrait import portrait_from
from facecloak.cloaking.cloaker import Cloaker
from facecloak.faces import FaceFinder
from facecloak.photos import AnimatedPhoto, PhotoRefused, UnsupportedPhoto
from facecloak.photos.memory import pixels_of
from tests.photos.heif_files import avif, heic
from tools.docs.format_kinds import KINDS
from tools.docs.format_table import LIMITS, PAGE, table_mask

EVERYTHING = IntakeSettings(heic=True, avif=True)
# Of animations these are refused at enrollment: a mask is learned from stills.
ANIMATED = {"PNG, animated (APNG)", "WebP, animated", "GIF, animated"}
NEW = [(heic, "HEIC"), (avif, "AVIF")]


@pytest.fixture(scope="module")
def finder(model_repository: Path) -> FaceFinder:
    return FaceFinder.load(model_repository)


@pytest.fixture(scope="module")
def cloaker(finder: FaceFinder) -> Cloaker:
    return Cloaker(finder, {"user": table_mask()}, limits=LIMITS)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def face(astronaut_srgb_u8: np.ndarray) -> np.ndarray:
    return cv2.resize(astronaut_srgb_u8, (256, 256), interpolation=cv2.INTER_AREA)


def is_taken_by_apply(kind: str) -> bool:
    line = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| {kind} |"))
    return line.split(" | ")[1] == "yes, same format"


@pytest.mark.parametrize("kind", KINDS)
def test_faces_are_found_in_what_apply_takes(cloaker: Cloaker, face: np.ndarray, kind: str) -> None:
    data = KINDS[kind](face).data
    if not is_taken_by_apply(kind):
        with pytest.raises(PhotoRefused):
            cloaker.faces(data)
        return
    found = cloaker.faces(data)
    assert (found.width, found.height, len(found.faces)) == (256, 256, 1)
    assert np.linalg.norm(np.array(found.faces[0].box.center) - (112, 57)) < 8


@pytest.mark.parametrize("kind", KINDS)
def test_enrollment_takes_what_apply_takes(finder: FaceFinder, face: np.ndarray, kind: str) -> None:
    photo = EnrollmentPhoto(KINDS[kind](cv2.resize(face, (512, 512))).data)
    if kind in ANIMATED:
        with pytest.raises(AnimatedPhoto, match="send a still photo"):
            portrait_from(photo, index=0, finder=finder, settings=EVERYTHING)
    elif not is_taken_by_apply(kind):
        with pytest.raises(PhotoRefused):
            portrait_from(photo, index=0, finder=finder, settings=EVERYTHING)
    else:
        portrait = portrait_from(photo, index=0, finder=finder, settings=EVERYTHING)
        assert portrait.mesh is not None
        assert portrait.eye_distance_px == pytest.approx(43.9, abs=1)


@pytest.mark.parametrize(("make", "name"), NEW)
def test_a_refusal_names_the_setting(finder: FaceFinder, face: np.ndarray, make, name: str) -> None:
    data = make(face)
    for call in (
        lambda: portrait_from(EnrollmentPhoto(data), index=0, finder=finder, settings=IntakeSettings()),
        lambda: Cloaker(finder, {}).faces(data),  # type: ignore[arg-type]
    ):
        with pytest.raises(UnsupportedPhoto, match=f"FACECLOAK_APPLY_{name}, FACECLOAK_ENROLL_INTAKE__{name}") as no:
            call()
        assert no.value.metadata["format"] == name
    # An enrollment's pixels are counted before any is decoded.
    assert (pixels_of(data), pixels_of(data, limits=EVERYTHING.photo_limits)) == (0, 256 * 256)


def test_a_frame_of_two_people_is_looked_at_as_it_is(cloaker: Cloaker, face: np.ndarray) -> None:
    """The first frame is where hints count, so it is what FindFaces tells of."""
    from tests.photos.test_animation import animation

    twins = np.hstack([face, face])
    found = cloaker.faces(animation([twins, np.full_like(twins, 90)], "WEBP"))
    assert (found.width, len(found.faces)) == (512, 2)
