"""What each image is made of, as CycloneDX: every Python package that is in it, from the locks that it is built of.

python -m deploy.tools.sbom --output out/sbom
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from deploy.tools.lock import IMAGES, pinned

ROOT = Path(__file__).resolve().parents[2]
CONTENTS: dict[str, tuple[str, ...]] = {
    "apply": ("apply",),
    "enroll-cpu": ("enroll", "torch-cpu", "build"),
    "enroll-gpu": ("enroll", "torch-cuda", "gpu", "build"),
}
"""Image -> the locks whose packages are in it. apply's build tools stay behind in a stage; enroll's come along."""


def requirements_of(image: str) -> str:
    """The lines of an image's locks, each package once, as a requirements file."""
    lines: dict[str, str] = {}
    for lock in CONTENTS[image]:
        for line in (IMAGES / f"{lock}.lock").read_text().splitlines():
            if not line.startswith("#"):
                lines.setdefault(line.partition("==")[0], line)
    if "gpu" in CONTENTS[image]:
        # The GPU's engine comes in its place.
        lines.pop("onnxruntime")
    return "".join(f"{line}\n" for _, line in sorted(lines.items()))


def packages_of(image: str) -> dict[str, str]:
    """Name -> version of every package in an image."""
    return pinned(requirements_of(image))


def write(image: str, file: Path) -> None:
    """Writes one image's bill of materials."""
    with TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(requirements_of(image))
        command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", "--output-reproducible"]
        command += ["--pyproject", str(ROOT / "pyproject.toml"), "--output-file", str(file), str(requirements)]
        subprocess.run(command, check=True)


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=ROOT / "out" / "sbom", show_default="out/sbom")
def main(*, output: Path) -> None:
    """Write the bills of materials."""
    output.mkdir(parents=True, exist_ok=True)
    for image in CONTENTS:
        write(image, output / f"{image}.cdx.json")
        click.echo(output / f"{image}.cdx.json")


if __name__ == "__main__":
    main()
