"""What the doctor says of ports, callers and running servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from facecloak_rpc.audit import AuditSettings
from facecloak_rpc.connection import Connection
from facecloak_rpc.findings import Verdict
from facecloak_rpc.identity import IdentitySettings
from facecloak_rpc.settings import RpcSettings
from facecloak_rpc.tls import TlsSettings
from facecloak_rpc.wire_checks import look_at_server, look_at_wire
from tests.certificates import Authority
from tests.tokens import Issuer


def findings(settings: RpcSettings) -> dict[str, tuple[Verdict, str]]:
    run = {check.name: check.run() for check in look_at_wire("apply", settings)}
    return {name.removeprefix("apply "): (finding.verdict, finding.found) for name, finding in run.items()}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


def test_ports(authority: Authority) -> None:
    assert findings(RpcSettings()) == {"port": (Verdict.OK, "in clear, on this machine alone")}
    verdict, found = findings(RpcSettings(host="0.0.0.0", insecure_listen=True))["port"]
    assert (verdict, "nothing tells callers apart" in found) == (Verdict.WARNING, True)
    for days, expected in ((100, Verdict.OK), (3, Verdict.WARNING), (-1, Verdict.FAILED)):
        pair = authority.server(f"for-{days}", days=days)
        tls = TlsSettings(certificate=pair.certificate, key=pair.key, client_ca=authority.path)
        assert findings(RpcSettings(host="0.0.0.0", tls=tls))["port"][0] is expected


def test_callers_and_their_keys(tmp_path: Path) -> None:
    callers = tmp_path / "callers.toml"
    callers.write_text('[[caller]]\nname = "a"\nclaims = {sub = "a"}\nrights = ["read"]\n')
    jwks = Issuer().write_jwks(tmp_path / "jwks.json")
    given: dict[str, Any] = {"callers": callers, "issuer": "i", "audience": "a"}
    good = findings(RpcSettings(identity=IdentitySettings(jwks=str(jwks), **given)))["callers"]
    assert good[0] is Verdict.OK
    assert good[1].startswith("1 in ")
    nowhere = IdentitySettings(jwks="https://localhost:1/keys", **given)
    assert findings(RpcSettings(identity=nowhere))["callers"][0] is Verdict.FAILED
    callers.write_text("nothing")
    assert findings(RpcSettings(identity=IdentitySettings(jwks=str(jwks), **given)))["callers"][0] is Verdict.FAILED


def test_the_audit_log(tmp_path: Path) -> None:
    for folder in (tmp_path / "there", tmp_path / "not" / "there"):
        (tmp_path / "there").mkdir(exist_ok=True)
        assert findings(RpcSettings(audit=AuditSettings(folder=folder)))["audit log"][0] is Verdict.OK
    assert not list((tmp_path / "there").iterdir())
    assert not (tmp_path / "not" / "there").exists()
    (tmp_path / "file").write_text("")
    verdict, found = findings(RpcSettings(audit=AuditSettings(folder=tmp_path / "file")))["audit log"]
    assert (verdict, "AUDIT_UNAVAILABLE" in found) == (Verdict.FAILED, True)


def test_a_running_server(make_echo: type[Any], authority: Authority) -> None:
    pair = authority.server()
    echo = make_echo()
    tls = TlsSettings(certificate=pair.certificate, key=pair.key)
    echo.start(RpcSettings(port=0, readiness_seconds=0.05, tls=tls))
    try:
        target = f"localhost:{echo.server.port}"
        good = look_at_server(target, Connection(ca=authority.path)).run()
        assert (good.verdict, good.found) == (Verdict.OK, f"{target} serves, by TLS")
        assert look_at_server(target, Connection()).run().verdict is Verdict.FAILED
    finally:
        echo.channel.close()
        echo.server.stop(grace_seconds=0)
