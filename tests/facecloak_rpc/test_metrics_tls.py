"""/metrics and the probes over HTTPS: for whom, and with certificates that are replaced while serving."""

from __future__ import annotations

import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from facecloak_rpc import watched_files
from facecloak_rpc.settings import RpcSettings
from facecloak_rpc.tls import TlsSettings
from tests.certificates import Authority, Pair

Ask = Callable[..., int]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture
def serve(make_echo: Any, free_port: int) -> Iterator[Callable[..., Ask]]:
    made: list[Any] = []

    def start(pair: Pair, client_ca: Path | None = None) -> Ask:
        tls = TlsSettings(certificate=pair.certificate, key=pair.key, client_ca=client_ca)
        echo = make_echo()
        echo.start(RpcSettings(port=0, readiness_seconds=0.05, tls=tls, metrics_port=free_port, metrics_tls=True))
        made.append(echo)

        def ask(path: str, *, ca: Path, pair: Pair | None = None) -> int:
            context = ssl.create_default_context(cafile=ca)
            if pair is not None:
                context.load_cert_chain(pair.certificate, pair.key)
            try:
                with urllib.request.urlopen(
                    f"https://localhost:{free_port}{path}", context=context, timeout=20
                ) as answer:
                    assert path != "/metrics" or b"facecloak_build_info" in answer.read()
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return error.code

        return ask

    yield start
    for echo in made:
        echo.server.stop(grace_seconds=0)


def test_metrics_travel_by_tls(serve: Any, authority: Authority, tmp_path: Path, free_port: int) -> None:
    ask = serve(authority.server())
    assert [ask(path, ca=authority.path) for path in ("/metrics", "/livez", "/readyz")] == [200] * 3
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        ask("/metrics", ca=Authority(tmp_path / "other").path)
    with pytest.raises((ConnectionError, urllib.error.URLError)):
        urllib.request.urlopen(f"http://localhost:{free_port}/metrics", timeout=20)
    # Who connects and says nothing holds up nobody.
    with socket.create_connection(("localhost", free_port)):
        assert ask("/metrics", ca=authority.path) == 200


def test_where_callers_need_certificates_metrics_do_and_probes_do_not(
    serve: Any, authority: Authority, tmp_path: Path
) -> None:
    ask = serve(authority.server(), authority.path)
    client, stranger = authority.client("prometheus"), Authority(tmp_path / "other").client("prometheus")
    assert ask("/metrics", ca=authority.path, pair=client) == 200
    assert ask("/metrics", ca=authority.path) == 403
    assert [ask(path, ca=authority.path) for path in ("/livez", "/readyz")] == [200, 200]
    with pytest.raises((ConnectionError, ssl.SSLError, urllib.error.URLError)):
        ask("/metrics", ca=authority.path, pair=stranger)


def test_a_replaced_certificate_is_used(
    serve: Any, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_files, "_LOOK_SECONDS", 0.0)
    pair, other = authority.server(), Authority(tmp_path / "other")
    ask = serve(pair)
    assert ask("/metrics", ca=authority.path) == 200
    new = other.server()
    pair.key.write_bytes(new.key.read_bytes())
    pair.certificate.write_bytes(new.certificate.read_bytes())
    assert ask("/metrics", ca=other.path) == 200


def test_metrics_tls_needs_a_certificate() -> None:
    with pytest.raises(ValidationError, match="metrics_tls"):
        RpcSettings(metrics_tls=True, metrics_port=9000)
