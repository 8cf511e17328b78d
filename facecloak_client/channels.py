"""Channels to the services: TLS, tokens, balancing, retries, and messages as large as a photo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from facecloak_client.service_config import Retries, service_config
from facecloak_client.targets import stays_on_this_machine, target_of

MESSAGE_BYTES_LIMIT = 64 * 1024 * 1024
"""Largest message by default, bytes: the servers' own default. gRPC's, of 4 MiB, is less than a good camera's photo."""

Token = str | Callable[[], str]
"""A bearer token, or what gives the one that is good now: it is called before every call."""


@dataclass(frozen=True)
class Tls:
    """How a server is known, and how it knows the client.

    Attributes:
        authorities: certificates of the authorities to trust, a PEM file or its bytes; None: those that gRPC ships.
        certificate: the client's own and those up to the authority, likewise, where the server asks for it.
        key: its private key, likewise.
        server_name: name that the server's certificate is to have, where it is not the target's.
    """

    authorities: Path | str | bytes | None = None
    certificate: Path | str | bytes | None = None
    key: Path | str | bytes | None = field(default=None, repr=False)
    server_name: str = ""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together")

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files. Raises OSError where one cannot be read."""
        return grpc.ssl_channel_credentials(
            root_certificates=_read(self.authorities),
            private_key=_read(self.key),
            certificate_chain=_read(self.certificate),
        )


@dataclass(frozen=True)
class Connection:
    """How to reach one service.

    Attributes:
        target: ``host:port``, an IPv6 address in brackets or without, or a name of several servers such as
            ``dns:///apply.svc:50062``: calls go to all of them in turn.
        service: full name of the service.
        tls: None: in the clear.
        token: sent with every call. In the clear only to this machine, unless ``token_in_the_clear``: for a mesh that
            encrypts what leaves it.
        headers: sent with every call, names in lower case; in the clear, too.
        health_checks: whether calls go only to servers that say that they serve.
    """

    target: str
    service: str
    tls: Tls | None = None
    token: Token | None = field(default=None, repr=False)
    token_in_the_clear: bool = False
    headers: Sequence[tuple[str, str]] = ()
    retries: Retries = field(default_factory=Retries)
    health_checks: bool = True
    message_bytes_limit: int = MESSAGE_BYTES_LIMIT

    def __post_init__(self) -> None:
        if self.token is None or self.tls is not None or self.token_in_the_clear:
            return
        if not stays_on_this_machine(self.target):
            raise ValueError("a token would go over the network in the clear: use TLS")

    def open(self) -> grpc.Channel:
        """A channel for threads; it connects at the first call. Close it after use."""
        target = target_of(self.target)
        if self.tls is None:
            return grpc.insecure_channel(target, options=self._options())
        return grpc.secure_channel(target, self.tls.credentials(), options=self._options())

    def open_asyncio(self, *, interceptors: Sequence[grpc.aio.ClientInterceptor] = ()) -> grpc.aio.Channel:
        """A channel for asyncio."""
        target, options = target_of(self.target), self._options()
        if self.tls is None:
            return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
        return grpc.aio.secure_channel(target, self.tls.credentials(), options=options, interceptors=interceptors)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call says of who calls."""
        if self.token is None:
            return tuple(self.headers)
        token = self.token if isinstance(self.token, str) else self.token()
        return (*self.headers, ("authorization", f"Bearer {token}"))

    def _options(self) -> list[tuple[str, Any]]:
        options = channel_options(
            self.service,
            retries=self.retries,
            health_checks=self.health_checks,
            message_bytes_limit=self.message_bytes_limit,
        )
        if self.tls is not None and self.tls.server_name:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options


def channel_options(
    service: str, *, retries: Retries, health_checks: bool, message_bytes_limit: int = MESSAGE_BYTES_LIMIT
) -> list[tuple[str, Any]]:
    """gRPC's options of a channel to one service."""
    return [
        ("grpc.max_receive_message_length", message_bytes_limit),
        ("grpc.max_send_message_length", message_bytes_limit),
        ("grpc.keepalive_time_ms", 30_000),
        # Servers that all went away at once are back within seconds; gRPC's own pauses grow to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 250),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.service_config", service_config(service, retries=retries, health_checks=health_checks)),
    ]


def _read(given: Path | str | bytes | None) -> bytes | None:
    return given if given is None or isinstance(given, bytes) else Path(given).read_bytes()
