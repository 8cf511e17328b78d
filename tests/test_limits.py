"""What comes from outside is bounded by the same rules everywhere."""

from __future__ import annotations

import pytest

from apply_service import convert as apply_convert
from apply_service.settings import ApplySettings
from enroll_service import convert as enroll_convert
from facecloak.errors import InvalidInput
from facecloak.limits import MAX_SUBJECTS, InvalidUserId, check_request_id, check_user_id
from facecloak.photos import DEFAULT_LIMITS
from facecloak.photos.errors import PhotoTooLarge
from facecloak.v1 import apply_pb2, enroll_pb2

REQUEST_IDS = {"": True, "a" * 64: True, "A-z_0.9": True, "a" * 65: False, "a b": False, "a\n": False, "é": False}
USER_IDS = {
    "alice": True,
    "名前": True,
    "a b": True,
    "x" * 256: True,
    "": False,
    "x" * 257: False,
    "é" * 129: False,
    "a\tb": False,
    "a\0": False,
    "a\x7f": False,
    "a\u200bb": False,  # zero width
    "\u202eecila": False,  # turns the direction of reading
    "\ue000": False,  # private
    "\ud800": False,
}


@pytest.mark.parametrize(("user_id", "fits"), USER_IDS.items(), ids=ascii)
def test_user_ids(user_id: str, fits: bool) -> None:
    if fits:
        check_user_id(user_id)
        return
    with pytest.raises(InvalidUserId) as refused:
        check_user_id(user_id)
    assert refused.value.reason == "INVALID_USER_ID"
    assert user_id == "" or user_id not in str(refused.value)


@pytest.mark.parametrize(("user_id", "fits"), USER_IDS.items(), ids=ascii)
def test_apply_takes_the_user_ids_that_enrollment_takes(user_id: str, fits: bool) -> None:
    if "\ud800" in user_id:
        pytest.skip("protobuf takes no such text")
    request = apply_pb2.ApplyCloakRequest(subjects=[apply_pb2.Subject(user_id=user_id)])
    if fits:
        assert apply_convert.subjects_from(request)[0].user_id == user_id
        return
    with pytest.raises(InvalidUserId) as refused:
        apply_convert.subjects_from(request)
    assert refused.value.metadata["field"] == "subjects.user_id"


@pytest.mark.parametrize(("request_id", "fits"), REQUEST_IDS.items(), ids=ascii)
def test_request_ids(request_id: str, fits: bool) -> None:
    subject = apply_pb2.Subject(user_id="alice")
    calls = [
        lambda: check_request_id(request_id),
        lambda: apply_convert.subjects_from(apply_pb2.ApplyCloakRequest(request_id=request_id, subjects=[subject])),
        lambda: enroll_convert.request_from(enroll_pb2.EnrollUserRequest(request_id=request_id, user_id="alice")),
    ]
    for call in calls:
        if fits:
            call()
        else:
            with pytest.raises(InvalidInput, match="request id"):
                call()


@pytest.mark.parametrize("count", [1, MAX_SUBJECTS, MAX_SUBJECTS + 1])
def test_subjects(count: int) -> None:
    subjects = [apply_pb2.Subject(user_id=str(number)) for number in range(count)]
    request = apply_pb2.ApplyCloakRequest(subjects=subjects)
    if count <= MAX_SUBJECTS:
        assert len(apply_convert.subjects_from(request)) == count
        return
    with pytest.raises(InvalidInput, match=f"1 to {MAX_SUBJECTS} subjects"):
        apply_convert.subjects_from(request)


@pytest.mark.parametrize("size", [(8160, 6144), (8192, 8192), (9248, 6944), (16_384, 4096)], ids=str)
def test_both_services_take_a_phone_s_photo(size: tuple[int, int]) -> None:
    limits = ApplySettings().photo_limits
    assert limits == DEFAULT_LIMITS
    limits.check_size(*size)


@pytest.mark.parametrize("size", [(8193, 8192), (12_000, 9000), (16_385, 10)], ids=str)
def test_neither_service_takes_more(size: tuple[int, int]) -> None:
    for limits in (ApplySettings().photo_limits, DEFAULT_LIMITS):
        with pytest.raises(PhotoTooLarge):
            limits.check_size(*size)
