"""The wheel that users install: one a platform, by `make wheels`; used without Rust, by every Python here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from deploy.tools import wheels

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# What an installed wheel does without models: the codec changes a photo, the services read their settings.
USE = """
import numpy as np, simplejpeg
import facecloak
from facecloak.native_library import compiled_library
from facecloak.photos.native_splice import NativeScan

assert "site-packages" in facecloak.__file__, facecloak.__file__
assert compiled_library() is not None
quarters = np.kron(np.array([[40, 200], [90, 150]], np.uint8), np.ones((64, 64), np.uint8))
levels = np.repeat(quarters[..., None], 3, axis=2)
photo = simplejpeg.encode_jpeg(np.ascontiguousarray(levels), quality=95, colorspace="RGB", colorsubsampling="444")
luma = NativeScan(photo).decode(left=0, top=0, across=16, down=16, points=8)[0]
assert abs(luma.astype(int) - levels[..., 0]).max() <= 3, abs(luma.astype(int) - levels[..., 0]).max()
"""


def test_the_classifiers_name_what_is_tried() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert tuple(re.findall(r"Programming Language :: Python :: (3\.\d+)", text)) == PYTHONS


def test_a_platform_that_rust_lacks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "has_target", lambda machine, **compiler: False)
    monkeypatch.setattr(wheels, "build_client", lambda output: output / "client.whl")
    asked = CliRunner().invoke(wheels.main, ["--output", str(tmp_path), "--platform", "aarch64"])
    assert asked.exit_code == 1
    assert "rustup target add aarch64-unknown-linux-gnu" in asked.output
    every = CliRunner().invoke(wheels.main, ["--output", str(tmp_path)])
    # No wheel at all must not look like success.
    assert every.exit_code == 1
    assert every.output.count("left out") == len(wheels.PLATFORMS)


def test_debians_compiler_is_unpacked_once_and_used_where_rust_lacks_a_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked: list[list[str]] = []

    def unpack(command: list[str], **options: object) -> None:
        unpacked.append(command)
        program = Path(command[-1], "usr/bin/rustc")
        program.parent.mkdir(parents=True)
        program.write_text('#!/bin/sh\necho "$LD_LIBRARY_PATH" "$@"\n')
        program.chmod(0o755)

    built: dict[str, str] = {}
    monkeypatch.setattr(wheels, "ROOT", tmp_path)
    monkeypatch.setattr(
        wheels, "has_target", lambda machine, compiler="rustc": machine == "x86_64" or compiler != "rustc"
    )
    monkeypatch.setattr(wheels, "build", lambda machine, output, compiler: built.setdefault(machine, compiler))
    monkeypatch.setattr(wheels, "build_client", lambda output: output / "client.whl")
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", unpack)
        for _ in range(2):
            done = CliRunner().invoke(wheels.main, ["--output", str(tmp_path), "--rust", "debian"])
            assert done.exit_code == 0, done.output
    assert len(unpacked) == 1
    assert "--include=rustc-web,libstd-rust-web-dev:arm64" in unpacked[0]
    assert built == {"x86_64": "rustc", "aarch64": str(tmp_path / "out/rust/rustc")}
    said = subprocess.run([built["aarch64"], "--version"], capture_output=True, text=True, check=True).stdout
    root = tmp_path / "out/rust/root"
    assert said.split() == [f"{root}/usr/lib/x86_64-linux-gnu", "--sysroot", f"{root}/usr", "--version"]


def _compiler_for(machine: str) -> str:
    """A compiler that has the machine's library: this machine's, or the one that `make wheels RUST=debian` unpacked."""
    for compiler in ("rustc", str(ROOT / "out/rust/rustc")):
        if shutil.which(compiler) and wheels.has_target(machine, compiler=compiler):
            return compiler
    pytest.skip(f"needs a Rust compiler for {machine}")


def _require_tools() -> None:
    missing = [name for name in ("auditwheel", "ziglang") if find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: `make wheels` brings them")


@pytest.mark.slow
def test_a_wheel_for_another_architecture_holds_its_code(tmp_path: Path) -> None:
    _require_tools()
    made = wheels.build("aarch64", tmp_path, compiler=_compiler_for("aarch64"))
    assert re.fullmatch(r"facecloak-[\d.]+-py3-none-(manylinux[\w]+_aarch64\.?)+\.whl", made.name)
    assert wheels.tag_of("aarch64") in made.name
    with zipfile.ZipFile(made) as content:
        codec = content.read("facecloak/photos/_splice.so")
        (metadata,) = [name for name in content.namelist() if name.endswith(".dist-info/WHEEL")]
        assert f"Tag: py3-none-{wheels.tag_of('aarch64')}" in content.read(metadata).decode().splitlines()
    # ELF's header: 64 bits, little-endian, and EM_AARCH64 = 183 at byte 18.
    assert (codec[:6], int.from_bytes(codec[18:20], "little")) == (b"\x7fELF\x02\x01", 183)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not wheels.has_target("x86_64"):
        pytest.skip("needs a Rust compiler")
    _require_tools()
    return wheels.build("x86_64", tmp_path_factory.mktemp("dist"))


@pytest.mark.slow
def test_it_is_for_a_platform_and_for_every_python(wheel: Path, tmp_path: Path) -> None:
    assert re.fullmatch(r"facecloak-[\d.]+-py3-none-(manylinux[\w]+_x86_64\.?)+\.whl", wheel.name)
    assert wheels.tag_of("x86_64") in wheel.name
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
        codec = Path(content.extract("facecloak/photos/_splice.so", tmp_path))
    assert {"facecloak/v1/apply_pb2.py", "facecloak/py.typed", "facecloak/faces/face_shape.safetensors"} <= names
    assert not [name for name in names if name.startswith(("tests/", "deploy/", "demo/", "benchmarks/"))]
    symbols = subprocess.run(["objdump", "-T", str(codec)], capture_output=True, text=True, check=True).stdout
    wanted = {tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_(\d+\.\d+)", symbols)}
    assert (2, 2) < max(wanted) <= (2, 17)


@pytest.mark.slow
def test_the_client_has_a_wheel_of_its_own(tmp_path: Path) -> None:
    client = wheels.build_client(tmp_path)
    assert re.fullmatch(r"facecloak_client-[\d.]+-py3-none-any\.whl", client.name)
    with zipfile.ZipFile(client) as content:
        names = set(content.namelist())
    assert {"facecloak_client/client.py", "facecloak/v1/apply_pb2.py"} <= names
    assert not [name for name in names if name.startswith(("facecloak/photos", "facecloak_rpc", "apply_service"))]


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS)
def test_it_serves_without_rust(wheel: Path, version: str, tmp_path: Path) -> None:
    python = shutil.which(f"python{version}")
    if python is None:
        pytest.skip(f"no python{version} here")
    made = subprocess.run([python, "-m", "venv", str(tmp_path / "venv")], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    binaries = tmp_path / "venv" / "bin"
    # Neither cargo nor a compiler, nor this repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    environment["PATH"] = str(binaries)
    assert shutil.which("cargo", path=environment["PATH"]) is None
    install = [str(binaries / "python"), "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
    for command in (
        [*install, "-c", str(ROOT / "constraints.txt"), str(wheel)],
        [str(binaries / "python"), "-m", "pip", "check"],
        [str(binaries / "python"), "-c", USE],
        [str(binaries / "facecloak"), "--help"],
        [str(binaries / "python"), "-m", "apply_service", "--print-config"],
    ):
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, (command, done.stdout[-500:], done.stderr[-1500:])
