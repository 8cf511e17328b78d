"""EnrollService through a real server: queue, idempotency, cancellation, deletion. The tests time the learning."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from enroll_service.convert import enrollment_from
from facecloak.errors import ErrorCode
from facecloak.masks.mask import Mask
from facecloak.stores import MaskNotFound, StoreUnavailable
from facecloak.v1 import enroll_pb2
from facecloak_rpc.client import RemoteError, remote_errors
from facecloak_rpc.logging import configure_logging
from tests.users import ALICE


def refused(call: Callable[[], Any]) -> RemoteError:
    with pytest.raises(RemoteError) as caught, remote_errors():
        call()
    return caught.value


def wait_for(condition: Callable[[], Any], *, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def get(service: Any, user_id: str) -> enroll_pb2.Enrollment:
    return service.stub.GetEnrollment(enroll_pb2.GetEnrollmentRequest(user_id=user_id), timeout=10).enrollment


def delete(service: Any, user_id: str) -> bool:
    return service.stub.DeleteUser(enroll_pb2.DeleteUserRequest(user_id=user_id), timeout=10).deleted


def test_progress_then_one_result(service: Any) -> None:
    service.gate.open()
    messages = list(service.enroll("alice", photos=[b"a", b"b"]))
    events = [message.WhichOneof("event") for message in messages]
    assert events[-1] == "result"
    assert set(events[:-1]) == {"progress"}
    fractions = [message.progress.fraction for message in messages[:-1]]
    assert fractions == sorted(fractions)
    assert messages[0].progress.stage == enroll_pb2.ENROLL_STAGE_QUEUED
    assert messages[-2].progress.detail == "step 4 of 4"
    result = messages[-1].result
    assert result.photo_count == 2
    assert result.mask_id == service.store.get(ALICE).mask_id
    assert get(service, "alice") == result
    assert enrollment_from(result).mask_id == result.mask_id


def test_the_mask_itself_never_leaves(service: Any) -> None:
    service.gate.open()
    sent = b"".join(message.SerializeToString() for message in service.enroll())
    sent += get(service, "alice").SerializeToString()
    pixels = service.store.get(ALICE).pixels.tobytes()
    assert pixels[:64] not in sent
    assert len(sent) < 2000


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"user_id": ""}, "user_id"),
        ({"user_id": "x" * 257}, "user_id"),
        ({"user_id": "a\nb"}, "user_id"),
        ({"user_id": "a\u202eb"}, "user_id"),
        ({"photos": []}, "photos"),
        ({"photos": [b"x"] * 17}, "photos"),
        ({"photos": [b"x" * 1_100_000]}, "photos"),
        ({"request_id": "a b"}, "request_id"),
        ({"request_id": "a" * 65}, "request_id"),
    ],
)
def test_a_wrong_request_names_the_field(make_service: Callable[..., Any], change: dict[str, Any], field: str) -> None:
    service = make_service(photos_mebibytes_limit=1)
    error = refused(lambda: list(service.enroll(**change)))
    reason = "INVALID_USER_ID" if field == "user_id" else "INVALID_INPUT"
    assert (error.code, error.reason, error.metadata["field"]) == (ErrorCode.INVALID_ARGUMENT, reason, field)
    assert service.gate.started == []


def test_small_files_of_many_pixels_are_refused_before_they_are_decoded(make_service: Callable[..., Any]) -> None:
    service = make_service(photos_megapixels_limit=100)
    out = io.BytesIO()
    Image.new("RGB", (6000, 5000)).save(out, "WEBP", lossless=True)
    assert len(out.getvalue()) < 5000
    service.gate.open()
    error = refused(lambda: list(service.enroll(photos=[out.getvalue()] * 4)))
    assert (error.code, error.reason) == (ErrorCode.INVALID_ARGUMENT, "INVALID_INPUT")
    assert (error.metadata["max_pixels"], error.metadata["pixels"]) == ("100000000", "120000000")
    assert service.gate.started == []
    assert list(service.enroll(photos=[out.getvalue()] * 3))[-1].WhichOneof("event") == "result"


def test_a_user_without_a_mask_is_not_found(service: Any) -> None:
    error = refused(lambda: get(service, "nobody"))
    assert (error.code, error.reason) == (ErrorCode.NOT_FOUND, "MASK_NOT_FOUND")


def test_deleting_can_be_repeated(service: Any) -> None:
    service.gate.open()
    list(service.enroll())
    assert [delete(service, "alice"), delete(service, "alice")] == [True, False]
    assert refused(lambda: get(service, "alice")).code is ErrorCode.NOT_FOUND


def test_a_full_queue_says_when_to_come_back(make_service: Callable[..., Any]) -> None:
    service = make_service(queue_limit=1)
    first = service.enroll("first")
    service.gate.wait(lambda: service.gate.started == ["first"])
    second = service.enroll("second")
    wait_for(lambda: service.domain.jobs.waiting == 1)
    error = refused(lambda: list(service.enroll("third")))
    assert (error.code, error.reason) == (ErrorCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert error.retry_seconds is not None
    assert error.retry_seconds > 0
    service.gate.open()
    assert [list(call)[-1].WhichOneof("event") for call in (first, second)] == ["result", "result"]


def test_users_take_turns(service: Any) -> None:
    calls = [service.enroll("alice")]
    service.gate.wait(lambda: service.gate.started == ["alice"])
    for user_id in ("alice", "alice", "bob", "carol", "bob"):
        calls.append(service.enroll(user_id))
        wait_for(lambda: service.domain.jobs.waiting == len(calls) - 1)
    service.gate.open()
    for call in calls:
        assert list(call)[-1].HasField("result")
    # In order of arrival it would be alice three times before anybody else.
    assert service.gate.started == ["alice", "alice", "bob", "carol", "alice", "bob"]


def test_one_users_enrollments_run_one_after_the_other(make_service: Callable[..., Any]) -> None:
    service = make_service(workers=2)
    calls = [service.enroll("alice", photos=[b"1"])]
    service.gate.wait(lambda: service.gate.started == ["alice"])
    # The first message says that the call has come to the queue.
    calls.append(service.enroll("alice", photos=[b"1", b"2"]))
    assert next(calls[1]).HasField("progress")
    calls.append(service.enroll("bob"))
    service.gate.wait(lambda: sorted(service.gate.started) == ["alice", "bob"])
    assert service.domain.jobs.waiting == 1
    service.gate.open()
    masks = [list(call)[-1].result.mask_id for call in calls]
    assert service.store.get(ALICE).mask_id == masks[1]


def test_one_user_cannot_fill_the_queue(make_service: Callable[..., Any]) -> None:
    service = make_service(user_queue_limit=1)
    calls = [service.enroll("alice")]
    service.gate.wait(lambda: service.gate.started == ["alice"])
    calls.append(service.enroll("alice"))
    wait_for(lambda: service.domain.jobs.waiting == 1)
    error = refused(lambda: list(service.enroll("alice")))
    assert (error.code, error.reason) == (ErrorCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert error.metadata["user_queue_limit"] == "1"
    assert error.retry_seconds
    calls.append(service.enroll("bob"))
    wait_for(lambda: service.domain.jobs.waiting == 2)
    service.gate.open()
    assert all(list(call)[-1].HasField("result") for call in calls)


def test_one_who_left_the_queue_makes_room(make_service: Callable[..., Any]) -> None:
    service = make_service(queue_limit=1)
    first = service.enroll("first")
    service.gate.wait(lambda: service.gate.started == ["first"])
    second = service.enroll("second")
    wait_for(lambda: service.domain.jobs.waiting == 1)
    second.cancel()
    third = None
    for _ in range(100):
        third = service.enroll("third")
        if service.domain.jobs.waiting and next(third).WhichOneof("event") == "progress":
            break
        time.sleep(0.02)
    service.gate.open()
    assert third is not None
    assert list(third)[-1].HasField("result")
    assert list(first)[-1].HasField("result")
    assert "second" not in service.gate.started


def test_a_client_that_vanishes_stops_the_work_within_one_iteration(service: Any) -> None:
    call = service.enroll()
    service.gate.permits.release(2)
    wait_for(lambda: service.gate.iterations == 2)
    call.cancel()
    service.gate.wait(lambda: service.gate.ended == ["cancelled"], 5)
    assert service.gate.iterations == 2
    wait_for(lambda: service.domain.jobs.running == 0)
    with pytest.raises(MaskNotFound):
        service.store.get(ALICE)


def test_a_deadline_stops_the_work(service: Any) -> None:
    error = refused(lambda: list(service.enroll(timeout=0.5)))
    assert error.code is ErrorCode.DEADLINE_EXCEEDED
    service.gate.wait(lambda: service.gate.ended == ["cancelled"], 5)


def test_the_services_own_limit_stops_the_work(make_service: Callable[..., Any]) -> None:
    service = make_service(enrollment_seconds_limit=0.2)
    error = refused(lambda: list(service.enroll()))
    assert (error.code, error.metadata["seconds_limit"]) == (ErrorCode.DEADLINE_EXCEEDED, "0.2")


def test_a_failed_enrollment_leaves_the_earlier_mask(service: Any) -> None:
    service.gate.permits.release(4)
    list(service.enroll())
    before = service.store.get(ALICE)
    call = service.enroll()
    service.gate.wait(lambda: len(service.gate.started) == 2)
    call.cancel()
    service.gate.wait(lambda: service.gate.ended == ["done", "cancelled"])
    assert service.store.get(ALICE) == before


def test_a_repeated_call_joins_the_running_one(service: Any) -> None:
    first = service.enroll(request_id="r-1")
    service.gate.wait(lambda: service.gate.started == ["alice"])
    second = service.enroll(request_id="r-1")
    assert next(second).HasField("progress")
    service.gate.open()
    results = [list(call)[-1].result for call in (first, second)]
    assert results[0] == results[1]
    assert service.gate.started == ["alice"]


def test_the_one_who_joined_keeps_the_work_alive(service: Any) -> None:
    first = service.enroll(request_id="r-1")
    service.gate.wait(lambda: service.gate.started == ["alice"])
    second = service.enroll(request_id="r-1")
    assert next(second).HasField("progress")
    first.cancel()
    time.sleep(0.2)
    service.gate.open()
    assert list(second)[-1].HasField("result")
    assert service.gate.ended == ["done"]


def test_a_repeated_call_after_the_end_gets_the_first_result(service: Any) -> None:
    service.gate.open()
    first = list(service.enroll(request_id="r-1"))[-1].result
    assert list(service.enroll(request_id="r-1"))[-1].result == first
    assert service.gate.started == ["alice"]
    # Without a request id nothing is joined.
    assert list(service.enroll())[-1].result.mask_id != first.mask_id


def test_a_repeated_call_after_a_restart_gets_the_stored_result(make_service: Callable[..., Any]) -> None:
    service = make_service()
    service.gate.open()
    first = list(service.enroll(request_id="r-1"))[-1].result
    service.close()
    restarted = make_service()
    assert [message.WhichOneof("event") for message in restarted.enroll(request_id="r-1")] == ["progress", "result"]
    assert list(restarted.enroll(request_id="r-1"))[-1].result == first == get(restarted, "alice")
    for change in ({"photos": [b"other"]}, {"add": True}, {"leave_out_unfit": True}):
        error = refused(lambda change=change: list(restarted.enroll(request_id="r-1", **change)))
        assert (error.code, error.reason) == (ErrorCode.FAILED_PRECONDITION, "REQUEST_ID_REUSED")
    assert restarted.gate.started == []
    restarted.gate.open()
    # Another request, and none: each makes a mask.
    assert list(restarted.enroll(request_id="r-2"))[-1].result.mask_id != first.mask_id
    list(restarted.enroll())
    assert restarted.gate.started == ["alice", "alice"]
    # The store knows the last request only.
    assert list(restarted.enroll(request_id="r-1"))[-1].result.mask_id != first.mask_id


def test_refining_is_not_repeated_after_a_restart(make_service: Callable[..., Any]) -> None:
    service = make_service()
    service.gate.open()
    list(service.enroll())
    refined = list(service.enroll(request_id="r-1", add=True))[-1].result
    service.close()
    restarted = make_service()
    assert list(restarted.enroll(request_id="r-1", add=True))[-1].result == refined
    assert restarted.gate.started == []


def test_a_mask_that_cannot_be_read_is_no_answer(make_service: Callable[..., Any], tmp_path: Path) -> None:
    service = make_service()
    service.gate.open()
    first = list(service.enroll(request_id="r-1"))[-1].result
    service.close()
    (stored,) = (path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 37_000)
    stored.write_bytes(stored.read_bytes()[:-1])
    restarted = make_service()
    restarted.gate.open()
    assert list(restarted.enroll(request_id="r-1"))[-1].result.mask_id != first.mask_id


def test_a_retry_after_cancelling_starts_anew(service: Any) -> None:
    call = service.enroll(request_id="r-1")
    service.gate.wait(lambda: service.gate.started == ["alice"])
    call.cancel()
    service.gate.wait(lambda: service.gate.ended == ["cancelled"])
    service.gate.open()
    assert list(service.enroll(request_id="r-1"))[-1].HasField("result")


@pytest.mark.parametrize("finished", [False, True])
def test_other_content_under_the_same_request_id_is_refused(service: Any, *, finished: bool) -> None:
    first = service.enroll(request_id="r-1")
    if finished:
        service.gate.open()
        list(first)
    else:
        service.gate.wait(lambda: service.gate.started == ["alice"])
    for change in ({"photos": [b"other"]}, {"user_id": "bob"}, {"add": True}, {"leave_out_unfit": True}):
        error = refused(lambda change=change: list(service.enroll(request_id="r-1", **change)))
        assert (error.code, error.reason) == (ErrorCode.FAILED_PRECONDITION, "REQUEST_ID_REUSED")


def test_refining_begins_with_the_stored_mask(service: Any) -> None:
    service.gate.open()
    error = refused(lambda: list(service.enroll(add=True)))
    assert (error.code, error.reason) == (ErrorCode.NOT_FOUND, "MASK_NOT_FOUND")
    first = list(service.enroll())[-1].result
    second = list(service.enroll(add=True))[-1].result
    list(service.enroll("bob"))
    list(service.enroll(add=True))
    assert service.gate.earlier == [None, first.mask_id, None, second.mask_id]


def test_a_mask_that_was_replaced_meanwhile_is_not_overwritten(service: Any) -> None:
    service.gate.permits.release(4)
    list(service.enroll())
    call = service.enroll(add=True)
    service.gate.wait(lambda: len(service.gate.started) == 2)
    # Another instance of the service, on the same store, is quicker.
    replaced = Mask.new(np.zeros((112, 112, 3), np.int8), seed=0)
    service.store.put(ALICE, replaced)
    service.gate.open()
    error = refused(lambda: list(call))
    assert (error.code, error.reason) == (ErrorCode.ABORTED, "ENROLLMENT_OVERTAKEN")
    assert service.store.get(ALICE) == replaced


def test_results_are_remembered_for_a_while_only(make_service: Callable[..., Any]) -> None:
    service = make_service(results_ttl_seconds=0.1)
    service.gate.open()
    first = list(service.enroll(request_id="r-1"))[-1].result
    time.sleep(0.2)
    assert list(service.enroll(request_id="r-1"))[-1].result.mask_id != first.mask_id


def test_deleting_a_user_stops_the_users_enrollment(service: Any) -> None:
    errors: list[RemoteError] = []
    call = service.enroll(request_id="r-1")
    caller = threading.Thread(target=lambda: errors.append(refused(lambda: list(call))))
    caller.start()
    service.gate.wait(lambda: service.gate.started == ["alice"])
    assert delete(service, "alice") is False
    caller.join(5)
    assert (errors[0].code, errors[0].reason) == (ErrorCode.ABORTED, "USER_DELETED")
    service.gate.open()
    with pytest.raises(MaskNotFound):
        service.store.get(ALICE)


def test_a_deleted_users_request_is_not_done_again(service: Any) -> None:
    service.gate.open()
    first = list(service.enroll(request_id="r-1"))[-1].result
    delete(service, "alice")
    # A retry that was on its way must not bring the user back; nor does it say that the mask is there.
    error = refused(lambda: list(service.enroll(request_id="r-1")))
    assert (error.code, error.reason) == (ErrorCode.ABORTED, "USER_DELETED")
    assert list(service.enroll(request_id="r-2"))[-1].result.mask_id != first.mask_id


def test_a_store_that_fails_is_no_success(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StoreUnavailable("the mask store does not answer")

    monkeypatch.setattr(service.domain.jobs._masks, "put", fail)
    service.gate.open()
    error = refused(lambda: list(service.enroll(request_id="r-1")))
    assert (error.code, error.reason) == (ErrorCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    monkeypatch.undo()
    assert list(service.enroll(request_id="r-1"))[-1].HasField("result")


def test_a_stop_lets_the_running_enrollment_finish(service: Any) -> None:
    call = service.enroll()
    service.gate.wait(lambda: service.gate.started == ["alice"])
    stopper = threading.Thread(target=service.server.stop)
    stopper.start()
    time.sleep(0.2)
    service.gate.open()
    assert list(call)[-1].HasField("result")
    stopper.join(10)
    assert not stopper.is_alive()


def test_a_stop_without_grace_cancels(service: Any) -> None:
    call = service.enroll()
    service.gate.wait(lambda: service.gate.started == ["alice"])
    service.server.stop(grace_seconds=0)
    with pytest.raises(grpc.RpcError):
        list(call)
    assert service.gate.ended == ["cancelled"]


def test_logs_hold_no_user_id(service: Any, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(log_format="json", level="debug")
    service.gate.open()
    list(service.enroll("alice.liddell@example.org", request_id="r-1"))
    delete(service, "alice.liddell@example.org")
    refused(lambda: list(service.enroll("alice.liddell@example.org\n")))
    wait_for(lambda: service.server.interceptor.wait_idle(1))
    log = capsys.readouterr().err
    assert "alice" not in log
    lines = [json.loads(line) for line in log.splitlines()]
    enrollment = next(line for line in lines if line["event"] == "enrollment")
    call = next(line for line in lines if line["event"] == "call")
    assert enrollment["outcome"] == "stored"
    assert enrollment["request_id"] == call["request_id"]
    assert enrollment["user"] == call["user"]
    assert call["client_request_id"] == "r-1"


def test_a_user_who_is_deleted_at_another_instance_is_not_enrolled_by_this_one(service: Any) -> None:
    call = service.enroll(request_id="r-1")
    service.gate.wait(lambda: service.gate.started == ["alice"])
    service.store.delete(ALICE)  # as another instance does
    service.gate.open()
    error = refused(lambda: list(call))
    assert (error.code, error.reason) == (ErrorCode.ABORTED, "USER_DELETED")
    with pytest.raises(MaskNotFound):
        service.store.get(ALICE)


def test_what_is_remembered_is_not_said_to_be_stored_when_it_is_gone(service: Any) -> None:
    service.gate.open()
    list(service.enroll(request_id="r-1"))
    service.store.delete(ALICE)  # as another instance does
    error = refused(lambda: list(service.enroll(request_id="r-1")))
    assert (error.code, error.reason) == (ErrorCode.ABORTED, "USER_DELETED")
    list(service.enroll(request_id="r-2"))
    service.store.put(ALICE, Mask.new(np.zeros((112, 112, 3), np.int8), seed=0))
    error = refused(lambda: list(service.enroll(request_id="r-2")))
    assert (error.code, error.reason) == (ErrorCode.ABORTED, "ENROLLMENT_OVERTAKEN")


def test_a_write_that_was_not_acknowledged_is_read_back(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put, asked = service.domain.jobs._masks.put, []

    def unanswered(*arguments: Any, **options: Any) -> None:
        put(*arguments, **options)
        raise StoreUnavailable("the mask store does not answer")

    def away_at_first(user: Any, get: Any = service.domain.jobs._masks.get) -> Any:
        asked.append(user)
        if len(asked) == 2:
            raise StoreUnavailable("the mask store does not answer")
        return get(user)

    monkeypatch.setattr(service.domain.jobs._masks, "put", unanswered)
    monkeypatch.setattr(service.domain.jobs._masks, "get", away_at_first)
    service.gate.open()
    result = list(service.enroll())[-1].result
    assert service.store.get(ALICE).mask_id == result.mask_id
