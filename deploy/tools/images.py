"""Builds the images, with Docker or Podman, also where no base image can be pulled.

    python -m deploy.tools.images                        # apply, enroll for CPUs, models; bases are pulled
    python -m deploy.tools.images --bases debian         # bases made from Debian's packages: Podman, mmdebstrap, root
    python -m deploy.tools.images --image enroll-gpu

What this machine's pip and npm are set up with reaches the builds: index, certificate authority, a folder of wheels.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import yaml

from deploy.tools import base_images

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "deploy" / "images"
VERSION = str(yaml.safe_load((ROOT / "deploy" / "helm" / "facecloak" / "Chart.yaml").read_text())["appVersion"])


@dataclass(frozen=True)
class Image:
    """One image: its Dockerfile, the stage that it is, its tag, and its own build arguments."""

    dockerfile: str
    tag: str
    target: str = ""
    arguments: Mapping[str, str] | None = None


_CPU = f"facecloak-enroll:{VERSION}-cpu"
BUILDS = {
    "apply": Image("apply.Dockerfile", f"facecloak-apply:{VERSION}"),
    "enroll-cpu": Image("enroll.Dockerfile", _CPU, "cpu", {"TORCH": "cpu"}),
    "enroll-gpu": Image("enroll.Dockerfile", f"facecloak-enroll:{VERSION}-gpu", "gpu", {"TORCH": "cuda"}),
    "models": Image("models.Dockerfile", f"facecloak-models:{VERSION}", arguments={"ENROLL_IMAGE": _CPU}),
}
DEFAULT = ("apply", "enroll-cpu", "models")
# Variables that pip and npm read themselves, and that the Dockerfiles take as arguments of the same name.
_PASSED = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "NPM_CONFIG_REGISTRY")
_CA = "/run/secrets/ca"


@dataclass(frozen=True)
class Engine:
    """The command that builds and runs: docker, or podman with a storage of its own."""

    command: tuple[str, ...]
    build_options: tuple[str, ...] = ()

    @classmethod
    def docker(cls) -> Engine:
        """Docker as it is."""
        return cls(("docker",))

    @classmethod
    def podman(cls, storage: Path) -> Engine:
        """Podman with its images under ``storage``. Steps run in a chroot, without namespaces."""
        command = ["podman", "--root", str(storage / "images"), "--runroot", str(storage / "run")]
        command += ["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs"]
        command += ["--runtime", "runc"] if shutil.which("runc") else []
        return cls(tuple(command), ("--isolation", "chroot", "--network", "host", "--layers=false"))

    def has(self, name: str) -> bool:
        """Whether an image of that name is there."""
        return subprocess.run([*self.command, "image", "inspect", name], capture_output=True).returncode == 0

    def load(self, name: str, archive: Path) -> None:
        """A file system's tar as an image."""
        subprocess.run([*self.command, "import", "--quiet", str(archive), name], check=True, stdout=subprocess.DEVNULL)

    def build(self, image: Image) -> None:
        """Builds one image. Raises subprocess.CalledProcessError."""
        given, options = of_this_machine(os.environ, mounts=self.command[0] == "podman")
        given |= image.arguments or {}
        command = [*self.command, "build", *self.build_options, *options, "--file", str(IMAGES / image.dockerfile)]
        command += [word for name, value in given.items() for word in ("--build-arg", f"{name}={value}")]
        command += ["--tag", image.tag, *(["--target", image.target] if image.target else []), str(ROOT)]
        subprocess.run(command, check=True)


def of_this_machine(environment: Mapping[str, str], *, mounts: bool) -> tuple[dict[str, str], list[str]]:
    """Build arguments and options by which a build reaches the indexes that this machine's pip and npm reach.

    Args:
        mounts: whether the engine mounts folders into builds; then a folder of wheels comes along, too.
    """
    given = {name: environment[name] for name in _PASSED if environment.get(name)}
    options: list[str] = []
    if authority := environment.get("PIP_CERT") or environment.get("NODE_EXTRA_CA_CERTS"):
        options += ["--secret", f"id=ca,src={authority}"]
        given |= {"PIP_CERT": _CA, "CA_FILE": _CA}
    wheels = environment.get("PIP_FIND_LINKS", "")
    if mounts and wheels and Path(wheels).is_dir():
        options += ["--volume", f"{wheels}:{wheels}:ro"]
        given["PIP_FIND_LINKS"] = wheels
    return given, options


def bases_of(dockerfile: str) -> set[str]:
    """Names of the base images of a Dockerfile, as an engine calls them; not those that are built here."""
    text = (IMAGES / dockerfile).read_text()
    defaults = dict(re.findall(r"^ARG (\w+_IMAGE)=(\S+)", text, re.M))
    names = {defaults[name] for name in re.findall(r"^FROM \$\{(\w+)\}", text, re.M)}
    return {_full(name) for name in names if not name.startswith("facecloak-")}


def make_bases(engine: Engine, wanted: set[str]) -> None:
    """Makes those of the base images that are not there."""
    missing = {name for name in wanted if not engine.has(name)}
    with base_images.archives(missing) as made:
        for name, archive in made:
            engine.load(name, archive)
            click.echo(f"made {name} from Debian's packages")


def _full(name: str) -> str:
    return name if name.count("/") > 1 else f"docker.io/library/{name}"


def _chosen(engine: str, storage: Path) -> Engine:
    if engine == "docker" or (engine == "auto" and _answers("docker")):
        return Engine.docker()
    if shutil.which("podman"):
        return Engine.podman(storage)
    raise click.ClickException("needs Docker, with its daemon running, or Podman")


def _answers(program: str) -> bool:
    return bool(shutil.which(program)) and subprocess.run([program, "info"], capture_output=True).returncode == 0


@click.command()
@click.option("--image", "names", type=click.Choice(list(BUILDS)), multiple=True, default=DEFAULT, show_default=True)
@click.option("--engine", type=click.Choice(["auto", "docker", "podman"]), default="auto", show_default=True)
@click.option("--bases", type=click.Choice(["pull", "debian"]), default="pull", show_default=True)
@click.option(
    "--storage", type=click.Path(path_type=Path), default=ROOT / "out" / "podman", show_default="out/podman",
    help="Podman's images, several gigabytes.",
)  # fmt: skip
def main(*, names: Sequence[str], engine: str, bases: str, storage: Path) -> None:
    """Build the images."""
    chosen = Engine.podman(storage) if bases == "debian" else _chosen(engine, storage)
    builds = [build for name, build in BUILDS.items() if name in names]
    if bases == "debian":
        make_bases(chosen, set().union(*(bases_of(build.dockerfile) for build in builds)))
    for build in builds:
        chosen.build(build)
        click.echo(build.tag)


if __name__ == "__main__":
    main()
