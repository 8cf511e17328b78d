"""ExifTool, which reads every tag of every container: the machine's own, or brought once by npm, as the models are."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

VERSION = "13.59.3"
INTEGRITY = "QmYq2JKCXRK9Uo3E3nHb0gQ6Xce2HK7wPtrHF5r+IYWyiM5WkOhiT3BesLI9lvJvPAbzjqFxQlrjXv+/cuSX/Q=="
"""SHA-512 of the npm package exiftool-vendored.pl, as the registry states it."""

# About the file and the program; the places of pictures and blocks in the file.
_NOT_OF_THE_PHOTO = ("SourceFile", "ExifTool:", "System:", "File:FileSize")


def exiftool_command() -> list[str]:
    """How to call it; skips the test where there is neither an exiftool nor a Perl to run one."""
    own = shutil.which("exiftool")
    if own is not None:
        return [own]
    perl = shutil.which("perl")
    if perl is None:
        pytest.skip("neither exiftool nor perl is on this machine")
    home = Path(sys.prefix) / "share" / "facecloak" / f"exiftool-{VERSION}"
    if not home.is_dir():
        _bring(home)
    return [perl, str(home / "package" / "bin" / "exiftool")]


Tags = dict[str, object]


def tags_of(photos: Sequence[bytes], suffix: str) -> list[Tags]:
    """Every tag that is in each photo's bytes: group and name -> value; of long and binary values a digest."""
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for index, data in enumerate(photos):
            names.append(f"{folder}/{index:04}{suffix}")
            Path(names[-1]).write_bytes(data)
        # Without -b some binary values are but their length, with it some are left out.
        lengths, contents = (_read(names, *options) for options in ((), ("-b",)))
    return [
        {name: value for name, value in (one | other).items() if not name.startswith(_NOT_OF_THE_PHOTO)}
        for one, other in zip(lengths, contents, strict=True)
    ]


def _read(names: list[str], *options: str) -> list[Tags]:
    command = [*exiftool_command(), "-json", "-G1:3", "-a", "-u", "-U", "-n", *options, *names]
    ended = subprocess.run(command, capture_output=True, check=False, timeout=300)
    return [
        {
            name: hashlib.sha256(value.encode()).hexdigest() if isinstance(value, str) and len(value) > 200 else value
            for name, value in tags.items()
        }
        for tags in json.loads(ended.stdout)
    ]


def changed_tags(before: Tags, after: Tags) -> set[str]:
    """Names, without their group's second part, of tags that are not the same in both."""
    names = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return {f"{name.split(':')[0]}:{name.split(':')[-1]}" for name in names}


def _bring(home: Path) -> None:
    from facecloak.models.errors import PackageUnavailable
    from facecloak.models.fetch.npm import npm_command

    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as folder:
        try:
            command = [*npm_command(), "pack", f"exiftool-vendored.pl@{VERSION}", "--ignore-scripts"]
        except PackageUnavailable as error:
            pytest.skip(f"exiftool cannot be brought: {error.public_message}")
        ended = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=300)
        archives = list(Path(folder).glob("*.tgz"))
        if ended.returncode or len(archives) != 1:
            pytest.skip("npm could not bring exiftool")
        digest = base64.b64encode(hashlib.sha512(archives[0].read_bytes()).digest()).decode()
        assert digest == INTEGRITY
        with tarfile.open(archives[0]) as archive:
            archive.extractall(Path(folder) / "unpacked", filter="data")
        try:
            (Path(folder) / "unpacked").rename(home)
        except OSError:
            assert home.is_dir()  # another run was quicker
