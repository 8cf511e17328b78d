"""What a servicer and the interceptor ask of the call that they serve, when it came over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
from google.rpc import status_pb2

from facecloak_rpc.errors import DeadlineExceeded, to_status

Metadata = tuple[tuple[str, str], ...]


class CallEnded(Exception):
    """Raised by abort, as gRPC's does."""


class HttpContext:
    """One call; as much of ``grpc.ServicerContext`` as is used. Close it when the call has ended."""

    def __init__(
        self,
        *,
        peer: str,
        metadata: Metadata,
        timeout_s: float | None,
        auth_context: Mapping[str, Sequence[bytes]],
        hang_up: Callable[[], None],
    ) -> None:
        """``hang_up``: closes the connection, for a client that does not take its answer."""
        self._hang_up = hang_up
        self._peer = peer
        self._metadata = metadata
        self._auth_context = auth_context
        self._ends = None if timeout_s is None else time.monotonic() + timeout_s
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self._active = True
        self.is_late = False
        self.status: status_pb2.Status | None = None
        """What the call was aborted with."""
        self.trailers: tuple[tuple[str, str | bytes], ...] = ()
        self._timer: threading.Timer | None = None
        if timeout_s is not None:
            self._timer = threading.Timer(timeout_s, self._expire)
            self._timer.daemon = True
            self._timer.start()

    def invocation_metadata(self) -> Metadata:
        """See grpc.ServicerContext, as all of these."""
        return self._metadata

    def peer(self) -> str:
        """Names the connection."""
        return self._peer

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        """What TLS knows of the caller."""
        return self._auth_context

    def time_remaining(self) -> float | None:
        """Seconds."""
        return None if self._ends is None else self._ends - time.monotonic()

    def is_active(self) -> bool:
        """Whether anybody waits."""
        return self._active

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Called once nobody waits any more; False where nobody does already."""
        with self._lock:
            if self._active:
                self._callbacks.append(callback)
            return self._active

    def cancel(self) -> None:
        """Gives the call up."""
        self._hang_up()
        self.close()

    def set_trailing_metadata(self, trailers: Sequence[tuple[str, str | bytes]]) -> None:
        """Headers of the answer."""
        self.trailers = tuple(trailers)

    def abort_with_status(self, status: Any) -> None:
        """Ends the call with a status that came from :func:`facecloak_rpc.infrastructure.abort`."""
        self.set_trailing_metadata(status.trailing_metadata)
        packed = dict(self.trailers)["grpc-status-details-bin"]
        assert isinstance(packed, bytes)
        self.status = status_pb2.Status.FromString(packed)
        raise CallEnded

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        """Ends the call with a bare status."""
        self.status = status_pb2.Status(code=code.value[0], message=details)
        raise CallEnded

    @property
    def failure(self) -> status_pb2.Status | None:
        """What the caller is told; None where all went well."""
        if self.is_late and self.status is not None:
            return to_status(DeadlineExceeded("the deadline has passed"), request_id=self._request_id)
        return self.status

    def close(self) -> None:
        """The call has ended, or its client is gone."""
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._active, callbacks, self._callbacks = False, self._callbacks, []
        for callback in callbacks:
            callback()

    def _expire(self) -> None:
        self.is_late = True
        self.close()

    @property
    def _request_id(self) -> str:
        return str(dict(self.trailers).get("x-request-id", ""))
