"""The small world's photos as folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from facecloak_evaluation import color_video_vdp
from facecloak_evaluation.dataset import Person
from tests.facecloak_evaluation.small_world import COLORS, STRANGERS, photo_of


@pytest.fixture
def people(tmp_path: Path) -> tuple[Person, ...]:
    found = []
    for name, color in COLORS.items():
        folder = tmp_path / "people" / name
        folder.mkdir(parents=True)
        for number in range(6):
            path = folder / ("enrol.jpg" if number == 0 else f"photo{number}.jpg")
            path.write_bytes(photo_of(color, seed=number))
        photos = {number: folder / f"photo{number}.jpg" for number in range(1, 6)}
        found.append(Person(name=name, enroll_photo=folder / "enrol.jpg", photos=photos))
    return tuple(found)


@pytest.fixture
def others(tmp_path: Path) -> tuple[Path, ...]:
    folder = tmp_path / "others"
    folder.mkdir(exist_ok=True)
    for name, color in STRANGERS.items():
        (folder / f"{name}.jpg").write_bytes(photo_of(color, seed=9))
    return tuple(sorted(folder.iterdir()))


@pytest.fixture(autouse=True)
def without_jod(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """JOD takes most of a small world's time; tests that are about it carry the marker `jod`."""
    if request.node.get_closest_marker("jod") is None:
        monkeypatch.setattr(color_video_vdp, "is_available", lambda: False)
