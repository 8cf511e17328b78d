"""Which proxy gRPC sends a connection through: it reads the environment, and its errors do not say so.

gRPC's rules: https://github.com/grpc/grpc/blob/master/doc/environment_variables.md (grpc_proxy, no_grpc_proxy, and the
usual variables in lower case). Tried with gRPC 1.81.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from facecloak_rpc.addresses import host_and_port

_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTIONS = ("no_grpc_proxy", "no_proxy")


def proxy_before(target: str, environment: Mapping[str, str] | None = None) -> str:
    """What to say of the proxy that gRPC uses for ``target`` (``host:port``, "" for any), "" where it uses none.

    Names the variable and the proxy's host, and no credentials.
    """
    given = os.environ if environment is None else environment
    variable = next((name for name in _PROXIES if given.get(name)), "")
    exceptions = next((given[name] for name in _EXCEPTIONS if given.get(name)), "")
    host = urlsplit(f"//{target.removeprefix('dns:').lstrip('/')}").hostname or ""
    if not variable or target.startswith("unix:") or _is_excepted(host, exceptions):
        return ""
    parts = urlsplit(given[variable])
    if parts.scheme != "http":
        return ""  # gRPC then says so in its own log, and uses none
    try:
        proxy = host_and_port(parts.hostname or "", parts.port or 80)
    except ValueError:
        return ""
    where = f" to {target}" if target else ""
    return (
        f"the connection{where} goes through the proxy {proxy} of {variable}: if it must not, name the host in no_proxy"
    )


def _is_excepted(host: str, exceptions: str) -> bool:
    """As gRPC compares: ends of names, and ranges of addresses (CIDR). A star is nothing to it."""
    return any(_excepts(entry.strip().lower(), host.lower()) for entry in exceptions.split(",") if entry.strip())


def _excepts(entry: str, host: str) -> bool:
    if not host:
        return False
    if host.endswith(entry):
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
