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
from typing import NoReturn

import pytest

from tests.facecloak_backfill.conftest import Archive
from tests.facecloak_backfill.test_backfill import BY_FOLDER, wait_for

pytest.importorskip("ray", reason="needs Ray: pip install 'facecloak[backfill]'")
pytestmark = pytest.mark.slow

_NODE_MEMORY = 200 * 2**20
_TRIES = 3
_START_SECONDS = 60.0


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


class Nodes:
    """Starts nodes of a cluster and ends them."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment = {
            **environment, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1",
            "RAY_raylet_start_wait_time_s": "60", "RAY_gcs_server_request_timeout_seconds": "60",
        }  # fmt: skip
        self._folder = folder
        # The socket files' paths must be short.
        self._temporary = Path("/tmp") / f"fc-ray-{os.getpid()}"
        self._started: list[subprocess.Popen[bytes]] = []

    def start_head(self) -> str:
        """The cluster's address."""
        # A node's agent imports a thousand files, and a node whose agent is not there after 15 s ends itself, which no
        # setting changes: so they are read once before.
        warm = [sys.executable, "-c", "import ray.dashboard.agent, ray._private.runtime_env.agent.main"]
        subprocess.run(warm, env=self._environment, capture_output=True, timeout=120)
        for _ in range(_TRIES):
            address = f"127.0.0.1:{_free_port()}"
            port = address.rpartition(":")[2]
            options = ("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false")
            if self._try_to_start(*options, f"--temp-dir={self._temporary}") is not None:
                return address
        self._skip()

    def start_worker(self, address: str) -> subprocess.Popen[bytes]:
        """A node of one CPU. One at a time: two that start at once may choose the same socket file, and one ends."""
        for _ in range(_TRIES):
            process = self._try_to_start(f"--address={address}", "--num-cpus=1")
            if process is not None:
                return process
        self._skip()

    def end(self) -> None:
        for process in reversed(self._started):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _try_to_start(self, *options: str) -> subprocess.Popen[bytes] | None:
        command = [ray_command(), "start", "--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1"]
        command += [f"--object-store-memory={_NODE_MEMORY}", *options]
        path = self._folder / f"ray-{len(self._started)}.log"
        failures = self._failures()
        with path.open("wb") as log:
            process = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, start_new_session=True, cwd=self._folder
            )
        self._started.append(process)
        end = time.monotonic() + _START_SECONDS
        while "Ray runtime started" not in path.read_text():
            if process.poll() is not None or self._failures() > failures or time.monotonic() > end:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return None
            time.sleep(0.2)
        return process

    def _failures(self) -> int:
        """Node managers that ended by themselves; `ray start` would wait for them for minutes."""
        logs = self._temporary.glob("session_*/logs/raylet*.err")
        return sum("Check failed" in log.read_text() or "Unhandled" in log.read_text() for log in logs)

    def _skip(self) -> NoReturn:
        why = (self._folder / f"ray-{len(self._started) - 1}.log").read_text()[-300:]
        pytest.skip(f"Ray does not start on this machine, {_TRIES} times: {why}")


@pytest.fixture
def cluster(archive: Archive, tmp_path: Path) -> Iterator[LocalCluster]:
    nodes = Nodes(archive.environment(), tmp_path)
    try:
        address = nodes.start_head()
        yield LocalCluster(address, [nodes.start_worker(address) for _ in range(2)])
    finally:
        nodes.end()


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
