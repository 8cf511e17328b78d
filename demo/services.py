"""Starts the two services as processes of their own, waits until they are healthy, and stops them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from demo.photos import DemoFailed

START_SECONDS_LIMIT = 120.0
STOP_SECONDS_LIMIT = 15.0


@dataclass(frozen=True)
class Service:
    """A service that runs: where it listens and where it logs."""

    name: str
    target: str
    log: Path


@contextmanager
def running(name: str, *, environment: Mapping[str, str], log: Path) -> Iterator[Service]:
    """Runs `facecloak serve NAME` on a free port until the block ends; yields once grpc.health says SERVING."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "facecloak.cli", "serve", name],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C belongs to the demo, which then stops the services in order.
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS_LIMIT
        service = Service(name, _target(process, log, deadline=deadline), log)
        _wait_healthy(process, service, deadline=deadline)
        yield service
    finally:
        _stop(process)


def _target(process: subprocess.Popen[bytes], log: Path, *, deadline: float) -> str:
    # The service takes a free port itself and says in its log which: asking for one beforehand would be a race.
    while True:
        _check_alive(process, log, deadline=deadline)
        for line in log.read_text(errors="replace").splitlines():
            if '"listening"' in line:
                try:
                    return str(json.loads(line)["target"])
                except (ValueError, KeyError):
                    continue
        time.sleep(0.05)


def _wait_healthy(process: subprocess.Popen[bytes], service: Service, *, deadline: float) -> None:
    with grpc.insecure_channel(service.target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        while True:
            _check_alive(process, service.log, deadline=deadline)
            try:
                answer = health.Check(health_pb2.HealthCheckRequest(), timeout=2.0)
            except grpc.RpcError:
                time.sleep(0.1)
                continue
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
            time.sleep(0.1)


def _check_alive(process: subprocess.Popen[bytes], log: Path, *, deadline: float) -> None:
    if process.poll() is None and time.monotonic() < deadline:
        return
    what = f"ended with status {process.returncode}" if process.returncode is not None else "did not become healthy"
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
    raise DemoFailed(f"a service {what}; the end of {log}:\n{tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
