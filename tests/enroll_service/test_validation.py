"""validate_only: what an enrollment would be told, and nothing done."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from click.testing import CliRunner

from facecloak.cli import build_cli
from facecloak.masks.mask import Mask
from facecloak.stores import MaskNotFound
from facecloak.v1 import enroll_pb2
from facecloak_client import AsyncFaceCloakClient, FaceCloakClient, Retries, consent, errors, photo
from facecloak_rpc.caller_limits import CallerLimitSettings
from facecloak_rpc.identity import IdentitySettings
from tests.tokens import AUDIENCE, ISSUER, Issuer
from tests.users import ALICE


def client_of(service: Any, **options: Any) -> FaceCloakClient:
    how = {"health_checks": False, "retries": Retries(attempts=1), **options}
    return FaceCloakClient(enroll=service.server.target, **how)


def tree(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def gray_photo() -> bytes:
    return simplejpeg.encode_jpeg(np.full((400, 400, 3), 90, np.uint8), colorspace="RGB")


def test_one_message_and_nothing_is_queued(service: Any, tmp_path: Path) -> None:
    before = tree(tmp_path)
    request = enroll_pb2.EnrollUserRequest(
        user_id="alice", photos=[enroll_pb2.EnrollmentPhoto(data=b"x")], validate_only=True, request_id="r1"
    )
    (message,) = service.stub.EnrollUser(request, timeout=20)
    assert message.WhichOneof("event") == "validation"
    assert (service.gate.started, service.domain.jobs.waiting, service.domain.jobs.running) == ([], 0, 0)
    with pytest.raises(MaskNotFound):
        service.store.get(ALICE)
    assert tree(tmp_path) == before
    # Its request id is free for the enrollment.
    service.gate.open()
    assert [*service.enroll(photos=[b"x"], request_id="r1")][-1].HasField("result")


def test_everything_that_needs_no_photo_is_refused_alike(make_service: Callable[..., Any]) -> None:
    service = make_service(consent_required=True, photos_mebibytes_limit=1)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    agreed = consent("v1", purpose="cloaking", given_at=yesterday)
    ended = consent("v1", purpose="cloaking", given_at=yesterday, expires_at=yesterday + timedelta(hours=1))
    with client_of(service) as client:
        client.validate("alice", b"x", consent=agreed)
        cases: list[tuple[type[Exception], Callable[..., Any], dict[str, Any]]] = [
            (errors.ConsentRequired, client.validate, {}),
            (errors.ConsentInvalid, client.validate, {"consent": ended}),
            (errors.MaskNotFound, client.validate, {
                "consent": agreed, "options": enroll_pb2.EnrollOptions(add=True),
            }),
        ]  # fmt: skip
        for kind, call, options in cases:
            with pytest.raises(kind):
                call("alice", b"x", **options)
        for user_id, photos in (("", b"x"), ("alice", []), ("alice", [b"x"] * 17), ("alice", b"x" * (2**20 + 1))):
            with pytest.raises(errors.InvalidRequest):
                client.validate(user_id, photos, consent=agreed)
    assert len(service.gate.checked) == 1


def test_a_full_queue_is_told(make_service: Callable[..., Any]) -> None:
    service = make_service(workers=1, queue_limit=1)
    running = service.enroll("alice")
    service.gate.wait(lambda: service.gate.started == ["alice"])
    waiting = service.enroll("bob")
    next(iter(waiting))
    with client_of(service) as client:
        with pytest.raises(errors.Overloaded) as refused:
            client.validate("carol", b"x")
        assert refused.value.retry_after_s
        service.gate.open()
        assert all([*call][-1].HasField("result") for call in (running, waiting))
        client.validate("carol", b"x")
    assert "carol" not in service.gate.started


def test_the_right_to_enroll_and_the_callers_share(make_service: Callable[..., Any], tmp_path: Path) -> None:
    issuer, callers = Issuer("EdDSA"), tmp_path / "callers.toml"
    callers.write_text(
        "".join(
            f'[[caller]]\nname = "{name}"\nclaims = {{sub = "{name}"}}\ntenant = "acme"\nrights = ["{right}"]\n'
            for name, right in (("one", "enroll"), ("other", "enroll"), ("reader", "read"))
        )
    )
    identity = IdentitySettings(
        callers=callers, jwks=str(issuer.write_jwks(tmp_path / "jwks.json")), issuer=ISSUER, audience=AUDIENCE
    )
    limits = CallerLimitSettings(caller_share=0.5)
    service = make_service(workers=1, queue_limit=4, identity=identity, caller_limits=limits)

    def client(name: str) -> FaceCloakClient:
        return client_of(service, token=issuer.token(name))

    with client("one") as one, client("other") as other, client("reader") as reader:
        with pytest.raises(errors.RightMissing):
            reader.validate("alice", b"x")
        enrollments = [one.enroll("user-0", b"x")]
        service.gate.wait(lambda: service.gate.started)
        enrollments += [one.enroll(f"user-{number}", b"x") for number in (1, 2)]
        for enrollment in enrollments:
            next(iter(enrollment))
        with pytest.raises(errors.ShareExceeded):
            one.validate("user-9", b"x")
        other.validate("user-9", b"x")
        service.gate.open()
        for enrollment in enrollments:
            enrollment.result()


def test_no_more_are_looked_at_at_once_than_workers(make_service: Callable[..., Any]) -> None:
    service = make_service(workers=1)
    service.gate.may_look.clear()
    with client_of(service) as client:
        told: list[Any] = []
        threads = [threading.Thread(target=lambda: told.append(client.validate("alice", b"x"))) for _ in range(3)]
        for thread in threads:
            thread.start()
        with pytest.raises(errors.CallFailed):  # gives up waiting for a place, or for the look
            client.validate("bob", b"x", timeout_s=1.0)
        assert len(service.gate.checked) == 1
        service.gate.may_look.set()
        for thread in threads:
            thread.join(20)
        assert len(told) == 3


def test_photos_are_judged_as_the_enrollment_does(real_service: Any, astronaut_photo: bytes, gray_photo: bytes) -> None:
    with client_of(real_service) as client:
        told = client.validate("zoe", astronaut_photo)
        assert (told.photo_count, list(told.photos_left_out)) == (1, [])
        with pytest.raises(errors.NoFace) as refused:
            client.validate("zoe", [astronaut_photo, gray_photo])
        assert refused.value.metadata["photo"] == "1"
        options = enroll_pb2.EnrollOptions(leave_out_unfit=True)
        told = client.validate("zoe", [gray_photo, astronaut_photo, b"no photo"], options=options)
        assert told.photo_count == 1
        assert [(one.photo, one.reason) for one in told.photos_left_out] == [
            (0, "NO_FACE"), (2, "UNSUPPORTED_PHOTO"),
        ]  # fmt: skip
        assert len(told.warnings) >= 2
        with pytest.raises(errors.PhotoRefused):
            client.validate("zoe", astronaut_photo[: len(astronaut_photo) // 2])
        with pytest.raises(errors.NoFace):  # not where the caller says
            client.validate("zoe", photo(astronaut_photo, face={"x": -9000, "y": 0, "width": 9, "height": 9}))
        with pytest.raises(errors.MaskNotFound):
            client.get_enrollment("zoe")


def test_a_mask_in_another_frame_cannot_be_refined(real_service: Any, astronaut_photo: bytes) -> None:
    from facecloak.masks.mask import MaskGeometry

    pixels = np.zeros((112, 112, 3), np.int8)
    for geometry in MaskGeometry:
        real_service.store.put(ALICE, Mask.new(pixels, seed=1, geometry=geometry))
        options = enroll_pb2.EnrollOptions(add=True)
        with client_of(real_service) as client:
            if geometry is MaskGeometry.FACE:
                assert client.validate("alice", astronaut_photo, options=options).photo_count == 1
            else:
                with pytest.raises(errors.MaskNotRefinable):
                    client.validate("alice", astronaut_photo, options=options)


def test_asyncio_too(real_service: Any, astronaut_photo: bytes, gray_photo: bytes) -> None:
    async def ask(data: bytes) -> Any:
        async with AsyncFaceCloakClient(enroll=real_service.server.target, health_checks=False) as client:
            return await client.validate("zoe", data)

    assert asyncio.run(ask(astronaut_photo)).photo_count == 1
    with pytest.raises(errors.NoFace):
        asyncio.run(ask(gray_photo))


def test_on_the_command_line(
    real_service: Any, astronaut_photo: bytes, gray_photo: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    model_repository: Path, quick: dict[str, Any],
) -> None:  # fmt: skip
    monkeypatch.setenv("FACECLOAK_MODEL_REPOSITORY", str(model_repository))
    monkeypatch.setenv("FACECLOAK_ENROLL_SURROGATES", json.dumps(quick["surrogates"]))
    good, bad, data = tmp_path / "good.jpg", tmp_path / "bad.jpg", tmp_path / "data"
    good.write_bytes(astronaut_photo)
    bad.write_bytes(gray_photo)
    for place in (["--target", real_service.server.target], ["--data", str(data)]):
        command = ["enroll", "--user", "zoe", "--validate-only", *place]
        done = CliRunner().invoke(build_cli(), [*command, str(good)])
        assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "1 photo would be learned from"), done.stderr
        done = CliRunner().invoke(build_cli(), [*command, str(good), str(bad)])
        assert done.exit_code == 1
        assert f"{bad}: " in done.stderr
        assert "NO_FACE" in done.stderr
        done = CliRunner().invoke(build_cli(), [*command, "--leave-out-unfit", "--json", str(good), str(bad)])
        assert json.loads(done.stdout)["photos_left_out"] == [{"photo": 1, "reason": "NO_FACE"}]
    assert not data.exists()
