"""The client as a distribution: built, installed into an empty environment, and used as the README shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import facecloak
import facecloak_client
from apply_service.server import build_apply_server
from apply_service.settings import ApplySettings
from enroll_service.server import build_enroll_server
from enroll_service.settings import EnrollSettings
from facecloak_rpc.storage import StoreSettings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "tests/recipes/quick.toml"
TYPED = """
from typing import assert_type

from facecloak.v1 import apply_pb2, enroll_pb2
from facecloak_client import AsyncFaceCloakClient, FaceCloakClient, apply_request, errors, subject


def use(client: FaceCloakClient, photo: bytes) -> None:
    enrollment = client.enroll("alice", photo)
    assert_type([event.fraction for event in enrollment], list[float])
    assert_type(enrollment.result(), enroll_pb2.Enrollment)
    assert_type(client.apply(photo, ["alice", subject("bob")]), apply_pb2.ApplyCloakResponse)
    for answer in client.apply_stream([(7, apply_request(photo, "alice"))]):
        assert_type(answer.key, int)
        assert_type(answer.photo, bytes)


async def use_asyncio(client: AsyncFaceCloakClient, photo: bytes) -> None:
    try:
        assert_type((await client.apply(photo, "alice")).photo, bytes)
    except errors.SeveralFaces as error:
        assert_type(error.faces[0].score, float)
"""


def run(*command: str | Path, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT / "client", cwd=folder)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    python = folder / "bin/python"
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel, cwd=folder)
    return python


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory, model_repository: Path) -> Iterator[dict[str, str]]:
    store = StoreSettings(data=tmp_path_factory.mktemp("data"))
    common: dict[str, Any] = {"port": 0, "model_repository": model_repository, "store": store}
    enroll = build_enroll_server(EnrollSettings(surrogates=("mobileface",), recipe=RECIPE, threads=1, **common))
    apply = build_apply_server(ApplySettings(**common))
    for server in (enroll, apply):
        server.start()
        assert server.readiness.wait_ready(120)
    yield {"127.0.0.1:50061": enroll.target, "127.0.0.1:50062": apply.target}
    for server in (enroll, apply):
        server.stop(grace_seconds=0)


def test_wheel_holds_the_client_and_the_messages_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.name == f"facecloak_client-{facecloak.__version__}-py3-none-any.whl"
    assert facecloak_client.__version__ == facecloak.__version__
    folders = {name.rpartition("/")[0] for name in names}
    assert folders == {"facecloak_client", "facecloak/v1", wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"}
    for name in ("common_pb2.py", "apply_pb2.pyi", "enroll_pb2_grpc.py", "py.typed"):
        assert f"facecloak/v1/{name}" in names
    assert {Path(name).name for name in names if name.startswith("facecloak_client/")} == {
        path.name for path in (ROOT / "facecloak_client").iterdir() if path.is_file()
    }


def test_nothing_heavy_is_installed(python: Path, tmp_path: Path) -> None:
    listed = json.loads(run(python, "-m", "pip", "list", "--format", "json", cwd=tmp_path).stdout)
    names = {entry["name"].replace("_", "-") for entry in listed} - {"pip", "setuptools"}
    assert names == {"facecloak-client", "googleapis-common-protos", "grpcio", "protobuf", "typing-extensions"}


def test_the_readme_cloaks_an_upload_in_twelve_lines(
    python: Path, targets: dict[str, str], tmp_path: Path, astronaut_photo: bytes
) -> None:
    text = (ROOT / "README.md").read_text()
    (program,) = re.findall(r"^```python\n(from facecloak_client.*?)^```$", text, flags=re.M | re.S)
    assert len([line for line in program.splitlines() if line]) <= 12
    for printed, real in targets.items():
        assert printed in program
        program = program.replace(printed, real)
    (tmp_path / "upload.py").write_text(program)
    for name in ("portrait.jpg", "party.jpg"):
        (tmp_path / name).write_bytes(astronaut_photo)
    done = run(python, "upload.py", cwd=tmp_path)
    assert re.search(r"^ *\d+% ", done.stdout, flags=re.M)
    assert re.search(r"^mask [0-9a-f]{32}$", done.stdout, flags=re.M)
    cloaked = (tmp_path / "cloaked.jpg").read_bytes()
    assert cloaked.startswith(b"\xff\xd8")
    assert cloaked != astronaut_photo
    # What is not cloaked is held back, and says why.
    (tmp_path / "party.jpg").write_bytes(_without_faces())
    (tmp_path / "cloaked.jpg").unlink()
    done = run(python, "upload.py", cwd=tmp_path)
    assert "held back: [" in done.stdout
    assert not (tmp_path / "cloaked.jpg").exists()


def test_types_are_shipped(python: Path, tmp_path: Path) -> None:
    (tmp_path / "typed.py").write_text(TYPED)
    mypy = (sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", "--python-executable", python)
    done = run(*mypy, "typed.py", cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout
    (tmp_path / "wrong.py").write_text(TYPED.replace('"alice", photo)', "7, photo)"))
    assert run(*mypy, "wrong.py", cwd=tmp_path, check=False).returncode == 1


def test_the_client_itself_is_strictly_typed(tmp_path: Path) -> None:
    # Not by the project's settings, which are less strict. The messages of google.rpc come without types.
    # What it imports is looked at as an installed package is: its types count, its own faults do not.
    settings = ["[mypy]", "strict = True", "follow_imports = silent", "follow_imports_for_stubs = True"]
    settings += ["[mypy-google.rpc.*]", "ignore_missing_imports = True"]
    (tmp_path / "mypy.ini").write_text("\n".join(settings))
    command = (sys.executable, "-m", "mypy", "--config-file", tmp_path / "mypy.ini", "--cache-dir", tmp_path / "cache")
    done = run(*command, "-p", "facecloak_client", cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout


def _without_faces() -> bytes:
    import numpy as np
    import simplejpeg

    return simplejpeg.encode_jpeg(np.full((400, 400, 3), 90, np.uint8), colorspace="RGB")
