"""The methods of a servicer by their paths, found as a gRPC server finds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import grpc


class CallDetails(NamedTuple):
    """What grpc.HandlerCallDetails asks for."""

    method: str
    invocation_metadata: tuple[tuple[str, str], ...]


class HandlerTable:
    """Stands in for a ``grpc.Server`` where a servicer is added to one."""

    def __init__(self) -> None:
        self._generic: list[Any] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """See grpc.Server."""
        self._generic += handlers

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """See grpc.Server; the generic handlers know the same methods."""

    def find(self, path: str) -> grpc.RpcMethodHandler | None:
        """The method's handler; None where there is none."""
        details = CallDetails(path, ())
        return next((found for handler in self._generic if (found := handler.service(details)) is not None), None)
