"""The commands' side of facecloak_client: its failures as errors of FaceCloak, with what stands between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import grpc
from google.protobuf import any_pb2

from facecloak.errors import ErrorCode, FaceCloakError
from facecloak_client import CallFailed, FaceCloakClient, Retries
from facecloak_client.channels import MESSAGE_BYTES_LIMIT, channel_options
from facecloak_client.failures import failure_of_call
from facecloak_client.targets import target_of
from facecloak_rpc import proxies
from facecloak_rpc.connection import Connection
from facecloak_rpc.errors import REQUEST_ID_KEY

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
    """Opens a channel that repeats nothing; it connects at the first call. Close it after use.

    Args:
        target: see :class:`facecloak_client.Connection`.
        connection: how it is reached, by TLS and with which headers; by default in clear.
        health_service: full name of a service, such as ``facecloak.v1.ApplyService``; calls then go only to servers
            whose health says that it serves (https://github.com/grpc/grpc/blob/master/doc/health-checking.md).

    Raises:
        FileUnusable: a certificate file cannot be read.
    """
    options = channel_options(
        health_service,
        retries=Retries(attempts=1),
        health_checks=bool(health_service),
        message_bytes_limit=message_bytes_limit,
    )
    return (connection or Connection()).open(target_of(target), options=options)


def open_client(*, enroll: str = "", apply: str = "", connection: Connection | None = None) -> FaceCloakClient:
    """The client of the commands and the evaluation. A server that does not serve says why itself: its health is not
    asked. Raises FileUnusable where a certificate file cannot be read."""
    how = connection or Connection()
    return FaceCloakClient(enroll=enroll, apply=apply, tls=how.tls_files(), headers=how.headers, health_checks=False)


@contextmanager
def remote_errors(target: str = "") -> Iterator[None]:
    """Turns what a call of the block fails with into a :class:`RemoteError`; ``target`` is the server it calls."""
    try:
        yield
    except (grpc.RpcError, CallFailed) as error:
        raise to_remote_error(error, target=target) from error


def to_remote_error(error: grpc.RpcError | CallFailed, *, target: str = "") -> RemoteError:
    """What a call failed with. An error that no server of ours answered with names the proxy that stands before
    ``target``, if one does: gRPC takes it from the environment without a word."""
    failure = error if isinstance(error, CallFailed) else failure_of_call(error)
    code = ErrorCode[failure.code.name] if failure.code.name in ErrorCode.__members__ else ErrorCode.INTERNAL
    message = failure.message
    answered = failure.reason != failure.code.name or bool(failure.details)
    if not answered and code in _MAY_BE_A_PROXYS and (proxy := proxies.proxy_before(target)):
        message = f"{message.rstrip('.')}; {proxy}"
    metadata = {**failure.metadata, **({REQUEST_ID_KEY: failure.request_id} if answered else {})}
    return RemoteError(
        message, code=code, reason=failure.reason if answered else code.value, retry_seconds=failure.retry_after_s,
        details=failure.details, **metadata,
    )  # fmt: skip
