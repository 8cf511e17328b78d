"""Hosts and ports as people write them, IPv6 among them, and as sockets and gRPC want them."""

from __future__ import annotations

import ipaddress
import socket

_ANY = frozenset({"0.0.0.0", "::", "::0", "0:0:0:0:0:0:0:0"})


def bare_host(host: str) -> str:
    """``host`` without the brackets that URLs put around IPv6 addresses."""
    host = host.strip()
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def host_and_port(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_any(host: str) -> bool:
    """Whether the host stands for all addresses of this machine, of both families."""
    return host in _ANY


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host, by its number or as localhost; other names may be anything."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def has_ipv6() -> bool:
    """Whether this machine can listen on IPv6."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
