"""What of an error stands in plain trailers, too: for clients that do not read google.rpc.Status, and for gRPC."""

from __future__ import annotations

import math

from google.rpc import error_details_pb2, status_pb2

REQUEST_ID_HEADER = "x-request-id"
REASON_TRAILER = "facecloak-reason"
"""ErrorInfo.reason."""
RETRY_AFTER_TRAILER = "retry-after"
"""RetryInfo, in whole seconds rounded up, as HTTP has it (RFC 9110, section 10.2.3)."""
PUSHBACK_TRAILER = "grpc-retry-pushback-ms"
"""By this clients with a retry policy, in any language, wait as long as the service asks; a negative number says not to
try again (https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback)."""


def trailers_of(status: status_pb2.Status, *, remaining_seconds: float | None) -> tuple[tuple[str, str], ...]:
    """The plain trailers of an error.

    Args:
        remaining_seconds: until the call's deadline. Who would have to wait for longer is told the error at once.
    """
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    trailers: list[tuple[str, str]] = []
    for detail in status.details:
        if detail.Unpack(info):
            trailers.append((REASON_TRAILER, info.reason))
            if request_id := info.metadata.get("request_id"):
                trailers.append((REQUEST_ID_HEADER, request_id))
        elif detail.Unpack(retry):
            seconds = retry.retry_delay.ToNanoseconds() / 1e9
            comes_too_late = remaining_seconds is not None and seconds >= remaining_seconds
            trailers.append((RETRY_AFTER_TRAILER, str(math.ceil(seconds))))
            trailers.append((PUSHBACK_TRAILER, "-1" if comes_too_late else str(math.ceil(seconds * 1000))))
    return tuple(trailers)
