"""How to reach a Triton server, and how long to try."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from facecloak.recognizers.triton.errors import InvalidTritonUrl

_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}\Z")


@dataclass(frozen=True)
class TritonConnection:
    """An operator's Triton.

    Attributes:
        url: ``HOST:PORT`` or ``grpc://HOST:PORT`` of its gRPC, ``grpcs://HOST:PORT`` with TLS.
        root_certificates: file of PEM certificates to trust with TLS; None trusts those that gRPC ships.
        shared_memory: pass tensors by POSIX shared memory where the server has the same; False never tries.
        call_seconds: deadline of one call.
        retry_seconds: how long a call is tried again while the server is away, drains or has its queue full.
        circuit_failures: calls of one model that fail in a row before it counts as dead.
        circuit_seconds: how long calls of a dead model are then refused at once, before one may try it again.
    """

    url: str
    root_certificates: Path | None = None
    shared_memory: bool = True
    call_seconds: float = 30.0
    retry_seconds: float = 20.0
    circuit_failures: int = 2
    circuit_seconds: float = 5.0

    @property
    def target(self) -> str:
        """``host:port`` as gRPC takes it. Raises InvalidTritonUrl."""
        return _parse(self.url)[0]

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted. Raises InvalidTritonUrl."""
        return _parse(self.url)[1]


def _parse(url: str) -> tuple[str, bool]:
    parts = urlsplit(url if "://" in url else f"grpc://{url}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    rest = (parts.username, parts.password, parts.path.strip("/"), parts.query, parts.fragment)
    if parts.scheme not in ("grpc", "grpcs") or not host or not port or not _HOST.match(host) or any(rest):
        raise InvalidTritonUrl("the address of Triton is HOST:PORT, grpc://HOST:PORT or grpcs://HOST:PORT")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}", parts.scheme == "grpcs"
