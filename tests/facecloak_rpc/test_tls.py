"""TLS and mutual TLS on a real port, with real certificates: who gets in, and certificates replaced while serving."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner
from cryptography import x509
from pydantic import ValidationError

from facecloak_rpc import watched_files
from facecloak_rpc.client import open_channel
from facecloak_rpc.connection import Connection, header_from
from facecloak_rpc.health import health_of
from facecloak_rpc.health import main as health_command
from facecloak_rpc.identity import Right
from facecloak_rpc.settings import RpcSettings
from facecloak_rpc.tls import TlsSettings, load_certificates
from facecloak_rpc.watched_files import FileUnusable
from tests.certificates import Authority, Pair


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture(autouse=True)
def _looks_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_files, "_LOOK_SECONDS", 0.0)


class Served:
    """An echo server with TLS, and connections to it as anybody wants them."""

    def __init__(self, echo: Any, pair: Pair, client_ca: Path | None = None) -> None:
        self.echo = echo
        tls = TlsSettings(certificate=pair.certificate, key=pair.key, client_ca=client_ca)
        settings = RpcSettings(port=0, readiness_seconds=0.05, grace_seconds=5, tls=tls)
        # A caller with a certificate may call what a right is known of.
        echo.start(settings, rights={"facecloak.test.Echo/Say": Right.APPLY})

    def say(self, connection: Connection | None) -> str:
        target = f"localhost:{self.echo.server.port}"
        with open_channel(target, connection=connection) as self.echo.channel:
            return str(self.echo.call("hello"))

    def refuses(self, connection: Connection | None) -> bool:
        with pytest.raises(grpc.RpcError) as caught:
            self.say(connection)
        return caught.value.code() is grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def serve(make_echo: type[Any]) -> Iterator[Any]:
    made: list[Served] = []

    def make(pair: Pair, client_ca: Path | None = None) -> Served:
        made.append(Served(make_echo(), pair, client_ca))
        return made[-1]

    yield make
    for served in made:
        served.echo.server.stop(grace_seconds=0)


def test_who_trusts_the_authority_is_served(serve: Any, authority: Authority, tmp_path: Path) -> None:
    served = serve(authority.server())
    other = Authority(tmp_path / "other")
    assert served.say(Connection(ca=authority.path)) == "hello"
    assert served.refuses(None)
    assert served.refuses(Connection(ca=other.path))
    assert served.refuses(Connection(tls=True)), "nobody's authority vouches for it"


def test_mutual_tls_lets_in_who_has_a_certificate(serve: Any, authority: Authority, tmp_path: Path) -> None:
    served = serve(authority.server(), authority.path)
    mine = authority.client("mine", "spiffe://example/upload")
    over = authority.client("over", "spiffe://example/upload", days=-1)
    others = Authority(tmp_path / "other").client("theirs", "spiffe://example/upload")
    assert served.say(Connection(ca=authority.path, certificate=mine.certificate, key=mine.key)) == "hello"
    assert served.refuses(Connection(ca=authority.path))
    assert served.refuses(None)
    for pair in (over, others):
        assert served.refuses(Connection(ca=authority.path, certificate=pair.certificate, key=pair.key))


def serial_at(port: int, authority: Authority) -> int:
    """The serial number of the certificate that a new connection is shown."""
    pem = ssl.get_server_certificate(("localhost", port), ca_certs=str(authority.path))
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def test_certificates_are_replaced_while_serving(serve: Any, authority: Authority) -> None:
    pair = authority.server()
    served = serve(pair)
    connection = Connection(ca=authority.path)
    kept = open_channel(f"localhost:{served.echo.server.port}", connection=connection)
    served.echo.channel = kept
    assert served.echo.call("before") == "before"
    first = serial_at(served.echo.server.port, authority)
    authority.server()  # writes the same two files
    second = serial_at(served.echo.server.port, authority)
    assert second != first
    assert served.say(connection) == "hello"
    served.echo.channel = kept
    assert served.echo.call("after") == "after", "a connection that is open stays"
    kept.close()
    # One that cannot be used changes nothing: half a pair, as long as it is being written, or no PEM at all.
    key = pair.key.read_bytes()
    pair.key.write_bytes(Authority(authority.folder / "x").server().key.read_bytes())
    assert serial_at(served.echo.server.port, authority) == second
    pair.key.write_bytes(key)
    pair.certificate.write_bytes(b"nothing")
    assert serial_at(served.echo.server.port, authority) == second
    assert served.say(connection) == "hello"


def test_the_authorities_of_callers_are_replaced_while_serving(
    serve: Any, authority: Authority, tmp_path: Path
) -> None:
    trusted = tmp_path / "clients.pem"
    trusted.write_bytes(authority.path.read_bytes())
    served = serve(authority.server(), trusted)
    later = Authority(tmp_path / "later")
    old, new = authority.client("old"), later.client("new")

    def by(pair: Pair) -> Connection:
        return Connection(ca=authority.path, certificate=pair.certificate, key=pair.key)

    assert served.say(by(old)) == "hello"
    assert served.refuses(by(new))
    trusted.write_bytes(later.path.read_bytes())
    assert served.say(by(new)) == "hello"
    assert served.refuses(by(old))


def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    good, over = authority.server(), authority.server("over", days=-1)
    nothing, large = tmp_path / "nothing", tmp_path / "large"
    nothing.write_bytes(b"no PEM")
    large.write_bytes(b"x" * (watched_files.FILE_BYTES_LIMIT + 1))
    for certificate, key, why in (
        (good.certificate, over.key, "not the key of"),
        (over.certificate, over.key, "ended at"),
        (nothing, good.key, "no certificate"),
        (good.certificate, nothing, "no private key"),
        (large, good.key, "larger than"),
        (tmp_path / "absent", good.key, "cannot be read"),
    ):
        with pytest.raises(FileUnusable, match=why):
            load_certificates(TlsSettings(certificate=certificate, key=key))


def test_only_a_protected_port_listens_beyond_this_machine(authority: Authority) -> None:
    pair = authority.server()
    for host in ("0.0.0.0", "::", "10.1.2.3", "example.org"):
        with pytest.raises(ValidationError, match="insecure_listen"):
            RpcSettings(host=host)
        one_sided = TlsSettings(certificate=pair.certificate, key=pair.key)
        with pytest.raises(ValidationError, match="insecure_listen"):
            RpcSettings(host=host, tls=one_sided)
        assert RpcSettings(host=host, insecure_listen=True).host == host
        both = one_sided.model_copy(update={"client_ca": authority.path})
        assert RpcSettings(host=host, tls=both).is_protected
    for host in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"):
        assert not RpcSettings(host=host).insecure_listen
    for wrong in ({"certificate": pair.certificate}, {"key": pair.key}, {"client_ca": authority.path}):
        with pytest.raises(ValidationError):
            TlsSettings(**wrong)


def test_an_insecure_port_says_so_loudly(make_echo: type[Any], capfd: pytest.CaptureFixture[str]) -> None:
    echo = make_echo()
    echo.start(RpcSettings(host="0.0.0.0", port=0, insecure_listen=True, readiness_seconds=0.05))
    echo.channel.close()
    echo.server.stop(grace_seconds=0)
    out, err = capfd.readouterr()
    assert "INSECURE" in out + err


def test_probes_reach_tls(serve: Any, authority: Authority) -> None:
    served = serve(authority.server())
    target = f"localhost:{served.echo.server.port}"
    assert health_of(target, connection=Connection(ca=authority.path)) == "SERVING"
    assert health_of(target) == "UNAVAILABLE"
    done = CliRunner().invoke(health_command, [target, "--ca", str(authority.path)])
    assert (done.exit_code, done.output.strip()) == (0, "SERVING")


def test_headers_go_with_every_call_and_come_from_files(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("Bearer abc\n")
    assert header_from("Authorization: Bearer x") == ("authorization", "Bearer x")
    assert header_from(f"authorization:@{secret}") == ("authorization", "Bearer abc")
    for wrong in (("no colon",), ("bad name: x",), ("x: line\nbreak",), ("x-bin: abc",), ("x:",)):
        with pytest.raises(Exception, match="header"):
            Connection(headers=tuple(map(header_from, wrong)))
