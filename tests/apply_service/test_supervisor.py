"""Several processes behind one port: the real command, real processes, real signals."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from apply_service import supervisor
from apply_service.settings import ApplySettings
from benchmarks.service import RunningService, running_service
from facecloak.v1 import apply_pb2, apply_pb2_grpc
from facecloak_client import CallFailed, FaceCloakClient

pytestmark = pytest.mark.slow

# A connection of its own each, which the kernel gives to any of the workers.
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


def apply(service: RunningService, photo: bytes) -> apply_pb2.ApplyCloakResponse:
    request = apply_pb2.ApplyCloakRequest(photo=photo, subjects=[apply_pb2.Subject(user_id=service.user_id)])
    with grpc.insecure_channel(service.target, options=OWN_CONNECTION) as channel:
        return apply_pb2_grpc.ApplyServiceStub(channel).ApplyCloak(request, timeout=30)


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def is_cloaked(service: RunningService, photo: bytes) -> bool:
    try:
        return apply(service, photo).subjects[0].outcome == apply_pb2.CLOAK_OUTCOME_CLOAKED
    except grpc.RpcError:
        return False


def test_two_workers_serve_and_a_dead_one_is_replaced(
    model_repository: Path, tmp_path: Path, astronaut_photo: bytes
) -> None:
    with running_service(tmp_path, model_repository, processes=2) as service:
        workers = service.workers()
        assert len(workers) == 2
        used_before = service.cpu_seconds()
        for _ in range(12):
            assert is_cloaked(service, astronaut_photo)
        assert service.cpu_seconds() > used_before
        os.kill(workers[0], signal.SIGKILL)
        assert eventually(lambda: len(service.workers()) == 2 and workers[0] not in service.workers())
        assert eventually(lambda: all(is_cloaked(service, astronaut_photo) for _ in range(8)))
        remaining = service.workers()
    assert all(not Path(f"/proc/{worker}").exists() for worker in remaining)


def test_a_stopped_worker_is_noticed_and_replaced(
    model_repository: Path, tmp_path: Path, astronaut_photo: bytes
) -> None:
    with running_service(tmp_path, model_repository, processes=2) as service:
        # On a busy machine one may answer for both while the other starts.
        assert eventually(lambda: all(is_cloaked(service, astronaut_photo) for _ in range(12)), 120)
        stopped = service.workers()[0]
        os.kill(stopped, signal.SIGSTOP)
        # 4 s without a beat, looked for twice a second; the rest is for a busy machine.
        assert eventually(lambda: stopped not in service.workers(), 15)
        assert eventually(lambda: len(service.workers()) == 2)
        assert eventually(lambda: all(is_cloaked(service, astronaut_photo) for _ in range(8)))


def test_many_deaths_in_a_minute_do_not_end_the_service(
    model_repository: Path, tmp_path: Path, astronaut_photo: bytes
) -> None:
    with running_service(tmp_path, model_repository, processes=2) as service:
        steady = service.workers()[1]
        for _ in range(4):  # after 0.25, 0.5, 1 and 2 s of pause
            dying = next(worker for worker in service.workers() if worker != steady)
            os.kill(dying, signal.SIGKILL)
            assert eventually(lambda dying=dying: dying not in service.workers())
            assert eventually(lambda: len(service.workers()) == 2, 60)
        os.kill(steady, signal.SIGKILL)
        assert eventually(lambda: len(service.workers()) == 2, 60)
        assert eventually(lambda: all(is_cloaked(service, astronaut_photo) for _ in range(8)), 60)


def test_all_workers_killed_at_once_are_a_pause_that_the_client_bridges(
    model_repository: Path, tmp_path: Path, astronaut_photo: bytes
) -> None:
    with running_service(tmp_path, model_repository, processes=2) as service:
        client = FaceCloakClient(apply=service.target)
        outcomes: list[str] = []

        def send() -> None:
            try:
                client.apply(astronaut_photo, service.user_id, timeout_s=60)
                outcomes.append("cloaked")
            except CallFailed as error:
                outcomes.append(error.reason)

        with client:
            send()
            killed = service.workers()
            callers = [threading.Thread(target=send) for _ in range(4)]
            for caller in callers:
                caller.start()
            for worker in killed:
                os.kill(worker, signal.SIGKILL)
            for caller in callers:
                caller.join(90)
            assert not any(caller.is_alive() for caller in callers)
            # None waited for its deadline.
            assert set(outcomes) <= {"cloaked", "UNAVAILABLE"}, outcomes
            assert outcomes[0] == "cloaked"
            assert eventually(lambda: len(service.workers()) == 2 and not set(killed) & set(service.workers()))
            assert eventually(lambda: is_cloaked(service, astronaut_photo))
            send()
            assert outcomes[-1] == "cloaked"


def test_workers_that_never_come_up_end_it(tmp_path: Path) -> None:
    empty = tmp_path / "no-models"
    empty.mkdir()
    environment = os.environ | {
        "FACECLOAK_APPLY_PORT": "0",
        "FACECLOAK_APPLY_PROCESSES": "2",
        "FACECLOAK_APPLY_STORE__DATA": str(tmp_path / "data"),
        "FACECLOAK_MODEL_REPOSITORY": str(empty),
    }
    done = subprocess.run([sys.executable, "-m", "apply_service"], env=environment, capture_output=True, timeout=120)
    assert done.returncode == 1
    assert b"no worker comes up" in done.stderr + done.stdout


def test_a_drain_answers_what_was_asked(model_repository: Path, tmp_path: Path, astronaut_photo: bytes) -> None:
    answers: list[bool] = []
    with running_service(tmp_path, model_repository, processes=2) as service:
        assert is_cloaked(service, astronaut_photo)
        callers = [
            threading.Thread(target=lambda: answers.append(is_cloaked(service, astronaut_photo))) for _ in "1234"
        ]
        for caller in callers:
            caller.start()
        time.sleep(0.05)
        os.kill(service.process, signal.SIGTERM)
        for caller in callers:
            caller.join(30)
    # Whoever was let in got the whole answer; who came too late was told so, and nobody hangs.
    assert len(answers) == 4


def test_workers_end_with_their_supervisor(model_repository: Path, tmp_path: Path) -> None:
    with running_service(tmp_path, model_repository, processes=2) as service:
        workers = service.workers()
        os.kill(service.process, signal.SIGKILL)
        assert eventually(lambda: all(not Path(f"/proc/{worker}").exists() for worker in workers))


def test_a_port_in_use_is_an_error_and_no_partnership(model_repository: Path, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        environment = os.environ | {
            "FACECLOAK_APPLY_PORT": str(other.getsockname()[1]),
            "FACECLOAK_APPLY_PROCESSES": "2",
            "FACECLOAK_APPLY_STORE__DATA": str(tmp_path),
            "FACECLOAK_MODEL_REPOSITORY": str(model_repository),
        }
        done = subprocess.run([sys.executable, "-m", "apply_service"], env=environment, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert b"ADDRESS_IN_USE" in done.stderr


def test_a_worker_that_is_stopped_before_it_serves_is_hung_in_the_end() -> None:
    class Alive:
        def is_alive(self) -> bool:
            return True

    worker = supervisor._Worker(Alive(), ctypes.c_double(0.0), 0.25, started=1000.0)  # type: ignore[arg-type]
    assert not worker.is_hung(1000.0 + supervisor._START_SECONDS)
    assert worker.is_hung(1001.0 + supervisor._START_SECONDS)
    worker.beat.value = 1300.0
    assert not worker.is_hung(1303.0)
    assert worker.is_hung(1305.0)


def test_workers_share_what_one_process_had() -> None:
    settings = ApplySettings(processes=3, in_flight_limit=8, metrics_port=9000)
    assert settings.worker_count == 3
    shares = [settings.for_worker(index) for index in range(3)]
    assert [share.metrics_port for share in shares] == [9000, 9001, 9002]
    assert all(share.in_flight_limit == 3 and share.worker_count == 1 for share in shares)
    assert ApplySettings(processes=0).worker_count == len(os.sched_getaffinity(0))


def test_connections_do_not_stay_with_those_who_survived() -> None:
    def age(**fields: float) -> float:
        return ApplySettings(**fields).for_worker(0).connection_age_seconds

    assert age(processes=2) == 20.0
    assert age(processes=2, connection_age_seconds=5.0) == 5.0
    assert age(processes=1) == 0.0
