"""What `facecloak doctor` looks at of the wire: a server's own certificate, who calls it, where it notes that, and a
server that runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from facecloak.errors import ErrorCode, FaceCloakError
from facecloak_rpc.addresses import is_loopback
from facecloak_rpc.audit import AuditSettings, prove_writable
from facecloak_rpc.connection import Connection
from facecloak_rpc.findings import Check, Finding, Verdict
from facecloak_rpc.health import health_of
from facecloak_rpc.identity import IdentitySettings
from facecloak_rpc.identity.callers_file import Callers
from facecloak_rpc.identity.jwks import key_source
from facecloak_rpc.proxies import proxy_before
from facecloak_rpc.settings import RpcSettings
from facecloak_rpc.tls import load_certificates

# Long enough before the end that somebody can still do something about it by hand.
_ENDS_SOON = timedelta(days=14)


class ServerUnfit(FaceCloakError):
    """A server that was asked for does not answer, or says that it does not serve."""

    code = ErrorCode.UNAVAILABLE
    reason = "SERVER_UNFIT"


def look_at_wire(service: str, settings: RpcSettings) -> Iterator[Check]:
    """How the service's port is protected; ``service`` is its short name."""
    prefix = f"FACECLOAK_{service.upper()}_"
    yield Check(f"{service} port", lambda: _port(settings), f"check {prefix}TLS__* and {prefix}HOST")
    if settings.identity.is_on:
        yield Check(f"{service} callers", lambda: _callers(settings.identity), f"check {prefix}IDENTITY__*")
    if settings.audit.folder is not None:
        yield Check(f"{service} audit log", lambda: _audit(settings.audit), f"check {prefix}AUDIT__FOLDER")


def look_at_server(target: str, connection: Connection) -> Check:
    """Whether the server at ``target`` is reached and serves."""

    def look() -> str:
        answer = health_of(target, connection=connection)
        if answer != "SERVING":
            raise ServerUnfit(f"{target} answers {answer}")
        return f"{target} serves{', by TLS' if connection.is_secure else ''}"

    proxy = proxy_before(target)
    advice = "is it started, does it listen there, and do --tls, --ca, --cert and --key fit?"
    return Check("server", look, f"{advice} {proxy}" if proxy else advice)


def _callers(identity: IdentitySettings) -> str:
    assert identity.callers is not None
    count = len(Callers.load(identity.callers).rules)
    told = f"{count} in {identity.callers}"
    if not identity.jwks:
        return f"{told}, told by their certificates"
    key_source(identity).key("", identity.algorithms[0])  # raises where no keys can be had
    return f"{told}, told by tokens whose keys were had from {identity.jwks}"


def _audit(settings: AuditSettings) -> str:
    assert settings.folder is not None
    prove_writable(settings.folder)
    return f"can be written in {settings.folder}"


def _port(settings: RpcSettings) -> Finding | str:
    if settings.tls.is_on:
        left = load_certificates(settings.tls).ends_at - datetime.now(UTC)
        if left < _ENDS_SOON:
            found = f"the certificate ends in {left.days} days"
            return Finding(Verdict.WARNING, found, "replace its files: they are read again while serving")
    if not is_loopback(settings.host) and not settings.is_protected:
        return Finding(
            Verdict.WARNING,
            f"{settings.host} listens beyond this machine, and nothing tells callers apart",
            "set TLS__CLIENT_CA, or see that only your pipeline reaches the port",
        )
    if settings.tls.is_on:
        return f"TLS{' for callers with a certificate' if settings.tls.is_mutual else ''}, {left.days} days left"
    return "in clear, on this machine alone" if is_loopback(settings.host) else "protected"
