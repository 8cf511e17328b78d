"""Results that other code made are known as stale: the files whose change was once not noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from facecloak.code_digest import import_closure
from facecloak.models import pull
from facecloak_evaluation.protectors import in_process

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("path", ["facecloak/models/install.py", "facecloak/models/convert/sources.py"])
def test_built_models_depend_on(path: str) -> None:
    assert ROOT / path in import_closure(*pull.CONVERTING_MODULES).values()


@pytest.mark.parametrize(
    "path",
    [
        "enroll_service/pipeline/synthesize/faces.jpg",
        "facecloak/cloaking/blend.py",
        "facecloak/faces/face_shape.safetensors",
        "facecloak/photos/codec.py",
        "facecloak/cloaking/placement.py",
    ],
)
def test_kept_masks_depend_on(path: str) -> None:
    assert ROOT / path in import_closure(*in_process.SHAPING_MODULES).values()
