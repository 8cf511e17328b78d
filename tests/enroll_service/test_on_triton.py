"""Enrollment with its recognizers on a real Triton: the same masks, and what happens to them when the server dies."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enroll_service.jobs.request import EnrollmentRequest
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.server import Domain, build_domain
from enroll_service.settings import EnrollSettings, TritonSettings
from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.recognizers.triton.dev_server.process import TritonProcess
from facecloak.recognizers.triton.write_repository import BuiltRepository
from facecloak.users import User
from facecloak_rpc.storage import StoreSettings, open_configured_store

Open = Callable[..., Domain]


@pytest.fixture
def settings_of(tmp_path: Path, model_repository: Path, quick: dict[str, Any]) -> Callable[..., EnrollSettings]:
    """Settings with a Triton, few steps and masks in a temporary folder."""

    def make(url: str, *, iterations: int = 3, retry_seconds: float = 20.0, **fields: Any) -> EnrollSettings:
        recipe = tmp_path / f"{iterations}_steps.toml"
        recipe.write_text(f"synthesis.variations = 4\nperturb.iterations = {iterations}\nperturb.batch = 2\n")
        return EnrollSettings(
            port=0,
            model_repository=model_repository,
            store=StoreSettings(data=tmp_path / "data"),
            **quick | {"recipe": recipe},
            threads=1,
            triton=TritonSettings(url=url, retry_seconds=retry_seconds),
            **fields,
        )

    return make


@pytest.fixture
def open_domain(settings_of: Callable[..., EnrollSettings]) -> Iterator[Open]:
    opened: list[Domain] = []

    def make(url: str, **fields: Any) -> Domain:
        opened.append(build_domain(settings_of(url, **fields)))
        return opened[-1]

    yield make
    for domain in opened:
        domain.close()


class Enrolling:
    """One enrollment in a thread of its own."""

    def __init__(self, domain: Domain, photo: bytes, *, user_id: str) -> None:
        self._subscriber = domain.enrollments.enroll(
            EnrollmentRequest(user_id=user_id, photos=(EnrollmentPhoto(photo),), seed=7)
        )
        self.fraction = 0.0
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def wait_until(self, fraction: float) -> None:
        deadline = time.monotonic() + 60
        while self.fraction < fraction:
            assert time.monotonic() < deadline, "the enrollment does not get on"
            assert self.error is None, self.error
            time.sleep(0.01)

    def leave(self) -> None:
        self._subscriber.leave()

    def wait(self) -> Exception | None:
        self._thread.join(120)
        assert not self._thread.is_alive()
        return self.error

    def _follow(self) -> None:
        try:
            for event in self._subscriber:
                self.fraction = event.fraction
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error


def pixels_of(settings: EnrollSettings, user_id: str) -> np.ndarray:
    return open_configured_store(settings.store).get(User("", user_id)).masks[0].pixels


def test_masks_are_those_of_the_embedded_runtime_bit_for_bit(
    triton_server: TritonProcess, open_domain: Open, settings_of: Callable[..., EnrollSettings], astronaut_photo: bytes
) -> None:
    for user_id, url in (("embedded", ""), ("triton", triton_server.url)):
        domain = open_domain(url, iterations=6)
        domain.probe()
        assert Enrolling(domain, astronaut_photo, user_id=user_id).wait() is None
    settings = settings_of("")
    assert np.abs(pixels_of(settings, "triton")).max() > 0
    np.testing.assert_array_equal(pixels_of(settings, "triton"), pixels_of(settings, "embedded"))


@pytest.mark.slow
@pytest.mark.parametrize("how", [TritonProcess.stop, TritonProcess.kill], ids=["SIGTERM", "SIGKILL"])
def test_a_restart_in_mid_enrollment_does_not_change_the_mask(
    served_models: BuiltRepository, start_triton: Callable[..., TritonProcess], open_domain: Open,
    settings_of: Callable[..., EnrollSettings], astronaut_photo: bytes, how: Callable[[TritonProcess], None],
) -> None:  # fmt: skip
    server = start_triton(served_models)
    assert Enrolling(open_domain("", iterations=40), astronaut_photo, user_id="undisturbed").wait() is None
    enrolling = Enrolling(open_domain(server.url, iterations=40), astronaut_photo, user_id="disturbed")
    enrolling.wait_until(0.2)
    how(server)
    assert enrolling.fraction < 1, "the enrollment was over before the signal: give it more iterations"
    start_triton(served_models, grpc_port=server.options.grpc_port)
    assert enrolling.wait() is None
    settings = settings_of("")
    np.testing.assert_array_equal(pixels_of(settings, "disturbed"), pixels_of(settings, "undisturbed"))


def test_a_server_that_does_not_come_back_ends_the_enrollment_and_leaves_the_old_mask(
    served_models: BuiltRepository, start_triton: Callable[..., TritonProcess], open_domain: Open,
    settings_of: Callable[..., EnrollSettings], astronaut_photo: bytes,
) -> None:  # fmt: skip
    server = start_triton(served_models)
    domain = open_domain(server.url, iterations=400, retry_seconds=0.5)
    short = open_domain(server.url)
    assert Enrolling(short, astronaut_photo, user_id="alice").wait() is None
    old = pixels_of(settings_of(""), "alice")
    enrolling = Enrolling(domain, astronaut_photo, user_id="alice")
    enrolling.wait_until(0.06)
    server.kill()
    error = enrolling.wait()
    assert isinstance(error, FaceCloakError)
    assert (error.code, error.reason) == (ErrorCode.UNAVAILABLE, "RECOGNIZER_UNAVAILABLE")
    assert float(error.metadata["retry_after_seconds"]) > 0
    np.testing.assert_array_equal(pixels_of(settings_of(""), "alice"), old)
    with pytest.raises(FaceCloakError, match="does not answer on Triton"):
        domain.probe()


def test_a_client_that_vanishes_frees_its_place(
    triton_server: TritonProcess, settings_of: Callable[..., EnrollSettings], astronaut_photo: bytes, tmp_path: Path
) -> None:
    from enroll_service.server import build_enroll_server

    photo = tmp_path / "photo.jpg"
    photo.write_bytes(astronaut_photo)
    settings = settings_of(triton_server.url, iterations=5000)
    domain = build_domain(settings)
    server = build_enroll_server(settings, domain=domain)
    server.start()
    try:
        assert server.readiness.wait_ready(60)
        command = [sys.executable, "-m", "facecloak.cli", "enroll", "--user", "gone", "--target", server.target]
        client = subprocess.Popen([*command, str(photo)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        _wait_for(lambda: domain.jobs.running == 1)
        client.send_signal(signal.SIGKILL)
        client.wait(10)
        _wait_for(lambda: domain.jobs.running == 0)
        assert not domain.enrollments.delete(User("", "gone")).found
        domain.probe()
    finally:
        server.stop(grace_seconds=0)


def test_who_leaves_while_triton_is_away_frees_the_worker(
    served_models: BuiltRepository, start_triton: Callable[..., TritonProcess], open_domain: Open,
    astronaut_photo: bytes,
) -> None:  # fmt: skip
    server = start_triton(served_models)
    domain = open_domain(server.url, iterations=5000, retry_seconds=600.0)
    enrolling = Enrolling(domain, astronaut_photo, user_id="gone")
    enrolling.wait_until(0.06)
    server.kill()
    time.sleep(0.5)  # a step takes some tens of milliseconds: it waits for the server now
    assert domain.jobs.running == 1
    enrolling.leave()
    assert isinstance(enrolling.wait(), FaceCloakError)
    _wait_for(lambda: domain.jobs.running == 0)


def test_concurrent_enrollments_share_batches(
    triton_server: TritonProcess, open_domain: Open, astronaut_photo: bytes
) -> None:
    """Steps ask for 2 crops each, so an execution of more than 2 was of several enrollments."""
    from tritonclient.grpc import InferenceServerClient

    def executions(model: str) -> dict[int, int]:
        with InferenceServerClient(triton_server.url) as client:
            (found,) = client.get_inference_statistics(model, client_timeout=10).model_stats
            return {batch.batch_size: batch.compute_infer.count for batch in found.batch_stats}

    before = executions("dlib_resnet_grad")
    domain = open_domain(triton_server.url, iterations=30, workers=3)
    enrollments = [Enrolling(domain, astronaut_photo, user_id=f"user-{i}") for i in range(3)]
    assert [enrolling.wait() for enrolling in enrollments] == [None] * 3
    after = executions("dlib_resnet_grad")
    assert any(after[size] > before.get(size, 0) for size in after if size in (4, 6))


def _wait_for(condition: Callable[[], bool], *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
