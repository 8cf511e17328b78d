"""Fixtures that all tests share."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from facecloak.recognizers.triton.dev_server.install import TritonInstallation
    from facecloak.recognizers.triton.dev_server.process import TritonProcess
    from facecloak.recognizers.triton.write_repository import BuiltRepository

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


@pytest.fixture(scope="session")
def triton_installation() -> TritonInstallation:
    """A real Triton server, brought on first use."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("PyPI has a Triton server for x86-64 Linux only")
    from facecloak.errors import FaceCloakError
    from facecloak.recognizers.triton.dev_server.install import install

    try:
        return install()
    except FaceCloakError as error:
        pytest.fail(f"the Triton server cannot be had: {error.public_message}")


@pytest.fixture(scope="session")
def served_models(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> BuiltRepository:
    """The quickest two recognizers as Triton serves them; not to be changed."""
    from facecloak.models.repository import ModelRepository
    from facecloak.recognizers.triton.profiles import CPU
    from facecloak.recognizers.triton.write_repository import build_repository

    folder = tmp_path_factory.mktemp("served")
    names = ["dlib_resnet", "mobileface"]
    # A page lies in a repository of a checkout, too.
    (folder / "README.md").write_text("# No model\n")
    return build_repository(ModelRepository(model_repository), profile=CPU, names=names, output=folder)


@pytest.fixture(scope="session")
def triton_server(
    triton_installation: TritonInstallation, served_models: BuiltRepository, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonProcess]:
    """One server for all tests that leave it as it is."""
    from facecloak.recognizers.triton.dev_server.process import running_server

    log = tmp_path_factory.mktemp("triton") / "triton.log"
    with running_server(triton_installation, served_models, log=log) as server:
        yield server


@pytest.fixture
def start_triton(triton_installation: TritonInstallation, tmp_path: Path) -> Iterator[Callable[..., TritonProcess]]:
    """Starts servers that a test may stop, kill and start again on the same port."""
    from facecloak.recognizers.triton.dev_server.process import start_server

    started: list[TritonProcess] = []

    def start(built: BuiltRepository, *, grpc_port: int = 0, exit_seconds: int = 30) -> TritonProcess:
        log = tmp_path / "triton.log"
        started.append(
            start_server(triton_installation, built, log=log, grpc_port=grpc_port, exit_seconds=exit_seconds)
        )
        return started[-1]

    yield start
    for server in started:
        server.kill()
