"""The small world's photos as folders."""

from __future__ import annotations

from pathlib import Path

import pytest

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
