"""Writes deploy/images/*.lock: every package of an image with version and hash, so that two builds agree.

    python -m deploy.tools.lock            # after a change of pyproject.toml or constraints.txt
    python -m deploy.tools.lock --check    # whether they agree with those two; quick, asks no index

Versions are those of constraints.txt; hashes are of the files for Linux on x86-64 and CPython 3.11. torch is not in a
lock: each variant of the enroll image takes another build of it, from another index, at the version of constraints.txt.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

import click

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "deploy" / "images"

# Lock -> the extras of the distribution that its image has.
EXTRAS = {"apply": ("otel",), "enroll": ("diffusion", "enroll", "otel", "triton")}
# The GPU variant's engine, in place of onnxruntime.
GPU_ENGINE = "onnxruntime-gpu"
_NOT_LOCKED = frozenset({"facecloak", "torch"})
_HEADER = "# Written by python -m deploy.tools.lock; edits here are lost.\n"


def canonical(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(text: str) -> dict[str, str]:
    """Name -> version of every ``name==version`` line."""
    return {canonical(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.M)}


def build_requirements() -> list[str]:
    """What building the distribution takes, as pyproject.toml has it."""
    return list(tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"])


def direct_requirements(name: str) -> set[str]:
    """Names of the packages that the image of that lock asks for itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for extra in EXTRAS[name]:
        lines += project["optional-dependencies"][extra]
    return {canonical(re.split(r"[\s\[<>=!~;]", line, maxsplit=1)[0]) for line in lines} - _NOT_LOCKED


def disagreements() -> list[str]:
    """What in the locks does not fit pyproject.toml and constraints.txt; empty when all does."""
    constraints = pinned((ROOT / "constraints.txt").read_text())
    wrong = []
    for name in EXTRAS:
        locked = pinned((IMAGES / f"{name}.lock").read_text())
        wrong += [f"{name}.lock lacks {missing}" for missing in sorted(direct_requirements(name) - set(locked))]
        wrong += [
            f"{name}.lock has {package} {version}, constraints.txt has {constraints.get(package)}"
            for package, version in locked.items()
            if constraints.get(package, version) != version
        ]
    wanted = {**pinned("\n".join(build_requirements()))}
    locked = pinned((IMAGES / "build.lock").read_text())
    wrong += [f"build.lock lacks {name}=={version}" for name, version in wanted.items() if locked.get(name) != version]
    return wrong


def resolve(requirements: list[str], *, deps: bool = True) -> list[tuple[str, str, str]]:
    """(name, version, sha256) of all packages that pip would install, sorted; facecloak and torch left out."""
    with TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["-c", str(ROOT / "constraints.txt"), "--report", str(report), *([] if deps else ["--no-deps"])]
        subprocess.run([*command, *requirements], check=True, cwd=ROOT)
        found = json.loads(report.read_text())["install"]
    rows = []
    for entry in found:
        name = canonical(entry["metadata"]["name"])
        if name not in _NOT_LOCKED:
            rows.append(
                (name, entry["metadata"]["version"], entry["download_info"]["archive_info"]["hashes"]["sha256"])
            )
    return sorted(rows)


def write(name: str, rows: list[tuple[str, str, str]]) -> None:
    """Writes one lock."""
    lines = [f"{package}=={version} --hash=sha256:{digest}\n" for package, version, digest in rows]
    (IMAGES / f"{name}.lock").write_text(_HEADER + "".join(lines))


@click.command()
@click.option("--check", is_flag=True, help="Only say whether the locks agree with pyproject.toml and constraints.txt.")
def main(*, check: bool) -> None:
    """Write the images' locks."""
    if not check:
        for name, extras in EXTRAS.items():
            write(name, resolve([f".[{','.join(extras)}]"]))
        write("gpu", resolve([GPU_ENGINE], deps=False))
        write("build", resolve(build_requirements()))
    for line in (wrong := disagreements()):
        click.echo(line, err=True)
    if wrong:
        click.echo("renew them: python -m deploy.tools.lock", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
