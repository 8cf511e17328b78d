"""The services as processes: SIGTERM, a second one, and what the program prints."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facecloak.v1 import enroll_pb2, enroll_pb2_grpc
from facecloak_rpc.client import RemoteError, open_channel, remote_errors

QUICK = {
    "FACECLOAK_ENROLL_STAGES__SURROGATES": '["mobileface"]',
    "FACECLOAK_ENROLL_STAGES__SYNTHESIS": '{"variations": 4}',
    "FACECLOAK_ENROLL_THREADS": "1",
}


class Process:
    """`python -m enroll_service` on a free port; its log is collected."""

    def __init__(self, data: Path, model_repository: Path, **environment: str) -> None:
        env = {**os.environ, "FACECLOAK_MODEL_REPOSITORY": str(model_repository), **QUICK, **environment}
        command = [sys.executable, "-m", "enroll_service", "--port", "0", "--data", str(data)]
        self.process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
        self.log: list[dict[str, Any]] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.wait_for("ready")
        self.target = next(line["target"] for line in self.log if line["event"] == "listening")

    def wait_for(self, event: str, *, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not any(line["event"] == event for line in self.log):
            assert time.monotonic() < deadline, f"no {event!r} in {self.log}"
            assert self.process.poll() is None or event == "stopped", self.log
            time.sleep(0.02)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with contextlib.suppress(ValueError):
                self.log.append(json.loads(line))


@pytest.fixture
def start(tmp_path: Path, model_repository: Path) -> Iterator[Any]:
    made: list[Process] = []

    def make(**environment: str) -> Process:
        made.append(Process(tmp_path, model_repository, **environment))
        return made[-1]

    yield make
    for each in made:
        each.process.kill()
        each.process.wait()
        each.reader.join(5)
        assert each.process.stderr is not None
        each.process.stderr.close()


def enroll(target: str, photo: bytes, *, user_id: str, in_work: threading.Event) -> str:
    request = enroll_pb2.EnrollUserRequest(user_id=user_id, photos=[enroll_pb2.EnrollmentPhoto(data=photo)])
    with open_channel(target) as channel, remote_errors():
        for message in enroll_pb2_grpc.EnrollServiceStub(channel).EnrollUser(request, timeout=120):
            if message.progress.stage == enroll_pb2.ENROLL_STAGE_PERTURB:
                in_work.set()
            if message.HasField("result"):
                return message.result.mask_id
    return ""


def start_enrolling(process: Process, photo: bytes) -> tuple[threading.Thread, list[Any]]:
    outcome: list[Any] = []
    in_work = threading.Event()

    def run() -> None:
        try:
            outcome.append(enroll(process.target, photo, user_id="alice-in-clear", in_work=in_work))
        except RemoteError as error:
            outcome.append(error)

    caller = threading.Thread(target=run)
    caller.start()
    assert in_work.wait(60)
    return caller, outcome


def test_sigterm_lets_the_call_in_flight_finish(start: Any, astronaut_photo: bytes) -> None:
    process = start(
        FACECLOAK_ENROLL_STAGES__PERTURB='{"iterations": 60, "batch": 2}', FACECLOAK_ENROLL_GRACE_SECONDS="300"
    )
    caller, outcome = start_enrolling(process, astronaut_photo)
    process.process.send_signal(signal.SIGTERM)
    process.wait_for("draining")
    assert not outcome, "the enrollment was over before the signal came: give it more iterations"
    caller.join(240)  # seconds on an idle machine
    assert process.process.wait(60) == 0
    process.reader.join(5)
    assert len(outcome[0]) == 32
    events = [line["event"] for line in process.log]
    assert events.index("draining") < events.index("enrollment") < events.index("stopped")
    assert "alice" not in json.dumps(process.log)


def test_a_second_signal_stops_at_once(start: Any, astronaut_photo: bytes) -> None:
    process = start(FACECLOAK_ENROLL_STAGES__PERTURB='{"iterations": 5000, "batch": 2}')
    caller, outcome = start_enrolling(process, astronaut_photo)
    process.process.send_signal(signal.SIGTERM)
    process.wait_for("draining")
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(20) == 0
    caller.join(20)
    assert isinstance(outcome[0], RemoteError)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("service", ["enroll", "apply"])
def test_print_config_prints_every_setting(service: str) -> None:
    done = run(f"{service}_service", "--print-config", "--port", "7")
    assert done.returncode == 0
    prefix = f"FACECLOAK_{service.upper()}_"
    assert f"{prefix}PORT=7" in done.stdout
    assert f"{prefix}GRACE_SECONDS=" in done.stdout


@pytest.mark.parametrize("service", ["enroll", "apply"])
def test_what_keeps_a_service_from_starting_is_one_line(service: str, tmp_path: Path) -> None:
    wrong = run(f"{service}_service", **{f"FACECLOAK_{service.upper()}_PORT": "many"})
    assert wrong.returncode == 1
    assert "INVALID_SETTINGS" in wrong.stderr
    assert wrong.stderr.count("\n") == 1
    missing = run(f"{service}_service", "--data", str(tmp_path), FACECLOAK_MODEL_REPOSITORY=str(tmp_path / "none"))
    assert missing.returncode == 1
    assert missing.stderr.count("\n") == 1
    assert run(f"{service}_service", "--no-such-option").returncode == 2
