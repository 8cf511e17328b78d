"""Fixtures that all tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of photos for measuring, which is no part of the project; tests that need it skip without it."""
    folder = Path(os.environ.get("FACECLOAK_SHARED") or ROOT.parent / "shared")
    if not (folder / "faces").is_dir():
        pytest.skip("the folder of measuring photos is absent: set FACECLOAK_SHARED")
    return folder


@pytest.fixture(scope="session")
def model_repository() -> Path:
    """The default models, brought on first use; FACECLOAK_MODEL_REPOSITORY or ./model_repository."""
    folder = Path(os.environ.get("FACECLOAK_MODEL_REPOSITORY") or ROOT / "model_repository")
    command = [sys.executable, "-m", "facecloak.cli", "models", "pull", "--repository", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        pytest.fail(f"facecloak models pull failed: {done.stderr.strip()[-800:]}")
    return folder


@pytest.fixture(scope="session")
def astronaut_srgb_u8() -> np.ndarray:
    """(512, 512, 3) uint8: scikit-image's photo of one face, in the public domain. Read-only."""
    from skimage import data

    pixels = np.ascontiguousarray(data.astronaut())
    pixels.setflags(write=False)
    return pixels


@pytest.fixture(scope="session")
def astronaut_photo(astronaut_srgb_u8: np.ndarray) -> bytes:
    """The same as a JPEG file of quality 92."""
    import simplejpeg

    return simplejpeg.encode_jpeg(astronaut_srgb_u8, quality=92, colorspace="RGB")
