"""The same on a real Ray cluster of two workers, one of which dies, as does the command itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.facecloak_backfill.conftest import Archive
from tests.facecloak_backfill.test_backfill import BY_FOLDER, wait_for

pytest.importorskip("ray", reason="needs Ray: pip install 'facecloak[backfill]'")
pytestmark = pytest.mark.slow

_NODE_MEMORY = 200 * 2**20


@dataclass
class LocalCluster:
    """A head without CPUs and two workers of one each, as processes of this machine."""

    address: str
    workers: list[subprocess.Popen[bytes]]

    def kill_a_worker(self) -> None:
        """As a machine that is taken away: its node manager and all that it started."""
        worker = self.workers.pop()
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def ray_command() -> str:
    return str(Path(sys.executable).parent / "ray")


@pytest.fixture
def cluster(archive: Archive, tmp_path: Path) -> Iterator[LocalCluster]:
    environment = {
        **archive.environment(), "RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1",
        # A machine that is busy takes long to start a node.
        "RAY_raylet_start_wait_time_s": "240", "RAY_gcs_server_request_timeout_seconds": "120",
    }  # fmt: skip
    # The socket files' paths must be short.
    temporary = Path("/tmp") / f"fc-ray-{os.getpid()}"
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> subprocess.Popen[bytes]:
        command = [ray_command(), "start", "--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1", *options]
        log = (tmp_path / f"ray-{len(started)}.log").open("wb")
        started.append(
            subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=tmp_path)
        )
        return started[-1]

    port = _free_port()
    memory = f"--object-store-memory={_NODE_MEMORY}"
    head = start(
        "--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={temporary}", memory
    )
    address = f"127.0.0.1:{port}"
    try:
        _await_start(head, tmp_path / "ray-0.log")
        workers = []
        for number in (1, 2):
            # One after the other: nodes of one machine that start at once may choose the same socket file, and then one
            # of them ends with "Address already in use".
            workers.append(start(f"--address={address}", "--num-cpus=1", memory))
            _await_start(workers[-1], tmp_path / f"ray-{number}.log")
        yield LocalCluster(address, workers)
    finally:
        for process in reversed(started):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(temporary, ignore_errors=True)


def _await_start(process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 120
    while "Ray runtime started" not in log.read_text():
        if process.poll() is not None or time.monotonic() > end:
            pytest.skip(f"Ray does not start on this machine: {log.read_text()[-300:]}")
        time.sleep(0.2)


def _free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_nothing_is_lost_and_nothing_cloaked_twice(
    archive: Archive, astronaut_photo: bytes, cluster: LocalCluster
) -> None:
    archive.add(96, photo=astronaut_photo)
    killed = archive.start(*BY_FOLDER, "--ray", cluster.address)
    wait_for(lambda: len(archive.written()) >= 8, seconds=400)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    # The cluster ends the job of a command that is gone.
    count = -1
    while count != len(archive.written()):
        count = len(archive.written())
        time.sleep(3)
    before = {name: (archive.destination / name).stat().st_mtime_ns for name in archive.written()}
    assert 8 <= len(before) < 96, "it was killed too late to tell anything"
    resumed = archive.start(*BY_FOLDER, "--ray", cluster.address)
    wait_for(lambda: len(archive.written()) >= len(before) + 8, seconds=400)
    cluster.kill_a_worker()
    assert resumed.wait(timeout=500) == 0
    assert archive.written() == archive.names()
    assert {name: (archive.destination / name).stat().st_mtime_ns for name in before} == before
    assert sorted(record["name"] for record in archive.records()) == archive.names()
    reports = sorted((archive.destination / ".facecloak" / "backfill").glob("report-*.json"))
    report = json.loads(reports[-1].read_text())
    assert report["found_at_destination"] >= len(before)
    archive.assert_cloaked_once()
