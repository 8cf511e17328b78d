"""The client's side: channels with the right limits, and errors as the server meant them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from facecloak.errors import ErrorCode, FaceCloakError
from facecloak_rpc import addresses, proxies
from facecloak_rpc.connection import Connection
from facecloak_rpc.errors import ERROR_DOMAIN, RETRY_AFTER_KEY

MESSAGE_BYTES_LIMIT = 64 * 1024 * 1024
"""Default largest message, bytes: the servers' default."""


# What gRPC itself says where a connection comes to nothing.
_MAY_BE_A_PROXYS = frozenset(
    {ErrorCode.UNAVAILABLE, ErrorCode.DEADLINE_EXCEEDED, ErrorCode.INTERNAL, ErrorCode.UNIMPLEMENTED}
)


class RemoteError(FaceCloakError):
    """An error that a server answered with, or the lack of an answer. ``code`` and ``reason`` are the server's, and so
    are the ``details``, as they came."""

    def __init__(
        self,
        public_message: str,
        /,
        *,
        code: ErrorCode,
        reason: str,
        retry_seconds: float | None,
        details: Sequence[any_pb2.Any] = (),
        **metadata: object,
    ) -> None:
        super().__init__(public_message, **metadata)
        self.details = tuple(details)
        self.code = code  # type: ignore[misc]
        self.reason = reason  # type: ignore[misc]
        self.retry_seconds = retry_seconds


def open_channel(
    target: str,
    *,
    connection: Connection | None = None,
    message_bytes_limit: int = MESSAGE_BYTES_LIMIT,
    health_service: str = "",
) -> grpc.Channel:
    """Opens a channel; it connects at the first call. Close it after use.

    Args:
        target: ``host:port``, an IPv6 address in brackets or without, or a name of several servers such as
            ``dns:///apply.svc:50062``: calls then go to all of them in turn. (gRPC's default would send all to one.)
        connection: how it is reached, by TLS and with which headers; by default in clear.
        health_service: full name of a service, such as ``facecloak.v1.ApplyService``; calls then go only to servers
            whose health says that it serves (https://github.com/grpc/grpc/blob/master/doc/health-checking.md).

    Raises:
        FileUnusable: a certificate file cannot be read.
    """
    target = addresses.target_of(target)
    config: dict[str, object] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if health_service:
        config["healthCheckConfig"] = {"serviceName": health_service}
    return (connection or Connection()).open(
        target,
        options=[
            ("grpc.max_receive_message_length", message_bytes_limit),
            ("grpc.max_send_message_length", message_bytes_limit),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.service_config", json.dumps(config)),
        ],
    )


@contextmanager
def remote_errors(target: str = "") -> Iterator[None]:
    """Turns every ``grpc.RpcError`` of the block into a :class:`RemoteError`; ``target`` is the server it calls."""
    try:
        yield
    except grpc.RpcError as error:
        raise to_remote_error(error, target=target) from error


def to_remote_error(error: grpc.RpcError, *, target: str = "") -> RemoteError:
    """Reads code, reason, metadata and delay out of a failed call. An error that no server of ours answered with names
    the proxy that stands before ``target``, if one does: gRPC takes it from the environment without a word."""
    code = _code_of(error)
    details = str(error.details() or "") if isinstance(error, grpc.Call) else str(error)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    reason = code.value
    metadata: dict[str, str] = {}
    delay: float | None = None
    status = rpc_status.from_call(error) if isinstance(error, grpc.Call) else None
    details_of_status: Sequence[any_pb2.Any] = status.details if status is not None else ()
    for detail in details_of_status:
        if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(retry):
            delay = retry.retry_delay.ToTimedelta().total_seconds()
    metadata.pop(RETRY_AFTER_KEY, None)
    # gRPC appends where in its own code it met the error.
    details = details.partition("\n=== ")[0].strip() or code.value
    if not info.domain and code in _MAY_BE_A_PROXYS and (proxy := proxies.proxy_before(target)):
        details = f"{details.rstrip('.')}; {proxy}"
    return RemoteError(details, code=code, reason=reason, retry_seconds=delay, details=details_of_status, **metadata)


def _code_of(error: grpc.RpcError) -> ErrorCode:
    if isinstance(error, grpc.Call) and error.code() is not None:
        name = error.code().name
        if name in ErrorCode.__members__:
            return ErrorCode[name]
    return ErrorCode.INTERNAL
