"""Writes deploy/images/*.lock: every package of an image with version and hash, so that two builds agree.

    python -m deploy.tools.lock            # after a change of pyproject.toml or constraints.txt
    python -m deploy.tools.lock --check    # whether they agree with those two; quick, asks no index

Versions are those of constraints.txt; hashes are of the files for Linux on x86-64 and on aarch64, and CPython 3.11.
torch has locks of its own, of which each variant of the enroll image takes one: torch-cuda.lock, for x86-64, PyPI's
build with the CUDA libraries that it asks for; torch-cpu.lock, for x86-64 the build that this machine's pip finds
(set it up with PyTorch's index of CPU builds), for aarch64 PyPI's.
"""

from __future__ import annotations

import json
import os
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
# With which torch comes is the image's choice, and a file of its own.
TORCH = ("torch-cpu", "torch-cuda")
LOCKS = (*EXTRAS, *TORCH, "gpu", "build")
_NOT_LOCKED = frozenset({"facecloak", "torch"})
_CUDA = re.compile(r"^(nvidia-|cuda-|triton$)")
# Debian 12's glibc is 2.36.
_AARCH64 = ("linux_aarch64", "manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, 37)))

Row = tuple[str, str, tuple[str, ...]]
"""Name, version, and the sha256 of each platform's file."""
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
    for name in LOCKS:
        wrong += [
            f"{name}.lock has {package} {version}, constraints.txt has {constraints.get(package)}"
            for package, version in pinned((IMAGES / f"{name}.lock").read_text()).items()
            if constraints.get(package, version) != version
        ]
    wrong += [
        f"{name}.lock lacks torch" for name in TORCH if "torch" not in pinned((IMAGES / f"{name}.lock").read_text())
    ]
    wanted = {**pinned("\n".join(build_requirements()))}
    locked = pinned((IMAGES / "build.lock").read_text())
    wrong += [f"build.lock lacks {name}=={version}" for name, version in wanted.items() if locked.get(name) != version]
    return wrong


def resolve(requirements: list[str], *options: str, pypi_only: bool = False) -> list[Row]:
    """All packages that pip would install for them, sorted; facecloak itself left out.

    Args:
        options: more of pip's.
        pypi_only: leave out where else this machine's pip looks.
    """
    with TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", *options]
        command += ["-c", str(ROOT / "constraints.txt"), "--report", str(report)]
        elsewhere = (
            {"PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": "", "PIP_CONFIG_FILE": os.devnull} if pypi_only else {}
        )
        subprocess.run([*command, *requirements], check=True, cwd=ROOT, env={**os.environ, **elsewhere})
        found = json.loads(report.read_text())["install"]
    rows = []
    for entry in found:
        name, version = canonical(entry["metadata"]["name"]), entry["metadata"]["version"]
        if name != "facecloak":
            # torch's builds differ in their local version, which is no part of what is asked for.
            digest = entry["download_info"]["archive_info"]["hashes"]["sha256"]
            rows.append((name, version.partition("+")[0], (digest,)))
    return sorted(rows)


def with_aarch64(rows: list[Row]) -> list[Row]:
    """The same with the hashes of the files that aarch64 takes: wheels, or the source where there is no wheel."""
    pins = [f"{name}=={version}" for name, version, _ in rows]
    platforms = [word for platform in _AARCH64 for word in ("--platform", platform)]
    python = ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "abi3", "--abi", "none"]
    with TemporaryDirectory() as folder:
        found = resolve(pins, "--no-deps", *platforms, *python, "--target", folder, pypi_only=True)
    others = {name: digests for name, _, digests in found}
    return [(name, version, tuple(dict.fromkeys((*digests, *others[name])))) for name, version, digests in rows]


def write(name: str, rows: list[Row]) -> None:
    """Writes one lock."""
    lines = [
        " ".join([f"{package}=={version}", *(f"--hash=sha256:{digest}" for digest in digests)]) + "\n"
        for package, version, digests in rows
    ]
    (IMAGES / f"{name}.lock").write_text(_HEADER + "".join(lines))


def write_all() -> None:
    """Writes every lock; takes minutes, and asks the index for metadata alone."""
    for name, extras in EXTRAS.items():
        rows = resolve([f".[{','.join(extras)}]"])
        write(name, with_aarch64([row for row in rows if row[0] not in _NOT_LOCKED and not _CUDA.match(row[0])]))
    present = pinned((IMAGES / "enroll.lock").read_text())
    write("torch-cpu", with_aarch64(resolve(["torch"], "--no-deps")))
    write("torch-cuda", [row for row in resolve(["torch"], pypi_only=True) if row[0] not in present])
    write("gpu", resolve([GPU_ENGINE], "--no-deps"))
    write("build", with_aarch64(resolve(build_requirements())))


@click.command()
@click.option("--check", is_flag=True, help="Only say whether the locks agree with pyproject.toml and constraints.txt.")
def main(*, check: bool) -> None:
    """Write the images' locks."""
    if not check:
        write_all()
    for line in (wrong := disagreements()):
        click.echo(line, err=True)
    if wrong:
        click.echo("renew them: python -m deploy.tools.lock", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
