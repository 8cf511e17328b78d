"""Checks of what is deployed that need nothing running; a part of `make check`.

python -m deploy.tools.check
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import kubernetes_validate

from deploy.tools import binaries, chart, lock, pages

ROOT = Path(__file__).resolve().parents[2]
# Custom resources: their schemas are their operators', not Kubernetes'. Tests look at these.
_CUSTOM_GROUPS = tuple({f"{api.partition('/')[0]}/" for api in chart.CUSTOM_APIS})


def main() -> None:
    """Prints every fault; exit code 1 where there is one."""
    faults = [*lock.disagreements(), *_dockerfiles(), *_chart(), *_compose(), *_pages()]
    for fault in faults:
        click.echo(fault, err=True)
    sys.exit(bool(faults))


def _dockerfiles() -> Iterator[str]:
    program = Path(sys.executable).parent / "hadolint"
    files = sorted(str(file) for file in lock.IMAGES.glob("*.Dockerfile"))
    done = subprocess.run(
        [str(program), "--no-color", "--config", str(lock.IMAGES / ".hadolint.yaml"), *files],
        capture_output=True, text=True,
    )  # fmt: skip
    yield from done.stdout.splitlines()


def _chart() -> Iterator[str]:
    for values_set in chart.VALUES_SETS:
        values = str(chart.VALUES / f"{values_set}.yaml")
        try:
            chart.run_helm("lint", "--strict", "--quiet", str(chart.CHART), "--values", values)
            for version in (chart.OLDEST, chart.NEWEST):
                yield from _manifests(values_set, version)
        except chart.ChartRefused as refused:
            yield f"values/{values_set}.yaml: {refused}"


def _manifests(values_set: str, version: str) -> Iterator[str]:
    for manifest in chart.render(values_set, kubernetes=version):
        if manifest["apiVersion"].startswith(_CUSTOM_GROUPS):
            continue
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            name = f"{manifest['kind']}/{manifest['metadata']['name']}"
            yield f"values/{values_set}.yaml on {version}: {name}: {list(error.path)}: {error.message}"


def _compose() -> Iterator[str]:
    command = [str(binaries.docker_compose()), "--project-directory", str(ROOT / "deploy" / "compose")]
    command += ["--env-file", str(ROOT / "deploy" / "compose" / "example.env"), "--profile", "*", "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        yield f"deploy/compose: {done.stderr.strip()}"


def _pages() -> Iterator[str]:
    for path in pages.PARTS:
        if pages.current(path) != path.read_text():
            yield f"{path.name} is behind the code: python -m deploy.tools.pages"


if __name__ == "__main__":
    main()
