"""ApplyService through a real server on a real photo."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
import simplejpeg
from google.rpc import error_details_pb2
from PIL import Image

from apply_service.convert import not_cloaked_from
from apply_service.servicer import call_checker
from facecloak.cloaking.cloaker import PlacementMethod
from facecloak.errors import ErrorCode
from facecloak.masks.mask import Mask, MaskGeometry
from facecloak.photos import native_splice
from facecloak.users import User
from facecloak.v1 import apply_pb2, common_pb2
from facecloak_rpc.client import RemoteError, remote_errors
from facecloak_rpc.errors import CallCancelled, DeadlineExceeded
from tests.users import ALICE

FACE = common_pb2.FaceBox(x=160, y=50, width=130, height=160)


def request(photo: bytes, *users: str, **hints: common_pb2.FaceHint) -> apply_pb2.ApplyCloakRequest:
    subjects = [apply_pb2.Subject(user_id=user, face=hints.get(user)) for user in users]
    return apply_pb2.ApplyCloakRequest(photo=photo, subjects=subjects)


def apply(service: Any, photo: bytes, *users: str, **hints: common_pb2.FaceHint) -> apply_pb2.ApplyCloakResponse:
    with remote_errors():
        return service.stub.ApplyCloak(request(photo, *users, **hints), timeout=30)


def outcomes(response: apply_pb2.ApplyCloakResponse) -> list[str]:
    return [apply_pb2.CloakOutcome.Name(s.outcome).removeprefix("CLOAK_OUTCOME_") for s in response.subjects]


def pixels(jpeg: bytes) -> np.ndarray:
    return simplejpeg.decode_jpeg(jpeg).astype(int)


def reference(hints: apply_pb2.SubjectResult) -> common_pb2.FaceHint:
    return common_pb2.FaceHint(landmarks=hints.face.landmarks)


def test_a_photo_is_cloaked_at_the_face_and_nowhere_else(service: Any, astronaut_photo: bytes) -> None:
    response = apply(service, astronaut_photo, "alice")
    assert outcomes(response) == ["CLOAKED"]
    assert response.subjects[0].mask_id == service.masks["alice"].mask_id
    box = response.subjects[0].face.box
    change = np.abs(pixels(response.photo) - pixels(astronaut_photo)).max(axis=2)
    assert change.shape == (512, 512)
    left, top = int(box.x), int(box.y)
    inside = change[top : top + int(box.height), left : left + int(box.width)]
    assert inside.mean() > 2
    # Far from the face only what encoding again does.
    assert change[300:].mean() < 0.5


def test_without_loss_nothing_changes_outside_the_face(service: Any, astronaut_srgb_u8: np.ndarray) -> None:
    out = io.BytesIO()
    Image.fromarray(astronaut_srgb_u8).save(out, "PNG")
    response = apply(service, out.getvalue(), "alice")
    cloaked = np.asarray(Image.open(io.BytesIO(response.photo))).astype(int)
    change = np.abs(cloaked - astronaut_srgb_u8).max(axis=2)
    box = response.subjects[0].face.box
    margin = int(box.height / 2)
    left, top, right, bottom = int(box.x), int(box.y), int(box.x + box.width), int(box.y + box.height)
    outside = np.ones_like(change, bool)
    outside[max(top - margin, 0) : bottom + margin, left - margin : right + margin] = False
    assert change[outside].max() == 0
    assert change.max() == 12


@pytest.mark.parametrize("kind", ["box", "landmarks"])
def test_hints_place_the_mask_where_searching_does(service: Any, astronaut_photo: bytes, kind: str) -> None:
    found = apply(service, astronaut_photo, "alice").subjects[0].face
    hint = common_pb2.FaceHint(**{kind: getattr(found, kind)})
    hinted = apply(service, astronaut_photo, "alice", alice=hint)
    assert outcomes(hinted) == ["CLOAKED"]
    for name in ("left_eye", "right_eye", "nose"):
        one, other = getattr(found.landmarks, name), getattr(hinted.subjects[0].face.landmarks, name)
        assert abs(one.x - other.x) < 4
        assert abs(one.y - other.y) < 4


def test_a_user_without_a_mask_gets_the_very_photo_back(service: Any, astronaut_photo: bytes) -> None:
    response = apply(service, astronaut_photo, "nobody")
    assert outcomes(response) == ["NO_MASK"]
    assert response.photo == astronaut_photo
    assert not response.subjects[0].mask_id


def test_no_face_is_no_error_and_no_success(service: Any) -> None:
    photo = simplejpeg.encode_jpeg(np.full((200, 300, 3), 120, np.uint8), colorspace="RGB")
    response = apply(service, photo, "alice")
    assert outcomes(response) == ["NO_FACE"]
    assert response.photo == photo


def test_two_alike_faces_need_hints(service: Any, astronaut_srgb_u8: np.ndarray) -> None:
    twins = np.ascontiguousarray(np.hstack([astronaut_srgb_u8, astronaut_srgb_u8]))
    photo = simplejpeg.encode_jpeg(twins, quality=92, colorspace="RGB")
    assert outcomes(apply(service, photo, "alice")) == ["AMBIGUOUS_FACE"]
    left = common_pb2.FaceHint(box=FACE)
    right = common_pb2.FaceHint(box=common_pb2.FaceBox(x=FACE.x + 512, y=FACE.y, width=FACE.width, height=FACE.height))
    both = apply(service, photo, "alice", "bob", "nobody", alice=right, bob=left)
    assert outcomes(both) == ["CLOAKED", "CLOAKED", "NO_MASK"]
    assert both.subjects[0].face.box.x > 512 > both.subjects[1].face.box.x
    assert outcomes(apply(service, photo, "alice", "bob", alice=left, bob=left)) == ["CLOAKED", "FACE_ALREADY_TAKEN"]


def test_a_new_mask_is_used_and_a_deleted_one_is_not(service: Any, astronaut_photo: bytes) -> None:
    service.store.put(User("", "carol"), service.masks["alice"])
    assert outcomes(apply(service, astronaut_photo, "carol")) == ["CLOAKED"]
    service.store.put(User("", "carol"), service.masks["bob"])
    assert apply(service, astronaut_photo, "carol").subjects[0].mask_id == service.masks["bob"].mask_id
    service.store.delete(User("", "carol"))
    assert outcomes(apply(service, astronaut_photo, "carol")) == ["NO_MASK"]


def bad(**face: Any) -> dict[str, common_pb2.FaceHint]:
    return {"alice": common_pb2.FaceHint(**face)}


POINT = common_pb2.Point(x=1, y=1)


@pytest.mark.parametrize(
    ("users", "hints", "reason"),
    [
        ([], {}, "INVALID_INPUT"),
        ([str(number) for number in range(65)], {}, "INVALID_INPUT"),
        (["alice", "alice"], {}, "INVALID_INPUT"),
        ([""], {}, "INVALID_USER_ID"),
        (["x" * 257], {}, "INVALID_USER_ID"),
        (["alice\n"], {}, "INVALID_USER_ID"),
        (["alice"], bad(box=common_pb2.FaceBox(x=1, y=1, width=0, height=5)), "INVALID_INPUT"),
        (["alice"], bad(box=common_pb2.FaceBox(x=float("nan"), y=1, width=5, height=5)), "INVALID_INPUT"),
        (["alice"], bad(box=common_pb2.FaceBox(x=float("inf"), y=1, width=5, height=5)), "INVALID_INPUT"),
        (["alice"], bad(box=common_pb2.FaceBox(x=9000, y=9000, width=50, height=50)), "INVALID_FACE_HINT"),
        (["alice"], bad(landmarks=common_pb2.FaceLandmarks(left_eye=POINT)), "INVALID_INPUT"),
        (
            ["alice"],
            bad(
                landmarks=common_pb2.FaceLandmarks(
                    left_eye=POINT, right_eye=POINT, nose=POINT, left_mouth=POINT, right_mouth=POINT
                )
            ),
            "INVALID_FACE_HINT",
        ),
    ],
)
def test_a_wrong_request_is_refused(
    service: Any, astronaut_photo: bytes, users: list[str], hints: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RemoteError) as refused:
        apply(service, astronaut_photo, *users, **hints)
    assert (refused.value.code, refused.value.reason) == (ErrorCode.INVALID_ARGUMENT, reason)


def test_the_request_id_comes_back_or_is_refused(service: Any, astronaut_photo: bytes) -> None:
    message = request(astronaut_photo, "nobody")
    message.request_id = "my-1"
    assert service.stub.ApplyCloak(message, timeout=30).request_id == "my-1"
    message.request_id = "not allowed"
    with pytest.raises(grpc.RpcError):
        service.stub.ApplyCloak(message, timeout=30)


def stream(service: Any, messages: Iterator[apply_pb2.ApplyCloakStreamRequest]) -> Any:
    return service.stub.ApplyCloakStream(messages, timeout=60)


def numbered(requests: list[apply_pb2.ApplyCloakRequest]) -> Iterator[apply_pb2.ApplyCloakStreamRequest]:
    for number, each in enumerate(requests):
        yield apply_pb2.ApplyCloakStreamRequest(sequence=number, request=each)


def test_a_bad_photo_among_good_ones_does_not_end_the_stream(service: Any, astronaut_photo: bytes) -> None:
    good, broken = request(astronaut_photo, "alice"), request(b"not a photo", "alice")
    messages = numbered([good, broken, good, request(astronaut_photo), good])
    answers = {answer.sequence: answer for answer in stream(service, messages)}
    assert sorted(answers) == [0, 1, 2, 3, 4]
    for number in (0, 2, 4):
        assert outcomes(answers[number].response) == ["CLOAKED"]
    for number, reason in ((1, "UNSUPPORTED_PHOTO"), (3, "INVALID_INPUT")):
        info = error_details_pb2.ErrorInfo()
        assert answers[number].error.details[0].Unpack(info)
        assert (info.domain, info.reason) == ("facecloak", reason)
        assert info.metadata["request_id"]


def test_each_photo_of_a_stream_is_answered_before_the_next_is_sent(service: Any, astronaut_photo: bytes) -> None:
    answered = threading.Semaphore(1)

    def one_by_one() -> Iterator[apply_pb2.ApplyCloakStreamRequest]:
        for message in numbered([request(astronaut_photo, "nobody")] * 4):
            assert answered.acquire(timeout=10)
            yield message

    sequences = []
    for answer in stream(service, one_by_one()):
        sequences.append(answer.sequence)
        answered.release()
    assert sequences == [0, 1, 2, 3]


def test_a_stream_of_many_is_answered_wholly(service: Any, astronaut_photo: bytes) -> None:
    count = 40
    answers = stream(service, numbered([request(astronaut_photo, "nobody")] * count))
    assert sorted(answer.sequence for answer in answers) == list(range(count))


def test_an_empty_stream_ends(service: Any) -> None:
    assert list(stream(service, iter(()))) == []


def test_a_stream_whose_client_vanishes_ends(service: Any, astronaut_photo: bytes) -> None:
    more = threading.Event()

    def endless() -> Iterator[apply_pb2.ApplyCloakStreamRequest]:
        yield from numbered([request(astronaut_photo, "nobody")])
        more.wait(20)

    call = stream(service, endless())
    next(call)
    call.cancel()
    assert service.server.interceptor.wait_idle(5)
    more.set()


def test_too_many_photos_at_once_are_told_to_come_back(make_service: Callable[..., Any]) -> None:
    service = make_service(in_flight_limit=1, admission_seconds=0.2)
    entered, go_on = threading.Event(), threading.Event()
    photo = simplejpeg.encode_jpeg(np.full((64, 64, 3), 120, np.uint8), colorspace="RGB")

    class Slow:
        def cloak(self, data: bytes, subjects: Any, **options: Any) -> Any:
            entered.set()
            assert go_on.wait(10)
            return real.cloak(data, subjects, **options)

    servicer = _servicer(service)
    real = servicer._cloaker
    servicer._cloaker = Slow()
    first = service.stub.ApplyCloak.future(request(photo, "alice"), timeout=30)
    assert entered.wait(5)
    with pytest.raises(RemoteError) as refused:
        apply(service, photo, "alice")
    assert (refused.value.code, refused.value.reason) == (ErrorCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert refused.value.retry_seconds == 0.5
    # A stream waits for its turn instead.
    answers = stream(service, numbered([request(photo, "alice")]))
    time.sleep(0.2)
    go_on.set()
    assert outcomes(first.result()) == ["NO_FACE"]
    assert outcomes(next(answers).response) == ["NO_FACE"]


def _servicer(service: Any) -> Any:
    """The servicer behind a server: the drain hook is its own method."""
    return service.server.begin_drain.__self__


def test_a_burst_is_evened_out(make_service: Callable[..., Any], astronaut_photo: bytes) -> None:
    # All messages are read at once: on a busy machine one would wait too long for its turn to be.
    service = make_service(in_flight_limit=2, admission_seconds=30, reading_limit=64)
    calls = [service.stub.ApplyCloak.future(request(astronaut_photo, "alice"), timeout=60) for _ in range(30)]
    photos = {call.result().photo for call in calls}
    assert len(photos) == 1


def test_too_many_streams_are_refused(make_service: Callable[..., Any]) -> None:
    service = make_service(streams_limit=1)
    release = threading.Event()

    def waiting() -> Iterator[apply_pb2.ApplyCloakStreamRequest]:
        yield from numbered([request(b"", "u")])
        release.wait(20)

    first = stream(service, waiting())
    next(first)
    with pytest.raises(RemoteError) as refused, remote_errors():
        next(stream(service, numbered([request(b"", "u")])))
    assert refused.value.reason == "OVERLOADED"
    release.set()
    list(first)


def test_a_drain_waits_for_the_photos_in_work(make_service: Callable[..., Any]) -> None:
    service = make_service()
    entered, go_on, release = threading.Event(), threading.Event(), threading.Event()
    photo = simplejpeg.encode_jpeg(np.full((64, 64, 3), 120, np.uint8), colorspace="RGB")
    servicer = _servicer(service)
    real = servicer._cloaker

    class Slow:
        def cloak(self, data: bytes, subjects: Any, **options: Any) -> Any:
            entered.set()
            assert go_on.wait(10)
            return real.cloak(data, subjects, **options)

    servicer._cloaker = Slow()

    def waiting() -> Iterator[apply_pb2.ApplyCloakStreamRequest]:
        yield from numbered([request(photo, "alice"), request(photo, "alice")])
        release.wait(20)

    call = stream(service, waiting())
    assert entered.wait(5)
    time.sleep(0.2)
    stopper = threading.Thread(target=service.server.stop)
    stopper.start()
    time.sleep(0.5)
    go_on.set()
    assert sorted([next(call).sequence, next(call).sequence]) == [0, 1]
    with pytest.raises(RemoteError, match="about to stop"), remote_errors():
        next(call)
    stopper.join(10)
    assert not stopper.is_alive()
    release.set()


def test_a_drain_ends_open_streams_and_loses_no_answer(make_service: Callable[..., Any]) -> None:
    service = make_service()
    release = threading.Event()

    def waiting() -> Iterator[apply_pb2.ApplyCloakStreamRequest]:
        yield from numbered([request(b"", "u")])
        release.wait(20)

    call = stream(service, waiting())
    assert next(call).sequence == 0
    started = time.monotonic()
    service.server.stop(grace_seconds=20)
    assert time.monotonic() - started < 5
    with pytest.raises(RemoteError) as ended, remote_errors():
        next(call)
    assert (ended.value.code, ended.value.reason) == (ErrorCode.UNAVAILABLE, "SHUTTING_DOWN")
    release.set()


class FakeCall:
    def __init__(self, *, remaining: float | None, active: bool) -> None:
        self.time_remaining = lambda: remaining
        self.is_active = lambda: active


def test_work_stops_when_nobody_waits() -> None:
    call_checker(FakeCall(remaining=1.0, active=True))()  # type: ignore[arg-type]
    call_checker(FakeCall(remaining=None, active=True))()  # type: ignore[arg-type]
    with pytest.raises(DeadlineExceeded):
        call_checker(FakeCall(remaining=0.0, active=True))()  # type: ignore[arg-type]
    with pytest.raises(CallCancelled):
        call_checker(FakeCall(remaining=1.0, active=False))()  # type: ignore[arg-type]


def test_the_service_loads_nothing_heavy() -> None:
    heavy = ["torch", "onnx", "diffusers", "tritonclient", "skimage", "kornia", "enroll_service"]
    code = f"import sys, apply_service.server, apply_service.commands; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_was_done_is_measured(make_service: Callable[..., Any], astronaut_photo: bytes) -> None:
    service = make_service()
    for user_id in ("alice", "nobody", "alice"):
        apply(service, astronaut_photo, user_id)
    sample = service.server.telemetry.registry.get_sample_value
    assert sample("facecloak_subjects_total", {"outcome": "CLOAKED"}) == 2
    assert sample("facecloak_subjects_total", {"outcome": "NO_MASK"}) == 1
    assert sample("facecloak_photos_total", {"way": "unchanged"}) == 1
    assert sample("facecloak_mask_lookups_total", {"outcome": "hit"}) == 1
    for stage in ("mask", "find"):
        assert sample("facecloak_stage_seconds_count", {"stage": stage}) >= 2
    assert sample("facecloak_store_seconds_count", {"operation": "get", "outcome": "OK"}) == 1


def test_a_jpeg_is_spliced_and_its_answer_is_not_cloaked_again(service: Any, astronaut_photo: bytes) -> None:
    once = apply(service, astronaut_photo, "alice")
    assert once.encoding_path == (
        apply_pb2.ENCODING_PATH_SPLICED if native_splice.is_available() else apply_pb2.ENCODING_PATH_REENCODED
    )
    again = apply(service, once.photo, "alice")
    assert outcomes(again) == ["ALREADY_CLOAKED"]
    assert again.encoding_path == apply_pb2.ENCODING_PATH_UNCHANGED
    assert again.photo == once.photo
    assert again.subjects[0].mask_id == once.subjects[0].mask_id
    other = apply(service, once.photo, "bob")
    assert outcomes(other) == ["CLOAKED"]


def test_what_cannot_be_spliced_is_counted_by_why(make_service: Callable[..., Any], astronaut_srgb_u8: Any) -> None:
    service = make_service()
    response = apply(service, cv2.imencode(".png", astronaut_srgb_u8[:, :, ::-1])[1].tobytes(), "alice")
    assert response.encoding_path == apply_pb2.ENCODING_PATH_REENCODED
    labels = {"reason": "NOT_A_JPEG"}
    assert service.server.telemetry.registry.get_sample_value("facecloak_photos_full_total", labels) == 1


def test_by_what_masks_are_laid_is_counted(make_service: Callable[..., Any], astronaut_photo: bytes) -> None:
    service = make_service()
    levels = np.zeros((112, 112, 3), np.int8)
    levels[30:80, 30:80] = 9
    service.store.put(User("", "carol"), Mask.new(levels, seed=1, geometry=MaskGeometry.FACE))
    assert outcomes(apply(service, astronaut_photo, "alice")) == ["CLOAKED"]
    assert outcomes(apply(service, astronaut_photo, "carol")) == ["CLOAKED"]
    registry = service.server.telemetry.registry
    counts = {by: registry.get_sample_value("facecloak_masks_laid_total", {"by": by.value}) for by in PlacementMethod}
    assert counts == {PlacementMethod.MESH: 1, PlacementMethod.LANDMARKS: None, PlacementMethod.SQUARE: 1}


def test_the_answer_says_how_the_mask_was_placed(
    make_service: Callable[..., Any], model_repository: Path, tmp_path: Path, astronaut_photo: bytes
) -> None:
    for name in ("fr_detect", "fr_landmark"):
        (tmp_path / name).symlink_to(model_repository / name)
    mask = Mask.new(np.full((112, 112, 3), 9, np.int8), seed=1, geometry=MaskGeometry.FACE)
    for fields, placement in (
        ({}, apply_pb2.MASK_PLACEMENT_MESH),
        ({"model_repository": tmp_path}, apply_pb2.MASK_PLACEMENT_LANDMARKS),
    ):
        service = make_service(**fields)
        service.store.put(User("", "carol"), mask)
        (carol,) = apply(service, astronaut_photo, "carol").subjects
        assert (carol.placement, carol.strength) == (placement, 1.0)
        # Hints are confirmed without the mesh, too.
        hinted = apply(service, astronaut_photo, "carol", carol=reference(carol))
        assert outcomes(hinted) == ["CLOAKED"]
        away = common_pb2.FaceHint(landmarks=shifted(carol.face.landmarks, 150))
        (nobody,) = apply(service, astronaut_photo, "carol", carol=away).subjects
        assert nobody.outcome == apply_pb2.CLOAK_OUTCOME_NO_FACE
        assert nobody.placement == apply_pb2.MASK_PLACEMENT_UNSPECIFIED
        assert len(nobody.faces) == 1
        assert nobody.advice


def shifted(landmarks: common_pb2.FaceLandmarks, pixels: float) -> common_pb2.FaceLandmarks:
    moved = common_pb2.FaceLandmarks()
    for name in common_pb2.FaceLandmarks.DESCRIPTOR.fields_by_name:
        point = getattr(landmarks, name)
        getattr(moved, name).CopyFrom(common_pb2.Point(x=point.x + pixels, y=point.y + pixels))
    return moved


@pytest.fixture(scope="module")
def twins(astronaut_srgb_u8: np.ndarray) -> bytes:
    pixels = np.ascontiguousarray(np.hstack([astronaut_srgb_u8, astronaut_srgb_u8]))
    return simplejpeg.encode_jpeg(pixels, quality=92, colorspace="RGB")


def test_several_faces_are_handed_back_and_one_more_call_settles_it(service: Any, twins: bytes) -> None:
    (asked,) = apply(service, twins, "alice").subjects
    assert asked.outcome == apply_pb2.CLOAK_OUTCOME_AMBIGUOUS_FACE
    assert sorted(round(face.box.x / 512) for face in asked.faces) == [0, 1]
    for face in asked.faces:
        for hint in (common_pb2.FaceHint(box=face.box), common_pb2.FaceHint(landmarks=face.landmarks)):
            (settled,) = apply(service, twins, "alice", alice=hint).subjects
            assert settled.outcome == apply_pb2.CLOAK_OUTCOME_CLOAKED
            assert settled.face.box.x == pytest.approx(face.box.x, abs=2)


def test_faces_are_found_as_cloaking_finds_them(service: Any, twins: bytes, astronaut_photo: bytes) -> None:
    found = service.stub.FindFaces(apply_pb2.FindFacesRequest(request_id="r-1", photo=twins), timeout=30)
    assert (found.request_id, found.width, found.height) == ("r-1", 1024, 512)
    assert list(found.faces) == list(apply(service, twins, "alice").subjects[0].faces)
    (face,) = service.stub.FindFaces(apply_pb2.FindFacesRequest(photo=astronaut_photo), timeout=30).faces
    used = apply(service, astronaut_photo, "alice").subjects[0].face
    # Cloaking may look at a smaller copy first; where it settles differs by hundredths of a px.
    for name in ("x", "y", "width", "height"):
        assert getattr(face.box, name) == pytest.approx(getattr(used.box, name), abs=0.1)
    for name in ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth"):
        one, other = getattr(face.landmarks, name), getattr(used.landmarks, name)
        assert (one.x, one.y) == pytest.approx((other.x, other.y), abs=0.1)
    assert 0.5 < face.score <= 1
    assert 100 < face.side < 160
    gray = simplejpeg.encode_jpeg(np.full((200, 300, 3), 120, np.uint8), colorspace="RGB")
    none = service.stub.FindFaces(apply_pb2.FindFacesRequest(photo=gray), timeout=30)
    assert (none.width, none.height, len(none.faces)) == (300, 200, 0)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"photo": b"no photo"}, "UNSUPPORTED_PHOTO"),
        ({"photo": b""}, "PHOTO_TRUNCATED"),
        ({"photo": b"", "request_id": "a b"}, "INVALID_INPUT"),
    ],
)
def test_a_search_is_refused_as_cloaking_is(service: Any, fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(RemoteError) as refused, remote_errors():
        service.stub.FindFaces(apply_pb2.FindFacesRequest(**fields), timeout=30)
    assert refused.value.reason == reason


def test_what_must_be_cloaked_is_or_the_call_fails(service: Any, astronaut_photo: bytes) -> None:
    required = request(astronaut_photo, "alice")
    required.require_cloaked = True
    cloaked = service.stub.ApplyCloak(required, timeout=30)
    assert outcomes(cloaked) == ["CLOAKED"]
    required.photo = cloaked.photo
    assert outcomes(service.stub.ApplyCloak(required, timeout=30)) == ["ALREADY_CLOAKED"]

    for users, expected in ((("nobody",), ["NO_MASK"]), (("alice", "nobody"), ["CLOAKED", "NO_MASK"])):
        required = request(astronaut_photo, *users)
        required.require_cloaked = True
        with pytest.raises(RemoteError) as refused, remote_errors():
            service.stub.ApplyCloak(required, timeout=30)
        assert (refused.value.code, refused.value.reason) == (ErrorCode.FAILED_PRECONDITION, "NOT_CLOAKED")
        assert refused.value.metadata["outcome"] == "NO_MASK"
        told = not_cloaked_from(refused.value)
        assert told is not None
        assert [subject.user_id for subject in told] == list(users)
        assert outcomes(apply_pb2.ApplyCloakResponse(subjects=told)) == expected
        assert not any(astronaut_photo[:100] in detail.value for detail in refused.value.details)


def test_in_a_stream_too(service: Any, astronaut_photo: bytes) -> None:
    requests = [request(astronaut_photo, "alice"), request(astronaut_photo, "nobody"), request(astronaut_photo, "bob")]
    for one in requests:
        one.require_cloaked = True
    answers = {answer.sequence: answer for answer in stream(service, numbered(requests))}
    assert [answers[sequence].WhichOneof("outcome") for sequence in range(3)] == ["response", "error", "response"]
    details = apply_pb2.NotCloaked()
    assert any(detail.Unpack(details) for detail in answers[1].error.details)
    assert outcomes(apply_pb2.ApplyCloakResponse(subjects=details.subjects)) == ["NO_MASK"]


def test_a_photo_with_an_older_mask_is_told(make_service: Callable[..., Any], astronaut_photo: bytes) -> None:
    service = make_service(cache_ttl_seconds=0)
    older = apply(service, astronaut_photo, "alice").photo
    service.store.put(ALICE, service.masks["bob"])
    again = request(older, "alice")
    again.require_cloaked = True
    response = service.stub.ApplyCloak(again, timeout=30)
    assert outcomes(response) == ["OLDER_CLOAK"]
    assert (response.photo, response.subjects[0].mask_id) == (older, "")
    assert response.subjects[0].advice
    again.recloak = True
    response = service.stub.ApplyCloak(again, timeout=30)
    assert outcomes(response) == ["CLOAKED"]
    assert response.photo != older
    # Somebody else's is none of one's own.
    assert outcomes(apply(service, older, "bob")) == ["CLOAKED"]
