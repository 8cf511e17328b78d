"""The services as processes: SIGTERM, a second one, SIGKILL, and what the program prints."""

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

from facecloak.errors import ErrorCode
from facecloak.users import User
from facecloak.v1 import enroll_pb2, enroll_pb2_grpc
from facecloak_rpc.client import RemoteError, open_channel, remote_errors
from facecloak_rpc.storage import StoreSettings, open_configured_store

RECIPES = Path(__file__).parents[1] / "recipes"
QUICK = {
    "FACECLOAK_ENROLL_SURROGATES": '["mobileface"]',
    "FACECLOAK_ENROLL_RECIPE": str(RECIPES / "quick.toml"),
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


def enroll(
    process: Process,
    photo: bytes,
    *,
    request_id: str = "",
    in_work: threading.Event | None = None,
    stage: int = enroll_pb2.ENROLL_STAGE_PERTURB,
) -> str:
    """The mask's id; ``in_work`` is set once ``stage`` goes on."""
    photos = [enroll_pb2.EnrollmentPhoto(data=photo)]
    request = enroll_pb2.EnrollUserRequest(user_id="alice-in-clear", photos=photos, request_id=request_id)
    with open_channel(process.target) as channel, remote_errors():
        for message in enroll_pb2_grpc.EnrollServiceStub(channel).EnrollUser(request, timeout=120):
            if in_work is not None and message.progress.stage == stage:
                in_work.set()
            if message.HasField("result"):
                return message.result.mask_id
    return ""


def start_enrolling(process: Process, photo: bytes, **fields: Any) -> tuple[threading.Thread, list[Any]]:
    outcome: list[Any] = []
    in_work = threading.Event()

    def run() -> None:
        try:
            outcome.append(enroll(process, photo, in_work=in_work, **fields))
        except RemoteError as error:
            outcome.append(error)

    caller = threading.Thread(target=run)
    caller.start()
    assert in_work.wait(60)
    return caller, outcome


def test_sigterm_lets_the_call_in_flight_finish(start: Any, astronaut_photo: bytes) -> None:
    process = start(FACECLOAK_ENROLL_RECIPE=str(RECIPES / "long.toml"), FACECLOAK_ENROLL_GRACE_SECONDS="300")
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
    process = start(**ENDLESS)
    caller, outcome = start_enrolling(process, astronaut_photo)
    process.process.send_signal(signal.SIGTERM)
    process.wait_for("draining")
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(20) == 0
    caller.join(20)
    assert isinstance(outcome[0], RemoteError)


FEW_STEPS = {"FACECLOAK_ENROLL_RECIPE": str(RECIPES / "few_steps.toml")}
ENDLESS = {"FACECLOAK_ENROLL_RECIPE": str(RECIPES / "endless.toml")}


def killed(process: Process) -> None:
    process.process.kill()
    process.process.wait(20)


def files_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_kill_in_mid_enrollment_leaves_the_old_mask_and_a_retry_finishes(
    start: Any, tmp_path: Path, astronaut_photo: bytes
) -> None:
    first = start(**FEW_STEPS)
    old = enroll(first, astronaut_photo, request_id="r-1")
    killed(first)
    before = files_in(tmp_path)
    store = open_configured_store(StoreSettings(data=tmp_path))

    second = start(**ENDLESS)
    caller, outcome = start_enrolling(second, astronaut_photo, request_id="r-2")
    killed(second)
    caller.join(20)
    assert isinstance(outcome[0], RemoteError)
    assert outcome[0].code is ErrorCode.UNAVAILABLE, "what a client may repeat"
    assert store.get(User("", "alice-in-clear")).mask_id == old
    assert files_in(tmp_path) == before, "nothing half-written is left"

    third = start(**FEW_STEPS)
    new = enroll(third, astronaut_photo, request_id="r-2")
    assert new != old
    assert store.get(User("", "alice-in-clear")).mask_id == new
    # The answer may get lost as well as the work: the mask that was made stays the one.
    killed(third)
    fourth = start(**ENDLESS)
    assert enroll(fourth, astronaut_photo, request_id="r-2") == new
    with pytest.raises(RemoteError) as refused:
        enroll(fourth, astronaut_photo + b"\0", request_id="r-2")
    assert refused.value.reason == "REQUEST_ID_REUSED"
    assert store.get(User("", "alice-in-clear")).mask_id == new


@pytest.mark.slow
@pytest.mark.parametrize("after_seconds", [0.0, 0.15])
def test_a_kill_while_the_mask_is_measured_and_stored_leaves_one_whole_mask(
    start: Any, tmp_path: Path, astronaut_photo: bytes, after_seconds: float
) -> None:
    first = start(**FEW_STEPS)
    old = enroll(first, astronaut_photo, request_id="r-1")
    caller, outcome = start_enrolling(
        first, astronaut_photo, request_id="r-2", stage=enroll_pb2.ENROLL_STAGE_PERSONALIZE
    )
    time.sleep(after_seconds)
    killed(first)
    caller.join(20)
    store = open_configured_store(StoreSettings(data=tmp_path))
    found = store.get(User("", "alice-in-clear")).mask_id  # whole: its seal and its digest are checked
    if isinstance(outcome[0], str):
        assert outcome[0] == found, "what was answered is stored"
    else:
        assert outcome[0].code is ErrorCode.UNAVAILABLE
    second = start(**FEW_STEPS)
    new = enroll(second, astronaut_photo, request_id="r-2")
    assert new == found if found != old else new != old, "made once, by whichever of the two"
    assert store.get(User("", "alice-in-clear")).mask_id == new


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
