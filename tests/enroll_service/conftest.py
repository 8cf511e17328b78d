"""The enrollment server, once with work that a test controls and once with the real pipeline."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enroll_service.jobs.request import EnrollmentRequest
from enroll_service.pipeline.errors import EnrollmentCancelled
from enroll_service.pipeline.intake.selection import PhotoSelection
from enroll_service.pipeline.progress import Progress, Stage
from enroll_service.server import Domain, build_domain, build_enroll_server, build_enrollments, build_jobs
from enroll_service.settings import EnrollSettings
from facecloak.masks.mask import Mask
from facecloak.stores import MaskStore
from facecloak.v1 import enroll_pb2, enroll_pb2_grpc
from facecloak_rpc.client import open_channel
from facecloak_rpc.logging import configure_logging
from facecloak_rpc.server import RpcServer
from facecloak_rpc.storage import StoreSettings, open_configured_store


class Gate:
    """Work with the pipeline's manners and a test's timing: each iteration needs a permit."""

    def __init__(self) -> None:
        self.permits = threading.Semaphore(0)
        self.started: list[str] = []
        self.earlier: list[str | None] = []
        self.leave_out_unfit: list[bool] = []
        self.iterations = 0
        self.ended: list[str] = []
        self.changed = threading.Condition()
        self.checked: list[EnrollmentRequest] = []
        self.may_look = threading.Event()
        self.may_look.set()
        self.probe_error: Exception | None = None

    def learn(
        self, request: EnrollmentRequest, progress: Callable[[Progress], None], cancelled: Callable[[], bool]
    ) -> Mask:
        self.earlier.append(request.earlier.mask_id if request.earlier is not None else None)
        self.leave_out_unfit.append(request.leave_out_unfit)
        self._note(self.started, request.user_id)
        for step in range(4):
            while not self.permits.acquire(timeout=0.01):
                if cancelled():
                    self._note(self.ended, "cancelled")
                    raise EnrollmentCancelled("cancelled")
            self.iterations += 1
            progress(Progress(Stage.PERTURB, (step + 1) / 4, f"step {step + 1} of 4"))
        self._note(self.ended, "done")
        seed = request.seed or 0
        pixels = np.random.default_rng(seed).integers(-8, 9, (112, 112, 3)).astype(np.int8)
        return Mask.new(pixels, seed=seed, versions={"facecloak": "test"}, report={"photo_count": len(request.photos)})

    def check(self, request: EnrollmentRequest, cancelled: Callable[[], bool]) -> PhotoSelection:
        """Looks at photos that are only to be validated."""
        self.checked.append(request)
        while not self.may_look.wait(0.01):
            if cancelled():
                raise EnrollmentCancelled("cancelled")
        return PhotoSelection(())

    def open(self) -> None:
        """Lets everything through from now on."""
        self.permits.release(10_000)

    def wait(self, condition: Callable[[], Any], seconds: float = 10.0) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, seconds), "waited too long"

    def probe(self) -> None:
        if self.probe_error is not None:
            raise self.probe_error

    def close(self) -> None:
        self.open()

    def _note(self, where: list[str], what: str) -> None:
        with self.changed:
            where.append(what)
            self.changed.notify_all()


class Service:
    """A running server and a stub that talks to it through a real channel."""

    def __init__(self, settings: EnrollSettings, domain: Domain, *, store: MaskStore, gate: Gate) -> None:
        self.settings, self.domain, self.store, self.gate = settings, domain, store, gate
        self.server: RpcServer = build_enroll_server(settings, domain=domain)
        self.server.start()
        assert self.server.readiness.wait_ready(60)
        self.channel = open_channel(self.server.target)
        self.stub = enroll_pb2_grpc.EnrollServiceStub(self.channel)

    def enroll(
        self,
        user_id: str = "alice",
        *,
        photos: Sequence[bytes] = (b"x",),
        request_id: str = "",
        timeout: float = 60,
        add: bool = False,
        leave_out_unfit: bool = False,
    ) -> Any:
        messages = [enroll_pb2.EnrollmentPhoto(data=data) for data in photos]
        options = enroll_pb2.EnrollOptions(add=add, leave_out_unfit=leave_out_unfit)
        request = enroll_pb2.EnrollUserRequest(user_id=user_id, photos=messages, request_id=request_id, options=options)
        return self.stub.EnrollUser(request, timeout=timeout)

    def close(self) -> None:
        self.gate.open()
        self.channel.close()
        self.server.stop(grace_seconds=0)


@pytest.fixture(autouse=True)
def _logs_as_a_service_does() -> None:
    # structlog's own default is standard output, which belongs to the commands' results.
    configure_logging(log_format="json", level="info")


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Makes a service with gated work; settings may be given."""
    made: list[Service] = []

    def make(**fields: Any) -> Service:
        settings = EnrollSettings(port=0, grace_seconds=10, store=StoreSettings(data=tmp_path), **fields)
        store, gate = open_configured_store(settings.store), Gate()
        jobs = build_jobs(settings, work=gate.learn, store=store)
        enrollments = build_enrollments(settings, jobs=jobs, check=gate.check, store=store)
        domain = Domain(enrollments=enrollments, jobs=jobs, enroller=gate)  # type: ignore[arg-type]
        made.append(Service(settings, domain, store=store, gate=gate))
        return made[-1]

    yield make
    for service in made:
        service.close()


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    return make_service()


@pytest.fixture(scope="session")
def quick() -> dict[str, Any]:
    """Settings of the real pipeline with the quickest two surrogates and few iterations."""
    recipe = Path(__file__).parents[1] / "recipes" / "few_steps.toml"
    return {"surrogates": ("dlib_resnet", "mobileface"), "recipe": recipe}


@pytest.fixture(scope="module")
def real_service(
    tmp_path_factory: pytest.TempPathFactory, model_repository: Path, quick: dict[str, Any]
) -> Iterator[Service]:
    """The server as it is, on real models."""
    settings = EnrollSettings(
        port=0,
        model_repository=model_repository,
        store=StoreSettings(data=tmp_path_factory.mktemp("data")),
        **quick,
        threads=1,
    )
    domain = build_domain(settings)
    made = Service(settings, domain, store=open_configured_store(settings.store), gate=Gate())
    yield made
    made.close()
