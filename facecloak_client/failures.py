"""From a failed gRPC call, or a status within an answer, to the exception that says what it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from facecloak_client import errors
from facecloak_client.errors import CallFailed

ERROR_DOMAIN = "facecloak"
REQUEST_ID_HEADER = "x-request-id"

# By what a service says of an error to those who do not read google.rpc.Status.
REASON_TRAILER = "facecloak-reason"
RETRY_AFTER_TRAILER = "retry-after"

_DETAILS_TRAILER = "grpc-status-details-bin"
_REQUEST_ID_KEY = "request_id"
_RETRY_AFTER_KEY = "retry_after_seconds"

_BY_CODE: dict[grpc.StatusCode, type[CallFailed]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequest,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: errors.PreconditionFailed,
    grpc.StatusCode.ABORTED: errors.Aborted,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.LimitReached,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.CANCELLED: errors.Cancelled,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
}
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def _below(base: type[CallFailed]) -> Iterator[type[CallFailed]]:
    yield base
    for kind in base.__subclasses__():
        yield from _below(kind)


BY_REASON = {kind.known_reason: kind for kind in _below(CallFailed) if kind.known_reason}
"""The class of every reason that this release knows."""


def failure_of_call(error: grpc.RpcError, *, request_id: str = "") -> CallFailed:
    """What a call, sync or asyncio, ended with."""
    code = error.code() if isinstance(error, grpc.Call) or hasattr(error, "code") else None
    if not isinstance(code, grpc.StatusCode):
        return errors.Defect(str(error), code=grpc.StatusCode.UNKNOWN, reason="UNKNOWN", request_id=request_id)
    trailers = dict(cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ()))
    # gRPC appends where in its own code it met the error.
    message = str(error.details() or "").partition("\n=== ")[0].strip() or code.name
    return _failure(
        _status(trailers.get(_DETAILS_TRAILER)),
        code=code,
        message=message,
        request_id=str(trailers.get(REQUEST_ID_HEADER, request_id)),
        reason=str(trailers.get(REASON_TRAILER, code.name)),
        retry_after_s=_seconds(trailers.get(RETRY_AFTER_TRAILER)),
    )


def failure_of_status(status: status_pb2.Status, *, request_id: str = "") -> CallFailed:
    """What one photo of a stream was refused with."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    message = status.message or code.name
    return _failure(status, code=code, message=message, request_id=request_id, reason=code.name, retry_after_s=None)


def _failure(
    status: status_pb2.Status,
    *,
    code: grpc.StatusCode,
    message: str,
    request_id: str,
    reason: str,
    retry_after_s: float | None,
) -> CallFailed:
    """The details go before what is said otherwise."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    metadata: dict[str, str] = {}
    for detail in status.details:
        if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    kind = BY_REASON.get(reason, _BY_CODE.get(code, errors.Defect))
    request_id = metadata.pop(_REQUEST_ID_KEY, request_id)
    metadata.pop(_RETRY_AFTER_KEY, None)
    return kind(
        message, code=code, reason=reason, metadata=metadata, retry_after_s=retry_after_s, request_id=request_id,
        details=tuple(status.details),
    )  # fmt: skip


def _status(packed: str | bytes | None) -> status_pb2.Status:
    try:
        return status_pb2.Status.FromString(packed) if isinstance(packed, bytes) else status_pb2.Status()
    except DecodeError:  # not from a service of ours
        return status_pb2.Status()


def _seconds(text: str | bytes | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
