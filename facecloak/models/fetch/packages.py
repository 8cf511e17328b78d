"""What packages of model weights have in common: one pinned archive, brought by the registry's own client.

The client is the machine's (so a mirror, a proxy or a login that it is set up for just works); nothing of a package is
ever run.
"""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

from facecloak.models.errors import PackageRefused, PackageUnavailable

DEADLINE_SECONDS = 600.0
"""For one package; the largest default one is 145 MB, so this is 2 Mbit/s."""
MAX_ARCHIVE_BYTES = 512 << 20
MAX_UNPACKED_BYTES = 1 << 30
MAX_MEMBER_BYTES = 128 << 20
MAX_MEMBERS = 20_000


@dataclass(frozen=True)
class Package(ABC):
    """One published version of one package.

    ``integrity`` is ``sha512-<base64>`` or ``sha256-<base64>`` (W3C Subresource Integrity).
    """

    name: str
    version: str
    integrity: str
    license: str
    archive_bytes: int
    """Size of the download, to say it beforehand."""

    registry: ClassVar[str]
    """What a spec calls the registry: ``npm``, ``pypi``."""

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @abstractmethod
    def bring(self, folder: Path, *, deadline_seconds: float) -> Path:
        """Download the archive into a folder. Raises PackageUnavailable, PackageRefused."""

    @abstractmethod
    def read(self, archive: IO[bytes], members: Mapping[str, int]) -> dict[str, bytes]:
        """Read the named files of an archive. Raises PackageRefused."""

    def fetch(self, members: Mapping[str, int], *, deadline_seconds: float = DEADLINE_SECONDS) -> dict[str, bytes]:
        """Bring the package and read some of its files into memory.

        The archive lies in a temporary folder that is removed before this returns.

        Args:
            members: path within the package ("models/x.json") to the most bytes it may have.

        Raises:
            PackageUnavailable: no client, no network, or the deadline passed.
            PackageRefused: not the pinned package, or the archive lacks a member or breaks a bound.
        """
        with tempfile.TemporaryDirectory(prefix=f"facecloak-{self.registry}-") as folder:
            archive = self.bring(Path(folder), deadline_seconds=deadline_seconds)
            check_integrity(archive, self)
            with archive.open("rb") as file:
                return self.read(file, members)


def pinned_digest(package: Package) -> tuple[str, bytes]:
    """Name of the hash and the digest that a package is pinned by. Raises PackageRefused."""
    algorithm, _, digest = package.integrity.partition("-")
    if algorithm not in ("sha256", "sha512"):
        raise PackageRefused(f"{package} is pinned by neither sha256 nor sha512", package=package)
    try:
        return algorithm, base64.b64decode(digest, validate=True)
    except ValueError as error:
        raise PackageRefused(f"the pinned {algorithm} of {package} is not base64", package=package) from error


def check_integrity(archive: Path, package: Package) -> None:
    """Raise PackageRefused unless the file's digest is the pinned one. Checked before anything in it is parsed."""
    size = archive.stat().st_size
    if size > MAX_ARCHIVE_BYTES:
        raise PackageRefused(f"{package} is larger than {MAX_ARCHIVE_BYTES} bytes", package=package, size=size)
    algorithm, expected = pinned_digest(package)
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, algorithm).digest()
    if digest != expected:
        raise PackageRefused(f"{package} is not the pinned package: its {algorithm} differs", package=package)


@dataclass(frozen=True)
class ClientExit:
    """How a registry's client ended. What it printed may name hosts: only parts of it are for others."""

    code: int
    stderr: str


def run_client(command: Sequence[str], *, package: Package, folder: Path, deadline_seconds: float) -> ClientExit:
    """Run a registry's client in ``folder`` to its end. Raises PackageUnavailable: the deadline passed."""
    # A session of its own: clients start children, and a deadline must end them all.
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, stderr = process.communicate(timeout=deadline_seconds)
    except subprocess.TimeoutExpired as error:
        raise PackageUnavailable(
            f"{package.registry} did not bring {package} within {deadline_seconds:.0f} s", package=package
        ) from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return ClientExit(process.returncode, stderr.decode("utf-8", "replace"))
