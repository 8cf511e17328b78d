"""Results that other code made are known as stale: the files whose change was once not noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from enroll_service.commands import evaluate_here
from facecloak.code_digest import import_closure
from facecloak.recognizers.importing import pull

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    "path", ["facecloak/recognizers/importing/store.py", "facecloak/recognizers/importing/sources.py"]
)
def test_built_models_depend_on(path: str) -> None:
    assert ROOT / path in import_closure(*pull.CONVERTING_MODULES).values()


@pytest.mark.parametrize(
    "path",
    [
        "enroll_service/stages/faces.jpg",
        "facecloak/adding.py",
        "facecloak/faces/face_shape.safetensors",
        "facecloak/photos/codec.py",
        "facecloak/placement.py",
    ],
)
def test_kept_masks_depend_on(path: str) -> None:
    assert ROOT / path in import_closure(*evaluate_here.SHAPING_MODULES).values()
