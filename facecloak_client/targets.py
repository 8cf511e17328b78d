"""gRPC targets as people write them."""

from __future__ import annotations

import ipaddress
import re

# A bare IPv6 address has two colons or more; what follows the last one can only be meant as the port.
_BARE_IPV6_AND_PORT = re.compile(r"([0-9a-fA-F:.]*:[0-9a-fA-F:.]*(?:%[^:\]]+)?):([0-9]{1,5})")


def target_of(target: str) -> str:
    """A gRPC target; an IPv6 address before the port gets the brackets that it needs."""
    found = _BARE_IPV6_AND_PORT.fullmatch(target)
    return f"[{found[1]}]:{found[2]}" if found else target


def stays_on_this_machine(target: str) -> bool:
    """Whether nothing of a call to ``target`` leaves this machine: a loopback address, localhost, or a Unix socket."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    host = target_of(target).removeprefix("dns:").lstrip("/").rpartition(":")[0]
    host = host.removeprefix("[").removesuffix("]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
