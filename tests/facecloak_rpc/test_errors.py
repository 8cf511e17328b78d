"""Errors as statuses, and back again."""

from __future__ import annotations

import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from facecloak.errors import ErrorCode, FaceCloakError, InvalidInput
from facecloak_rpc.errors import Overloaded, to_status


def details(status: status_pb2.Status) -> tuple[error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo | None]:
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(info)
    has_retry = len(status.details) > 1 and status.details[1].Unpack(retry)
    return info, retry if has_retry else None


def test_a_known_error_keeps_code_reason_message_and_metadata() -> None:
    status = to_status(InvalidInput("too wide", limit=10, field="photo"), request_id="r1")
    info, retry = details(status)
    assert status.code == code_pb2.INVALID_ARGUMENT
    assert status.message == "too wide"
    assert (info.domain, info.reason) == ("facecloak", "INVALID_INPUT")
    assert dict(info.metadata) == {"limit": "10", "field": "photo", "request_id": "r1"}
    assert retry is None


@pytest.mark.parametrize(("given", "seconds"), [("2.5", 2.5), (None, 1.0), ("nan", 1.0), ("-1", 1.0), ("soon", 1.0)])
def test_what_may_be_retried_says_when(given: str | None, seconds: float) -> None:
    metadata = {} if given is None else {"retry_after_seconds": given}
    _, retry = details(to_status(Overloaded("full", **metadata), request_id="r1"))
    assert retry is not None
    assert retry.retry_delay.ToTimedelta().total_seconds() == seconds


class Defect(FaceCloakError):
    code = ErrorCode.INTERNAL
    reason = "SEAL_BROKEN"


@pytest.mark.parametrize("error", [ValueError("/srv/path of alice"), Defect("alice's mask", user="alice")])
def test_a_defect_tells_nothing_but_the_request_id(error: Exception) -> None:
    status = to_status(error, request_id="r1")
    info, _ = details(status)
    assert status.code == code_pb2.INTERNAL
    assert (info.reason, dict(info.metadata)) == ("INTERNAL", {"request_id": "r1"})
    assert "alice" not in str(status)
    assert "r1" in status.message


def test_every_code_is_one_of_grpcs() -> None:
    assert {code.value for code in ErrorCode} <= set(code_pb2.Code.keys())
