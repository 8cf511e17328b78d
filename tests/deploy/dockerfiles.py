"""Dockerfiles as a list of instructions, and carrying a stage's steps out in a folder instead of a container."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "deploy" / "images"


@dataclass(frozen=True)
class Instruction:
    """One instruction, its lines joined, of the stage that it belongs to."""

    stage: str
    word: str
    value: str


def parse(path: Path) -> list[Instruction]:
    """All instructions; a stage is called by its AS name, the last one's lack of one by ""."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.M)
    stage, found = "", []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        word, _, value = line.strip().partition(" ")
        if word == "FROM":
            named = re.search(r" AS (\S+)$", value)
            stage = named[1] if named else ""
        if word:
            found.append(Instruction(stage, word, value))
    return found


class Build:
    """Carries out stages: /src, where the context is copied to, and /opt/facecloak become folders of ``folder``."""

    def __init__(self, folder: Path, *, python: Path, arguments: Mapping[str, str] | None = None) -> None:
        self._arguments = dict(arguments or {})
        # Developers' machines may lack the compiler that the images bring; the package is then built without its codec.
        if shutil.which("cargo") or (Path.home() / ".cargo" / "bin" / "cargo").exists():
            self._arguments["FACECLOAK_CODEC"] = "required"
        self.src, self.opt = folder / "src", folder / "opt"
        self.src.mkdir(parents=True)
        self._path = [str(python.parent), os.environ["PATH"]]

    def run(self, instructions: list[Instruction], stage: str) -> None:
        for one in (one for one in instructions if one.stage == stage):
            if one.word == "COPY" and "--from" not in one.value:
                self._copy(one.value.split())
            if one.word == "ENV" and one.value.startswith("PATH=/opt/facecloak"):
                self._path.insert(0, str(self.opt / "bin"))
            if one.word == "RUN":
                command = re.sub(r"--mount=\S+ ", "", one.value)
                self._execute(command.replace("/opt/facecloak", str(self.opt)))

    def _execute(self, command: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
        environment |= self._arguments
        environment["PATH"] = ":".join(self._path)
        # What a test need not wait for: the images do compile, or say themselves that they do not.
        environment["PIP_NO_COMPILE"] = "1"
        done = subprocess.run(
            ["sh", "-c", command], cwd=self.src, env=environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"

    def _copy(self, words: list[str]) -> None:
        *sources, target = words
        for source in sources:
            place = self.src / target / Path(source).name if target.endswith("/") else self.src / target
            place.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                skip = shutil.ignore_patterns("__pycache__", "*_pb2*", "_splice*.so", "target")
                shutil.copytree(ROOT / source, place, ignore=skip)
            else:
                shutil.copy(ROOT / source, place)


def megabytes(folder: Path) -> float:
    """Size of all files, MB of 10^6 bytes."""
    files = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return sum(file.stat().st_size for file in files) / 1e6
