"""The client against real servers: what it sends, what it tries again, and what its errors say."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import grpc
import pytest

from facecloak.errors import ErrorCode, FaceCloakError, InvalidInput
from facecloak.v1 import apply_pb2, common_pb2, enroll_pb2
from facecloak_client import (
    AsyncFaceCloakClient,
    CallFailed,
    Connection,
    FaceCloakClient,
    NotCloaked,
    Retries,
    Tls,
    apply_request,
    consent,
    errors,
    photo,
    subject,
)
from facecloak_client.failures import BY_REASON
from facecloak_rpc.errors import DeadlineExceeded, Overloaded, ShuttingDown

ROOT = Path(__file__).resolve().parents[2]
QUICK = Retries(attempts=4, first_delay_s=0.01, longest_delay_s=0.05)


def refused(code: ErrorCode, reason: str, **attributes: Any) -> FaceCloakError:
    kind = type("Refused", (FaceCloakError,), {"code": code, "reason": reason})
    error = kind("no", photo=1)
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def cloaked(request: apply_pb2.ApplyCloakRequest) -> apply_pb2.ApplyCloakResponse:
    return apply_pb2.ApplyCloakResponse(photo=request.photo + b"!")


@pytest.fixture
def client(services: Any) -> Iterator[FaceCloakClient]:
    with FaceCloakClient(**services.targets, retries=QUICK) as made:
        yield made


def test_apply_requires_cloaked_unless_told_otherwise(services: Any, client: FaceCloakClient) -> None:
    services.apply.then(cloaked, cloaked)
    box = common_pb2.FaceBox(x=1, y=2, width=3, height=4)
    assert client.apply(b"a", "alice").photo == b"a!"
    client.apply(b"b", ["alice", subject("bob", box=box)], require_cloaked=False, recloak=True)
    first, second = services.apply.requests
    assert first.require_cloaked
    assert not second.require_cloaked
    assert second.recloak
    assert [one.user_id for one in second.subjects] == ["alice", "bob"]
    assert second.subjects[1].face.box == box


def test_every_documented_reason_has_a_class_of_its_code() -> None:
    text = (ROOT / "protos/facecloak/v1/common.proto").read_text()
    code, documented = "", {}
    for line in text.splitlines():
        if found := re.match(r"//   ([A-Z_]+): ", line):
            code = found[1]
        elif found := re.match(r"//     ([A-Z][A-Z_]+)( |$)", line):
            documented[found[1]] = code
    assert len(documented) > 25
    assert set(documented) == set(BY_REASON)
    bases = {
        "INVALID_ARGUMENT": errors.InvalidRequest, "NOT_FOUND": errors.NotFound, "ABORTED": errors.Aborted,
        "FAILED_PRECONDITION": errors.PreconditionFailed, "RESOURCE_EXHAUSTED": errors.LimitReached,
        "UNAVAILABLE": errors.Unavailable, "DEADLINE_EXCEEDED": errors.DeadlineExceeded,
        "CANCELLED": errors.Cancelled, "INTERNAL": errors.Defect, "UNAUTHENTICATED": errors.Unauthenticated,
        "PERMISSION_DENIED": errors.PermissionDenied,
    }  # fmt: skip
    for reason, of_code in documented.items():
        assert issubclass(BY_REASON[reason], bases[of_code]), reason


def test_failure_says_what_the_service_said(services: Any, client: FaceCloakClient) -> None:
    services.apply.then(InvalidInput("give a photo", field="photo", limit=3))
    with pytest.raises(errors.InvalidInput, match=r"give a photo \(INVALID_INPUT\)") as failed:
        client.apply(b"", "alice")
    assert failed.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failed.value.metadata == {"field": "photo", "limit": "3"}
    assert failed.value.request_id == services.apply.metadata[0]["x-request-id"]
    assert failed.value.retry_after_s is None


def test_reason_of_a_later_release_is_of_its_code(services: Any, client: FaceCloakClient) -> None:
    services.apply.then(refused(ErrorCode.FAILED_PRECONDITION, "MOON_IS_FULL"))
    with pytest.raises(errors.PreconditionFailed) as failed:
        client.find_faces(b"x")
    assert type(failed.value) is errors.PreconditionFailed
    assert failed.value.reason == "MOON_IS_FULL"


def test_details_are_typed(services: Any, client: FaceCloakClient) -> None:
    told = apply_pb2.NotCloaked(subjects=[apply_pb2.SubjectResult(user_id="bob", outcome="CLOAK_OUTCOME_NO_MASK")])
    found = common_pb2.FacesFound(faces=[common_pb2.Face(score=0.5)])
    services.apply.then(refused(ErrorCode.FAILED_PRECONDITION, "NOT_CLOAKED", details=(told,)))
    services.enroll.then(refused(ErrorCode.FAILED_PRECONDITION, "SEVERAL_FACES", details=(found,)))
    with pytest.raises(NotCloaked) as failed:
        client.apply(b"x", "bob")
    assert [one.user_id for one in failed.value.subjects] == ["bob"]
    with pytest.raises(errors.SeveralFaces) as several:
        client.enroll("bob", photo(b"x")).result()
    assert several.value.photo == 1
    assert [face.score for face in several.value.faces] == [0.5]


def test_what_may_help_is_tried_again(services: Any, client: FaceCloakClient) -> None:
    busy = Overloaded("busy", retry_after_seconds="0.05")
    services.apply.then(busy, ShuttingDown("bye"), cloaked)
    assert client.apply(b"a", "alice").photo == b"a!"
    assert len(services.apply.requests) == 3


def test_service_names_the_delay(services: Any, client: FaceCloakClient) -> None:
    services.apply.then(Overloaded("busy", retry_after_seconds="0.6"), cloaked)
    began = time.monotonic()
    client.apply(b"a", "alice")
    assert time.monotonic() - began >= 0.6  # its own would be 0.05 at most


def test_delay_beyond_the_deadline_is_not_waited_for(services: Any, client: FaceCloakClient) -> None:
    services.apply.then(Overloaded("busy", retry_after_seconds="60"))
    began = time.monotonic()
    with pytest.raises(errors.Overloaded) as failed:
        client.apply(b"a", "alice", timeout_s=5)
    assert failed.value.retry_after_s == 60
    assert time.monotonic() - began < 4


def test_attempts_are_bounded(services: Any, client: FaceCloakClient) -> None:
    services.apply.then(*[Overloaded("busy", retry_after_seconds="0.01")] * 6)
    with pytest.raises(errors.Overloaded):
        client.apply(b"a", "alice")
    assert len(services.apply.requests) == QUICK.attempts


def test_what_cannot_help_is_not_tried_again(services: Any, client: FaceCloakClient) -> None:
    services.enroll.then(DeadlineExceeded("over"))
    with pytest.raises(errors.DeadlineExceeded):
        client.delete("alice")
    assert len(services.enroll.requests) == 1


def test_enrollment_shows_progress_and_survives_a_lost_connection(
    services: Any, client: FaceCloakClient, events: Any
) -> None:
    progress, result, _ = events

    def broken(_: Any) -> Iterator[Any]:
        yield progress(0.5)
        raise ShuttingDown("bye")

    services.enroll.then(broken, lambda _: iter([progress(0.1), progress(0.75), result("m7")]))
    enrollment = client.enroll("alice", [b"one", b"two"], options=enroll_pb2.EnrollOptions(strength=3))
    assert [event.fraction for event in enrollment] == [0.5, 0.5, 0.75]
    assert enrollment.result().mask_id == "m7"
    first, second = services.enroll.requests
    assert first.request_id == second.request_id == enrollment.request_id != ""
    assert [one.data for one in first.photos] == [b"one", b"two"]
    assert first.options.strength == 3


def test_cancelled_enrollment_ends(services: Any, client: FaceCloakClient, events: Any) -> None:
    progress, _, _ = events

    def endless(_: Any) -> Iterator[Any]:
        while True:
            yield progress(0.1)
            time.sleep(0.05)

    services.enroll.then(endless)
    enrollment = client.enroll("alice", b"x")
    next(iter(enrollment))
    enrollment.cancel()
    with pytest.raises(errors.Cancelled):
        enrollment.result()
    assert len(services.enroll.requests) == 1


def test_stream_without_a_result_is_an_error(services: Any, client: FaceCloakClient, events: Any) -> None:
    services.enroll.then(lambda _: iter([events[0](0.5)]))
    with pytest.raises(CallFailed, match="no result"):
        client.enroll("alice", b"x").result()


def test_stream_holds_no_more_than_its_bound(services: Any, client: FaceCloakClient) -> None:
    services.apply.then(*[cloaked] * 50)
    taken, answered, most = 0, 0, 0

    def photos() -> Iterator[tuple[str, apply_pb2.ApplyCloakRequest]]:
        nonlocal taken, most
        for number in range(50):
            taken += 1
            most = max(most, taken - answered)
            yield f"p{number}", apply_request(str(number).encode(), "alice")

    got = {}
    for answer in client.apply_stream(photos(), in_flight=3):
        answered += 1
        got[answer.key] = answer.photo
    assert got == {f"p{number}": f"{number}!".encode() for number in range(50)}
    # One more than the bound: this thread counts an answer a moment after the sender has made room.
    assert most <= 4


def test_stream_resumes_and_repeats(services: Any, client: FaceCloakClient, events: Any) -> None:
    end = events[2]
    services.apply.then(
        cloaked, Overloaded("busy", retry_after_seconds="0.01"), end(ShuttingDown("bye")), InvalidInput("no photo"),
        *[cloaked] * 5,
    )  # fmt: skip
    photos = [(number, apply_request(str(number).encode(), "alice")) for number in range(5)]
    answers = {answer.key: answer for answer in client.apply_stream(photos, in_flight=2)}
    assert sorted(answers) == [0, 1, 2, 3, 4]
    failed = [answer for answer in answers.values() if answer.failure is not None]
    assert [type(answer.failure) for answer in failed] == [errors.InvalidInput]
    with pytest.raises(errors.InvalidInput):
        _ = failed[0].photo


def test_stream_tells_the_callers_own_error(services: Any, client: FaceCloakClient) -> None:
    services.apply.then(*[cloaked] * 3)

    def photos() -> Iterator[tuple[int, apply_pb2.ApplyCloakRequest]]:
        yield 1, apply_request(b"1", "alice")
        raise KeyError("mine")

    answers = client.apply_stream(photos())
    assert next(answers).key == 1
    with pytest.raises(KeyError, match="mine"):
        next(answers)


def test_stream_that_cannot_begin_fails(services: Any, client: FaceCloakClient, events: Any) -> None:
    services.apply.then(*[events[2](ShuttingDown("bye"))] * 9)
    with pytest.raises(errors.ShuttingDown):
        list(client.apply_stream([(1, apply_request(b"1", "alice"))]))
    assert len(services.apply.requests) == QUICK.attempts


def test_asyncio_client(services: Any, events: Any) -> None:
    progress, result, end = events

    def broken(_: Any) -> Iterator[Any]:
        yield progress(0.5)
        raise ShuttingDown("bye")

    services.enroll.then(broken, lambda _: iter([progress(0.25), result("m7")]))
    services.enroll.then(lambda _: enroll_pb2.DeleteUserResponse(deleted=True))
    services.apply.then(Overloaded("busy", retry_after_seconds="0.05"), cloaked, InvalidInput("no"))
    services.apply.then(cloaked, Overloaded("busy", retry_after_seconds="0.01"), end(ShuttingDown("bye")))
    services.apply.then(InvalidInput("no photo"), *[cloaked] * 5)

    async def photos() -> Any:
        for number in range(5):
            yield number, apply_request(str(number).encode(), "alice")

    async def use() -> None:
        async with AsyncFaceCloakClient(**services.targets, retries=QUICK) as client:
            enrollment = client.enroll("alice", b"x")
            assert [event.fraction async for event in enrollment] == [0.5, 0.5]
            assert (await enrollment.result()).mask_id == "m7"
            assert await client.delete("alice")
            assert (await client.apply(b"a", "alice")).photo == b"a!"
            with pytest.raises(errors.InvalidInput):
                await client.find_faces(b"")
            answers = [answer async for answer in client.apply_stream(photos(), in_flight=2)]
            assert sorted(answer.key for answer in answers) == [0, 1, 2, 3, 4]
            assert sum(answer.failure is not None for answer in answers) == 1

    asyncio.run(asyncio.wait_for(use(), 60))
    assert services.apply.metadata[0]["x-request-id"]


def test_plain_trailers_say_reason_delay_and_request_id(services: Any) -> None:
    services.apply.then(Overloaded("busy", retry_after_seconds="1.2"), InvalidInput("no"))
    with grpc.insecure_channel(services.targets["apply"]) as channel:
        call = channel.unary_unary("/facecloak.v1.ApplyService/FindFaces")
        busy, wrong = (_trailers(call, request_id=name) for name in ("one", "two"))
    assert busy["facecloak-reason"] == "OVERLOADED"
    assert (busy["retry-after"], busy["grpc-retry-pushback-ms"]) == ("2", "1200")
    assert busy["x-request-id"] == "one"
    assert wrong["facecloak-reason"] == "INVALID_INPUT"
    assert "retry-after" not in wrong
    assert "grpc-retry-pushback-ms" not in wrong


def _trailers(call: Any, *, request_id: str) -> dict[str, Any]:
    with pytest.raises(grpc.RpcError) as failed:
        call(b"", timeout=10, metadata=[("x-request-id", request_id)])
    return dict(failed.value.trailing_metadata())


def test_token_goes_with_every_call_and_is_asked_for_anew(services: Any) -> None:
    tokens = iter(["first", "second"])
    services.enroll.then(*[lambda _: enroll_pb2.DeleteUserResponse()] * 2)
    with FaceCloakClient(enroll=services.targets["enroll"], token=lambda: next(tokens)) as client:
        client.delete("alice")
        client.delete("alice")
    sent = [metadata["authorization"] for metadata in services.enroll.metadata]
    assert sent == ["Bearer first", "Bearer second"]


def test_consent_and_upload_tickets_travel(services: Any, events: Any) -> None:
    _, result, _ = events
    given = datetime(2026, 11, 30, 12, tzinfo=timezone(timedelta(hours=2)))
    record = consent("v7", purpose="cloaking", given_at=given, expires_at=given + timedelta(days=1))
    assert record.given_at.ToJsonString() == "2026-11-30T10:00:00Z"
    with pytest.raises(ValueError, match="zone"):
        consent("v7", purpose="cloaking", given_at=datetime(2026, 11, 30))
    services.enroll.then(*[lambda _: iter([result()])] * 2)
    services.apply.then(*[cloaked] * 4)
    pairs = [(0, apply_request(b"x", "alice"))]

    async def use() -> None:
        async def photos() -> Any:
            for pair in pairs:
                yield pair

        async with AsyncFaceCloakClient(**services.targets) as client:
            await client.enroll("alice", b"x", consent=record).result()
            await client.apply(b"x", "alice", tickets="t2")
            assert [one.key async for one in client.apply_stream(photos(), tickets=["t3"])] == [0]

    with FaceCloakClient(**services.targets) as client:
        client.enroll("alice", b"x", consent=record).result()
        client.apply(b"x", "alice", tickets=["t0"])
        assert [one.key for one in client.apply_stream(pairs, tickets="t1")] == [0]
    asyncio.run(asyncio.wait_for(use(), 60))
    assert [one.consent for one in services.enroll.requests] == [record] * 2
    assert [one["x-facecloak-ticket"] for one in services.apply.metadata] == ["t0", "t1", "t2", "t3"]


@pytest.mark.parametrize("target", ["apply.svc:50062", "dns:///apply.svc:50062", "192.0.2.1:1", "2001:db8::1:50062"])
def test_token_does_not_go_over_the_network_in_the_clear(target: str) -> None:
    with pytest.raises(ValueError, match="in the clear"):
        Connection(target, "s", token="secret")
    assert "secret" not in repr(Connection(target, "s", token="secret", tls=Tls()))
    Connection(target, "s", token="secret", token_in_the_clear=True)


@pytest.mark.parametrize(
    "target", ["127.0.0.1:1", "[::1]:1", "::1:50062", "localhost:5", "unix:/run/apply", "dns:///localhost:5"]
)
def test_token_may_go_to_this_machine(target: str) -> None:
    Connection(target, "s", token="secret")


def test_service_that_was_not_named_is_not_called() -> None:
    with FaceCloakClient(apply="127.0.0.1:1") as client, pytest.raises(ValueError, match="enroll=HOST:PORT"):
        client.delete("alice")


def test_no_answer_is_unavailable(free_port: int) -> None:
    client = FaceCloakClient(apply=f"127.0.0.1:{free_port}", retries=QUICK, health_checks=False)
    with client, pytest.raises(errors.Unavailable) as failed:
        client.apply(b"x", "alice", timeout_s=20)
    assert failed.value.reason == "UNAVAILABLE"
    assert failed.value.details == ()


def test_validating_stops_a_service_that_enrolls_instead(services: Any, client: FaceCloakClient, events: Any) -> None:
    """As one of a release before does, that does not know the field."""
    progress, *_ = events
    left = threading.Event()

    def enrolls(_request: Any) -> Iterator[Any]:
        try:
            while True:
                yield progress(0.1)
                time.sleep(0.01)
        finally:
            left.set()

    services.enroll.then(enrolls)
    with pytest.raises(errors.Defect, match="does not know how to validate") as failed:
        client.validate("alice", b"photo")
    assert failed.value.code is grpc.StatusCode.UNIMPLEMENTED
    assert services.enroll.requests[0].validate_only
    assert left.wait(10)


def test_validating_tries_again_what_may_help(services: Any, client: FaceCloakClient) -> None:
    told = enroll_pb2.EnrollUserResponse(validation=enroll_pb2.EnrollmentValidation(photo_count=1))
    services.enroll.then(Overloaded("later", retry_after_seconds="0.01"), lambda _: iter([told]))
    assert client.validate("alice", b"photo").photo_count == 1
    assert len(services.enroll.requests) == 2
