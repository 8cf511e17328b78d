"""A running apply service in processes of its own, with an enrolled user for each geometry of masks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

USER = "benchmark"
SQUARE_USER = "benchmark-square"
"""Has the same mask, of the aligned square."""


@dataclass(frozen=True)
class RunningService:
    """Where the service is, and what runs it."""

    target: str
    process: int
    processes: int
    user_id: str = USER

    def workers(self) -> list[int]:
        """Ids of the processes that serve."""
        if self.processes == 1:
            return [self.process]
        children = Path(f"/proc/{self.process}/task/{self.process}/children").read_text().split()
        return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]

    def cpu_seconds(self) -> float:
        """Processor time that the workers have used."""
        return sum(cpu_seconds_of(worker) for worker in self.workers())


def cpu_seconds_of(process: int) -> float:
    """Processor time of all threads of another process, in nanoseconds' steps (Linux: clock_getcpuclockid(3))."""
    return time.clock_gettime((~process << 3) | 2)


@contextmanager
def running_service(
    folder: Path,
    repository: Path,
    *,
    processes: int,
    environment: dict[str, str] | None = None,
    errors: IO[bytes] | None = None,
) -> Iterator[RunningService]:
    """Runs `python -m apply_service` on a free port, until the block ends; ``errors`` takes its log."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from facecloak.masks.mask import MaskGeometry
    from facecloak.users import User
    from facecloak_rpc.storage import StoreSettings, open_configured_store

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "FACECLOAK_APPLY_PORT": str(port),
        "FACECLOAK_APPLY_PROCESSES": str(processes),
        "FACECLOAK_APPLY_STORE__DATA": str(folder),
        "FACECLOAK_APPLY_LOG_LEVEL": "error",
        "FACECLOAK_MODEL_REPOSITORY": str(repository.resolve()),
        **(environment or {}),
    }
    store = open_configured_store(StoreSettings(data=folder))
    store.put(User("", USER), some_mask(moves=True))
    store.put(User("", SQUARE_USER), some_mask(MaskGeometry.SQUARE))
    process = subprocess.Popen([sys.executable, "-m", "apply_service"], env=os.environ | settings, stderr=errors)
    service = RunningService(target=f"127.0.0.1:{port}", process=process.pid, processes=processes)
    try:
        deadline = time.monotonic() + 180
        ready = 0
        # Each channel is a new connection, which the kernel gives to any of the processes: ask until all have answered.
        while ready < 8 * processes:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the apply service did not start")
            with grpc.insecure_channel(service.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
                try:
                    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
                    ready = ready + 1 if answer.status == answer.SERVING else 0
                except grpc.RpcError:
                    ready = 0
            if not ready:
                time.sleep(0.2)
        yield service
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def some_mask(geometry: Any = None, *, moves: bool = False) -> Any:
    """A mask as smooth as learned ones are (the share of its energy that survives quantization matters here), of the
    geometry that enrollment gives masks by default, the face's own frame, if no other is wanted. One that ``moves``
    paints less and is fitted to each photo, as those of the default strength."""
    import cv2

    from facecloak.masks.displacement import quantize_displacement
    from facecloak.masks.mask import Mask, MaskGeometry

    rng = np.random.default_rng(1)
    noise = cv2.GaussianBlur(rng.normal(0, 1, (112, 112, 3)), (0, 0), 1.5)
    levels = 3 if moves else 6
    field = cv2.GaussianBlur(rng.normal(0, 1, (112, 112, 2)), (0, 0), 3)
    return Mask.new(
        np.clip(np.round(noise * levels / noise.std()), -2 * levels, 2 * levels).astype(np.int8),
        seed=1,
        geometry=geometry or MaskGeometry.FACE,
        # Of a root mean square of 0.8 px, the length of the vector.
        displacement=quantize_displacement(field * (0.8 / np.sqrt(2) / field.std())) if moves else None,
        target_jod=9.0 if moves else None,
        target_ssimulacra2=75.0 if moves else None,
    )
