"""How a client reaches a server: with TLS or without, by which certificate, and with which headers on every call."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from facecloak.errors import InvalidInput
from facecloak_client import Tls
from facecloak_rpc.watched_files import read_bounded

# RFC 9110's tokens in lower case, as HTTP/2 and gRPC want them; a name that ends in -bin would carry bytes.
_HEADER_NAME = re.compile(r"[0-9a-z_.-]+(?<!-bin)")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]+")


@dataclass(frozen=True)
class Connection:
    """How to connect. Without anything: in clear, and as nobody.

    Attributes:
        tls: check the server's certificate and encrypt; so does any of the next three.
        ca: PEM file of the authorities to trust; None: those that gRPC ships.
        certificate: PEM file of this client's certificate chain, for servers that ask for one.
        key: PEM file of its private key.
        headers: sent with every call, such as ("authorization", "Bearer ..."). Without TLS anybody on the way reads
            them.
    """

    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise InvalidInput("a client's certificate and its key belong together", field="certificate")
        for name, value in self.headers:
            if _HEADER_NAME.fullmatch(name) is None or _HEADER_VALUE.fullmatch(value) is None:
                raise InvalidInput("a header has a name in lower case and a value of printable ASCII", field="headers")

    @property
    def is_secure(self) -> bool:
        """Whether it uses TLS."""
        return self.tls or self.ca is not None or self.certificate is not None

    def open(self, target: str, *, options: Sequence[tuple[str, Any]]) -> grpc.Channel:
        """A channel to ``target``; see :func:`facecloak_rpc.client.open_channel`. Raises FileUnusable."""
        tls = self.tls_files()
        if tls is not None:
            channel = grpc.secure_channel(target, tls.credentials(), options=options)
        else:
            channel = grpc.insecure_channel(target, options=options)
        return grpc.intercept_channel(channel, _Headers(self.headers)) if self.headers else channel

    def tls_files(self) -> Tls | None:
        """The certificates, read; None in clear. Raises FileUnusable."""
        if not self.is_secure:
            return None
        return Tls(
            authorities=read_bounded(self.ca) if self.ca is not None else None,
            certificate=read_bounded(self.certificate) if self.certificate is not None else None,
            key=read_bounded(self.key) if self.key is not None else None,
        )


def header_from(text: str) -> tuple[str, str]:
    """A header as it is written on a command line: ``NAME: VALUE``, or ``NAME: @FILE`` for what others must not see.

    Raises:
        InvalidInput: there is no colon.
        FileUnusable: the file cannot be read.
    """
    name, colon, value = text.partition(":")
    if not colon:
        raise InvalidInput("a header is written NAME: VALUE", field="headers")
    value = value.strip()
    if value.startswith("@"):
        value = read_bounded(Path(value[1:])).decode("ascii", errors="replace").strip()
    return name.strip().lower(), value


class _Details(NamedTuple):
    """What grpc.ClientCallDetails asks for."""

    method: str
    timeout: float | None
    metadata: list[tuple[str, str | bytes]]
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _Headers(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Puts headers on every call."""

    def __init__(self, headers: tuple[tuple[str, str], ...]) -> None:
        self._headers = headers

    def _continued(self, continuation: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), *self._headers]
        return continuation(
            _Details(
                details.method, details.timeout, metadata, details.credentials, details.wait_for_ready,
                details.compression,
            ),
            request,
        )  # fmt: skip

    intercept_unary_unary = _continued  # type: ignore[assignment]
    intercept_unary_stream = _continued  # type: ignore[assignment]
    intercept_stream_unary = _continued  # type: ignore[assignment]
    intercept_stream_stream = _continued  # type: ignore[assignment]
