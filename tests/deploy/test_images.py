"""The images: linted, built from the locks, and their install steps carried out where no Docker engine runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from deploy.tools.lock import canonical, disagreements
from deploy.tools.sbom import CONTENTS, packages_of
from deploy.tools.sbom import write as write_bill
from tests.deploy.dockerfiles import IMAGES, ROOT, Build, Instruction, megabytes, parse

DOCKERFILES = sorted(IMAGES.glob("*.Dockerfile"))
EACH = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
LIMIT_MB = 400
# Room left for gcr.io/distroless/python3-debian12, unpacked (Debian's Python 3.11, glibc, libstdc++, certificates): no
# machine that runs this test can pull it, so its size is its publisher's and not measured here.
BASE_MB = 55
# Whatever a compiled module may need from outside the wheels; the base image has these and no more.
SYSTEM_LIBRARIES = {
    "ld-linux-x86-64.so.2", "libc.so.6", "libdl.so.2", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0", "librt.so.1",
    "libstdc++.so.6", "libz.so.1",
}  # fmt: skip


def last_stage(instructions: list[Instruction]) -> list[Instruction]:
    starts = [index for index, one in enumerate(instructions) if one.word == "FROM"]
    return instructions[starts[-1] :]


def test_there_is_something_to_test() -> None:
    assert [path.stem for path in DOCKERFILES] == ["apply", "enroll", "models"]


def test_locks_agree_with_what_the_project_asks_for() -> None:
    assert disagreements() == []


@EACH
def test_hadolint_finds_nothing(path: Path) -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    command = [str(hadolint), "--config", str(IMAGES / ".hadolint.yaml"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


@EACH
def test_what_is_copied_is_there_and_sent(path: Path) -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for one in parse(path):
        if one.word != "COPY" or "--from" in one.value:
            continue
        for source in one.value.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert any(source == root or source.startswith(f"{root}/") for root in sent), source


@pytest.mark.parametrize("name", ["apply", "enroll"])
def test_every_package_of_the_distribution_is_copied(name: str) -> None:
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {path.parent.name for pattern in found for path in ROOT.glob(f"{pattern}/__init__.py")}
    assert {"facecloak", "facecloak_rpc", "apply_service"} <= packages
    copied = {one.value.split()[0] for one in parse(IMAGES / f"{name}.Dockerfile") if one.word == "COPY"}
    assert packages <= copied


@EACH
def test_everything_is_installed_by_a_lock(path: Path) -> None:
    for one in parse(path):
        for command in re.split(r"&&|;", one.value) if one.word == "RUN" else ():
            if "pip install" not in command:
                continue
            locked = "--require-hashes" in command and re.search(
                r'-r "?deploy/images/[\w${}-]+\.lock"?$', command.strip()
            )
            itself = {"--no-deps", "--no-build-isolation", "--no-index"} <= set(command.split())
            assert locked or (itself and command.strip().endswith(" .")), command


@EACH
def test_images_run_as_nobody_and_name_their_base(path: Path) -> None:
    instructions = parse(path)
    users = [one.value for one in instructions if one.word == "USER"]
    assert users == ["65532:65532"]
    bases = [one.value.partition("=")[2] for one in instructions if one.word == "ARG" and "IMAGE=" in one.value]
    assert bases
    assert all(":" in base and not base.endswith(":latest") for base in bases)
    entry = [one.value for one in instructions if one.word == "ENTRYPOINT"]
    assert len(entry) == 1
    assert entry[0].startswith("[")


@pytest.mark.parametrize("image", list(CONTENTS))
def test_the_bill_of_materials_names_all_that_is_in_an_image(image: str, tmp_path: Path) -> None:
    bill = tmp_path / "bill.json"
    write_bill(image, bill)
    components = json.loads(bill.read_text())["components"]
    assert {canonical(one["name"]): one["version"] for one in components} == packages_of(image)
    assert all(one["externalReferences"][0]["hashes"] for one in components)
    names = set(packages_of(image))
    assert ("torch" in names) is image.startswith("enroll")
    assert ("onnxruntime" in names) is (image != "enroll-gpu")
    assert ("onnxruntime-gpu" in names) is (image == "enroll-gpu")
    assert any(name.startswith("nvidia-") for name in names) is (image == "enroll-gpu")


def test_every_package_is_locked_for_both_machines() -> None:
    for name in ("apply", "enroll", "torch-cpu", "build"):
        for line in (IMAGES / f"{name}.lock").read_text().splitlines()[1:]:
            digests = re.findall(r"--hash=sha256:([0-9a-f]{64})", line)
            assert digests, line
            # One file for all machines, or one for each.
            assert len(digests) == len(set(digests)) <= 2, line
        compiled = [line for line in (IMAGES / f"{name}.lock").read_text().splitlines() if line.count("--hash") == 2]
        assert compiled, name


@pytest.fixture(scope="module")
def empty_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the pip of an image."""
    folder = tmp_path_factory.mktemp("python")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder / "bin" / "python"


@pytest.mark.slow
def test_the_apply_image_is_small_and_serves(
    tmp_path: Path, empty_python: Path, model_repository: Path, astronaut_photo: bytes
) -> None:
    build = Build(tmp_path, python=empty_python)
    build.run(parse(IMAGES / "apply.Dockerfile"), "build")
    assert megabytes(build.opt) < LIMIT_MB - BASE_MB
    assert not [name for name in ("torch", "onnx", "tritonclient", "pip") if (build.opt / name).exists()]
    assert foreign_libraries(build.opt) <= SYSTEM_LIBRARIES
    # As the image runs it: the system's Python, which has nothing installed, and the folder.
    environment = {
        "PYTHONPATH": str(build.opt), "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": os.environ["PATH"], "FACECLOAK_MODEL_REPOSITORY": str(model_repository),
    }  # fmt: skip
    python = [getattr(sys, "_base_executable", sys.executable), "-S"]
    serve = [*python, "-m", "apply_service", "--port", "0", "--data", str(tmp_path / "data")]
    with subprocess.Popen(serve, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            target = ""
            deadline = time.monotonic() + 60
            assert process.stderr is not None
            for line in process.stderr:
                event = json.loads(line)
                target = event.get("target", target)
                if event["event"] == "ready":
                    break
                assert time.monotonic() < deadline
            photo, cloaked = tmp_path / "in.jpg", tmp_path / "out.jpg"
            photo.write_bytes(astronaut_photo)
            apply = [*python, "-m", "facecloak.cli", "apply", "--user", "nobody", str(photo), "-o", str(cloaked)]
            done = subprocess.run(
                [*apply, "--target", target, "--allow-uncloaked"], env=environment, capture_output=True, text=True
            )
            assert "NO_MASK" in done.stderr
            assert cloaked.read_bytes() == astronaut_photo
        finally:
            process.terminate()


def foreign_libraries(folder: Path) -> set[str]:
    """Libraries that the folder's own need and none of its own is."""
    own = {file.name for file in folder.rglob("*.so*")}
    needed: set[str] = set()
    for file in folder.rglob("*.so*"):
        done = subprocess.run(["objdump", "-p", str(file)], capture_output=True, text=True)
        needed |= set(re.findall(r"NEEDED\s+(\S+)", done.stdout))
    return needed - own


@pytest.mark.slow
def test_the_enroll_images_install(tmp_path: Path, empty_python: Path) -> None:
    instructions = parse(IMAGES / "enroll.Dockerfile")
    # pip takes the CPU build of torch where it is set up with one, and then that build's lock is the one that fits.
    build = Build(tmp_path, python=empty_python, arguments={"TORCH": "cpu"})
    build.run(instructions, "build")
    python = str(build.opt / "bin" / "python")
    done = subprocess.run([python, "-m", "enroll_service", "--print-config"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "FACECLOAK_ENROLL_STRENGTH" in done.stdout
    versions = "import torch, tritonclient, opentelemetry.sdk; print(torch.__version__)"
    done = subprocess.run([python, "-c", versions], capture_output=True, text=True)
    assert done.stdout.startswith("2."), done.stderr
    build.run(instructions, "build-gpu")
    engines = "import onnxruntime; print(onnxruntime.get_available_providers())"
    done = subprocess.run([python, "-c", engines], capture_output=True, text=True)
    assert "CUDAExecutionProvider" in done.stdout, done.stderr
