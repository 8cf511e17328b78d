"""The one place where errors become gRPC statuses.

A :class:`~facecloak.errors.FaceCloakError` maps to a ``google.rpc.Status`` whose details hold one ``ErrorInfo`` and,
where waiting helps, one ``RetryInfo`` (https://google.aip.dev/193); where a face must be chosen, a ``FacesFound``; and
the messages that a service put into the error's ``details``. Anything else maps to INTERNAL and carries only a request
id.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from facecloak.errors import ErrorCode, FaceCloakError

ERROR_DOMAIN = "facecloak"
"""``ErrorInfo.domain`` of every error."""

REQUEST_ID_KEY = "request_id"
"""Key of the request id in ``ErrorInfo.metadata``."""

RETRY_AFTER_KEY = "retry_after_seconds"
"""Metadata key by which an error says how long to wait; it becomes ``RetryInfo``."""

DEFAULT_RETRY_AFTER_SECONDS = 1.0
_RETRYABLE = frozenset({ErrorCode.RESOURCE_EXHAUSTED, ErrorCode.UNAVAILABLE})


class Overloaded(FaceCloakError):
    """The service has as much work queued as it takes."""

    code: ClassVar[ErrorCode] = ErrorCode.RESOURCE_EXHAUSTED
    reason: ClassVar[str] = "OVERLOADED"


class ShuttingDown(FaceCloakError):
    """The service is about to stop."""

    code: ClassVar[ErrorCode] = ErrorCode.UNAVAILABLE
    reason: ClassVar[str] = "SHUTTING_DOWN"


class DeadlineExceeded(FaceCloakError):
    """The caller's deadline, or the service's own limit on a call's time, has passed."""

    code: ClassVar[ErrorCode] = ErrorCode.DEADLINE_EXCEEDED
    reason: ClassVar[str] = "DEADLINE_EXCEEDED"


class CallCancelled(FaceCloakError):
    """The caller went away; the service stopped working on the call."""

    code: ClassVar[ErrorCode] = ErrorCode.CANCELLED
    reason: ClassVar[str] = "CANCELLED"


def reason_of(error: BaseException) -> str:
    """How metrics and traces call an error: its reason, or INTERNAL; never its text, which may quote data."""
    return error.reason if isinstance(error, FaceCloakError) else FaceCloakError.reason


def to_status(error: BaseException, *, request_id: str) -> status_pb2.Status:
    """Returns the status a caller may see for ``error``; the text of an unknown error never gets into it."""
    if isinstance(error, FaceCloakError) and error.code is not ErrorCode.INTERNAL:
        return _status_of_known(error, request_id=request_id)
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=ERROR_DOMAIN, metadata={REQUEST_ID_KEY: request_id})
    message = f"internal error; the request id {request_id} finds it in the service's log"
    return status_pb2.Status(code=code_pb2.INTERNAL, message=message, details=[_packed(info)])


def _status_of_known(error: FaceCloakError, *, request_id: str) -> status_pb2.Status:
    info = error_details_pb2.ErrorInfo(
        reason=error.reason, domain=ERROR_DOMAIN, metadata={**error.metadata, REQUEST_ID_KEY: request_id}
    )
    details = [_packed(info)]
    if error.code in _RETRYABLE:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(_retry_after_seconds(error) * 1000))
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    if faces := getattr(error, "faces", ()):
        # Here, because a command that only prints its help would load OpenCV and ONNX Runtime by it.
        from facecloak_rpc.faces import found_to

        details.append(_packed(found_to(faces)))
    further: Sequence[Message] = getattr(error, "details", ())
    details += map(_packed, further)
    return status_pb2.Status(code=code_pb2.Code.Value(error.code), message=error.public_message, details=details)


def _retry_after_seconds(error: FaceCloakError) -> float:
    try:
        seconds = float(error.metadata[RETRY_AFTER_KEY])
    except (KeyError, ValueError):
        return DEFAULT_RETRY_AFTER_SECONDS
    return seconds if math.isfinite(seconds) and seconds >= 0 else DEFAULT_RETRY_AFTER_SECONDS


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
