"""Photos and the pictures made from them are in memory only, and gone when the call ends.

Each enrollment runs in a process of its own, in folders of its own, under a limit of no byte in any file: what Python
opens for writing is noted, what a library writes ends the process. (Arc2Face's pictures: test_synthesizer.)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("enroll_watched.py")


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Where a process would leave files without being told where."""
    made = {name: tmp_path / name for name in ("cwd", "temporary", "home")}
    for folder in made.values():
        folder.mkdir()
    return made


def _enroll(
    photo: bytes, repository: Path, folders: dict[str, Path], *arguments: str
) -> subprocess.CompletedProcess[bytes]:
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {
        "TMPDIR": str(folders["temporary"]),
        "HOME": str(folders["home"]),
        "XDG_CACHE_HOME": str(folders["home"]),
        "PYTHONPATH": str(root),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, str(SCRIPT), str(repository.resolve()), *arguments]
    return subprocess.run(
        command, input=photo, capture_output=True, check=False, cwd=folders["cwd"], env=environment, timeout=300
    )


def _files(folders: dict[str, Path]) -> list[Path]:
    return [path for folder in folders.values() for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("synthesizer", ["mesh", "elastic"])
def test_an_enrollment_writes_no_file_and_keeps_no_picture(
    synthesizer: str, astronaut_photo: bytes, model_repository: Path, folders: dict[str, Path]
) -> None:
    done = _enroll(astronaut_photo, model_repository, folders, synthesizer)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    seen: dict[str, Any] = json.loads(done.stdout)
    assert seen["level"] > 0
    assert (seen["opened"], seen["left"]) == ([], [])
    assert _files(folders) == []


def test_the_check_sees_what_is_written_and_what_is_kept(
    astronaut_photo: bytes, model_repository: Path, folders: dict[str, Path]
) -> None:
    by_python = _enroll(astronaut_photo, model_repository, folders, "elastic", "python")
    seen = json.loads(by_python.stdout)
    assert seen["opened"] == ["crop.bin"]
    assert "Portrait" in seen["left"]
    assert [path.name for path in _files(folders)] == ["crop.bin"]
    by_library = _enroll(astronaut_photo, model_repository, folders, "elastic", "library")
    assert by_library.returncode == -signal.SIGXFSZ
