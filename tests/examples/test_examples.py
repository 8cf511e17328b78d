"""The examples, as they stand, against real services."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from apply_service.server import build_apply_server
from apply_service.settings import ApplySettings
from enroll_service.server import build_enroll_server
from enroll_service.settings import EnrollSettings
from facecloak.masks.mask import Mask
from facecloak.users import DEFAULT_TENANT, User
from facecloak_client import FaceCloakClient
from facecloak_rpc.storage import StoreSettings, open_configured_store

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, model_repository: Path) -> dict[str, Any]:
    store = StoreSettings(data=tmp_path_factory.mktemp("data"))
    pixels = np.random.default_rng(1).integers(-12, 13, (112, 112, 3)).astype(np.int8)
    open_configured_store(store).put(User(DEFAULT_TENANT, "alice"), Mask.new(pixels, seed=1))
    return {"port": 0, "model_repository": model_repository, "store": store}


@pytest.fixture(scope="module")
def apply_target(settings: dict[str, Any]) -> Iterator[str]:
    server = build_apply_server(ApplySettings(**settings))
    server.start()
    assert server.readiness.wait_ready(60)
    yield server.target
    server.stop(grace_seconds=0)


def _gray() -> bytes:
    return simplejpeg.encode_jpeg(np.full((400, 400, 3), 90, np.uint8), colorspace="RGB")


def test_http_upload(apply_target: str, astronaut_photo: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    import http_upload  # type: ignore[import-not-found]

    with FaceCloakClient(apply=apply_target) as client, http_upload.serve(client, port=0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:

            def post(path: str, body: bytes) -> tuple[int, bytes]:
                connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
                connection.request("POST", path, body)
                answer = connection.getresponse()
                return answer.status, answer.read()

            status, photo = post("/upload?user=alice", astronaut_photo)
            assert status == 200
            assert photo.startswith(b"\xff\xd8")
            assert photo != astronaut_photo
            status, body = post("/upload?user=alice", _gray())
            assert (status, json.loads(body)["error"]) == (422, "NO_FACE")
            status, body = post("/upload?user=bob", astronaut_photo)
            assert (status, json.loads(body)["error"]) == (422, "NO_MASK")
            status, body = post("/upload?user=alice", b"no photo")
            assert (status, json.loads(body)["error"]) == (422, "UNSUPPORTED_PHOTO")
            assert post("/upload", astronaut_photo)[0] == 404
        finally:
            server.shutdown()
            thread.join()


def test_http_upload_holds_photos_while_the_service_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    import http_upload

    from facecloak_client import Retries

    with (
        FaceCloakClient(apply="127.0.0.1:1", retries=Retries(attempts=1), health_checks=False) as client,
        http_upload.serve(client, port=0) as server,
    ):
        threading.Thread(target=server.serve_forever).start()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
            connection.request("POST", "/upload?user=alice", b"x")
            answer = connection.getresponse()
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "1"
            too_long = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
            too_long.putrequest("POST", "/upload?user=alice")
            too_long.putheader("Content-Length", str(10**9))
            too_long.endheaders()
            assert too_long.getresponse().status == 413
        finally:
            server.shutdown()


def test_queue_consumer(apply_target: str, astronaut_photo: bytes, tmp_path: Path) -> None:
    # One message was claimed by a consumer that died.
    for name in ("inbox", "claimed"):
        (tmp_path / name).mkdir()
    (tmp_path / "claimed" / "alice--0.jpg").write_bytes(astronaut_photo)
    (tmp_path / "inbox" / "alice--1.jpg").write_bytes(astronaut_photo)
    (tmp_path / "inbox" / "alice--2.jpg").write_bytes(_gray())
    (tmp_path / "inbox" / "alice--3.txt").write_bytes(b"no photo")
    command = [sys.executable, str(EXAMPLES / "queue_consumer.py"), apply_target, str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"outbox": 2, "dead": 2, "inbox": 0}
    assert sorted(path.name for path in (tmp_path / "outbox").iterdir()) == ["alice--0.jpg", "alice--1.jpg"]
    assert (tmp_path / "outbox" / "alice--1.jpg").read_bytes() != astronaut_photo
    assert json.loads((tmp_path / "dead" / "alice--2.jpg.json").read_text())["reason"] == "NOT_CLOAKED"
    assert json.loads((tmp_path / "dead" / "alice--3.txt.json").read_text())["reason"] == "UNSUPPORTED_PHOTO"
    assert list((tmp_path / "claimed").iterdir()) == []


def test_node_example_is_well_formed() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node on the PATH")
    subprocess.run([node, "--check", str(EXAMPLES / "node/cloak.mjs")], check=True, timeout=60)


@pytest.mark.slow
def test_node_example(settings: dict[str, Any], apply_target: str, astronaut_photo: bytes, tmp_path: Path) -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("there is no node or npm on the PATH")
    program = tmp_path / "node"
    shutil.copytree(EXAMPLES / "node", program)
    brought = subprocess.run([npm, "install", "--silent"], cwd=program, capture_output=True, text=True, timeout=300)
    if brought.returncode:
        pytest.skip(f"npm cannot bring @grpc/grpc-js: {brought.stderr.strip()[-200:]}")
    recipe = ROOT / "tests/recipes/quick.toml"
    server = build_enroll_server(EnrollSettings(surrogates=("mobileface",), recipe=recipe, threads=1, **settings))
    server.start()
    assert server.readiness.wait_ready(60)
    portrait, gray, out = tmp_path / "portrait.jpg", tmp_path / "gray.jpg", tmp_path / "out.jpg"
    portrait.write_bytes(astronaut_photo)
    gray.write_bytes(_gray())

    def cloak(photo: Path) -> subprocess.CompletedProcess[str]:
        command = [node, "cloak.mjs", ROOT / "protos", server.target, apply_target, portrait, photo, out]
        return subprocess.run([str(part) for part in command], cwd=program, capture_output=True, text=True, timeout=300)

    try:
        done = cloak(portrait)
        assert done.returncode == 0, done.stderr
        assert "CLOAK_OUTCOME_CLOAKED" in done.stdout
        assert out.read_bytes() != astronaut_photo
        refused = cloak(gray)
        assert refused.returncode == 1
        assert refused.stderr.startswith("NOT_CLOAKED: ")
    finally:
        server.stop(grace_seconds=0)
