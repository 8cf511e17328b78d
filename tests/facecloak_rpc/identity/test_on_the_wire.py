"""Callers of a real server: by certificate, by token, and by everything that only looks like one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from pydantic import ValidationError

from facecloak.errors import ErrorCode
from facecloak_rpc import watched_files
from facecloak_rpc.client import RemoteError, open_channel, remote_errors
from facecloak_rpc.connection import Connection
from facecloak_rpc.identity import IdentitySettings, Right, current_caller
from facecloak_rpc.settings import RpcSettings
from facecloak_rpc.tls import TlsSettings
from tests.certificates import Authority, Pair
from tests.tokens import AUDIENCE, ISSUER, Issuer, bearer

SERVICE = "facecloak.test.Echo"
RIGHTS = {f"{SERVICE}/Say": Right.APPLY, f"{SERVICE}/SayEach": Right.DELETE}
CALLERS = """
[[caller]]
name = "upload"
uri = "spiffe://example/upload"
tenant = "acme"
rights = ["apply"]

[[caller]]
name = "accounts"
claims = {sub = "accounts"}
tenant_claim = "org"
rights = ["apply", "delete"]
"""


@pytest.fixture(autouse=True)
def _looks_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_files, "_LOOK_SECONDS", 0.0)


def who(_text: str) -> str:
    caller = current_caller()
    return f"{caller.tenant}/{caller.name}"


def refusal(call: Any, *arguments: Any, **options: Any) -> tuple[ErrorCode, str]:
    with pytest.raises(RemoteError) as caught, remote_errors():
        call(*arguments, **options)
    return caught.value.code, caught.value.reason


@pytest.fixture
def callers_file(tmp_path: Path) -> Path:
    path = tmp_path / "callers.toml"
    path.write_text(CALLERS)
    return path


class Tokens:
    """An echo server that takes tokens."""

    def __init__(self, echo: Any, callers: Path, folder: Path, issuer: Issuer) -> None:
        self.echo, self.issuer = echo, issuer
        self.jwks = issuer.write_jwks(folder / "jwks.json")
        identity = IdentitySettings(callers=callers, jwks=str(self.jwks), issuer=ISSUER, audience=AUDIENCE)
        echo.behavior = who
        echo.start(RpcSettings(port=0, readiness_seconds=0.05, identity=identity), rights=RIGHTS)

    def say(self, token: str) -> str:
        return str(self.echo.call(metadata=bearer(token)))

    def refusal(self, token: str) -> tuple[ErrorCode, str]:
        return refusal(self.echo.call, metadata=bearer(token))


@pytest.fixture(params=["ES256", "RS256", "EdDSA"])
def tokens(make_echo: type[Any], callers_file: Path, tmp_path: Path, request: Any) -> Iterator[Tokens]:
    made = Tokens(make_echo(), callers_file, tmp_path, Issuer(request.param))
    yield made
    made.echo.channel.close()
    made.echo.server.stop(grace_seconds=0)


INVALID = (ErrorCode.UNAUTHENTICATED, "CREDENTIALS_INVALID")
MISSING = (ErrorCode.UNAUTHENTICATED, "CREDENTIALS_MISSING")
UNKNOWN = (ErrorCode.PERMISSION_DENIED, "CALLER_UNKNOWN")
NO_RIGHT = (ErrorCode.PERMISSION_DENIED, "RIGHT_MISSING")


def encoded(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def forged(issuer: Issuer, *, secret: bytes, algorithm: str = "HS256") -> str:
    """Signed by a secret that everybody knows: the public key's own bytes (CVE-2015-9235)."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "accounts", "org": "acme", "exp": now + 300}
    head = f"{encoded({'alg': algorithm, 'typ': 'JWT', 'kid': issuer.key_id})}.{encoded(claims)}"
    signature = hmac.new(secret, head.encode(), hashlib.sha256).digest()
    return f"{head}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def test_good_tokens_name_their_caller_and_tenant(tokens: Tokens) -> None:
    assert tokens.say(tokens.issuer.token(org="acme")) == "acme/accounts"
    assert tokens.say(tokens.issuer.token(org="globex", aud=["other", AUDIENCE])) == "globex/accounts"
    # Nobody is remembered for the next call.
    assert refusal(tokens.echo.call) == MISSING


def test_what_is_no_good_token_is_refused_alike(tokens: Tokens) -> None:
    issuer, now = tokens.issuer, int(time.time())
    other = Issuer(issuer.algorithm)
    good = issuer.token(org="acme")
    header, body, signature = good.split(".")
    wrong = [
        issuer.token(org="acme", exp=now - 60), issuer.token(org="acme", exp=None),
        issuer.token(org="acme", nbf=now + 600), issuer.token(org="acme", iat=now + 600),
        issuer.token(org="acme", aud="another"), issuer.token(org="acme", aud=None),
        issuer.token(org="acme", aud=[]), issuer.token(org="acme", iss="https://other"),
        issuer.token(org="acme", iss=None), issuer.token(org="acme", exp="soon"),
        other.token(org="acme"),
        issuer.token(org="acme", headers={"kid": "unknown"}), issuer.token(org="acme", headers={"kid": "../first"}),
        issuer.token(org="acme", headers={"crit": ["x"], "x": 1}),
        f"{encoded({'alg': 'none', 'kid': 'first'})}.{body}.", f"{encoded({'alg': 'None'})}.{body}.{signature}",
        f"{encoded({'alg': ['ES256']})}.{body}.{signature}",
        f"{encoded({'alg': 'ES256', 'kid': 7})}.{body}.{signature}",
        forged(issuer, secret=issuer.public_pem()), forged(issuer, secret=issuer.public_pem(), algorithm="RS256"),
        forged(issuer, secret=json.dumps(issuer.jwk()).encode()), forged(issuer, secret=b""),
        f"{header}.{encoded({'sub': 'accounts'})}.{signature}", f"{header}.{body}.", f"{header}.{body}", "x", "a.b.c",
        "." * 3, good[:-4] + "AAAA", f"{encoded('text')}.{body}.{signature}",
        base64.urlsafe_b64encode(b"[" * 3000).decode() + f".{body}.{signature}",
    ]  # fmt: skip
    assert [tokens.refusal(token) for token in wrong] == [INVALID] * len(wrong)
    for headers in (
        [("authorization", "Basic abc")], [("authorization", good)], [("authorization", "Bearer")],
        bearer(good) * 2, [("authorization", "")],
    ):  # fmt: skip
        assert refusal(tokens.echo.call, metadata=headers) == INVALID
    assert tokens.say(good) == "acme/accounts"


def test_a_proven_caller_needs_an_entry_and_the_right(tokens: Tokens) -> None:
    assert tokens.refusal(tokens.issuer.token("somebody", org="acme")) == UNKNOWN
    assert tokens.refusal(tokens.issuer.token()) == UNKNOWN
    assert tokens.refusal(tokens.issuer.token(org="no/tenant")) == UNKNOWN
    with pytest.raises(RemoteError) as caught, remote_errors():
        tokens.say("x")
    assert set(caught.value.metadata) == {"request_id"}, "nothing says what was wrong"


def test_keys_rotate_by_their_file(tokens: Tokens) -> None:
    old = tokens.issuer.token(org="acme")
    before = tokens.issuer.jwk()
    tokens.issuer.rotate("second")
    new = tokens.issuer.token(org="acme")
    assert tokens.refusal(new) == INVALID
    tokens.jwks.write_text(json.dumps({"keys": [before, tokens.issuer.jwk()]}))
    assert tokens.say(new) == tokens.say(old) == "acme/accounts"
    tokens.issuer.write_jwks(tokens.jwks)
    assert tokens.say(new) == "acme/accounts"
    assert tokens.refusal(old) == INVALID
    tokens.jwks.write_text("{}")
    assert tokens.say(new) == "acme/accounts", "a file that cannot be used changes nothing"


def test_callers_are_replaced_while_serving(tokens: Tokens, callers_file: Path) -> None:
    token = tokens.issuer.token(org="acme")
    assert tokens.say(token) == "acme/accounts"
    callers_file.write_text(CALLERS.replace('rights = ["apply", "delete"]', 'rights = ["delete"]'))
    assert tokens.refusal(token) == NO_RIGHT
    callers_file.write_text(CALLERS.replace("accounts", "others"))
    assert tokens.refusal(token) == UNKNOWN


def test_health_is_for_all_and_reflection_for_callers(tokens: Tokens) -> None:
    channel = tokens.echo.channel
    health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=5)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    assert refusal(lambda: list(stub.ServerReflectionInfo(iter([asked]), timeout=5))) == MISSING
    answers = list(
        stub.ServerReflectionInfo(iter([asked]), timeout=5, metadata=bearer(tokens.issuer.token(org="acme")))
    )
    assert SERVICE in [service.name for service in answers[0].list_services_response.service]


@pytest.fixture
def mutual(make_echo: type[Any], callers_file: Path, tmp_path: Path) -> Iterator[Any]:
    authority = Authority(tmp_path / "pki")
    made: list[Any] = []

    def serve(**identity: Any) -> tuple[Authority, Any]:
        pair = authority.server()
        tls = TlsSettings(certificate=pair.certificate, key=pair.key, client_ca=authority.path)
        echo = make_echo()
        echo.behavior = who
        echo.start(
            RpcSettings(port=0, readiness_seconds=0.05, tls=tls, identity=IdentitySettings(**identity)), rights=RIGHTS
        )
        made.append(echo)

        def by(client: Pair) -> Any:
            connection = Connection(ca=authority.path, certificate=client.certificate, key=client.key)
            echo.channel = open_channel(f"localhost:{echo.server.port}", connection=connection)
            return echo

        return authority, by

    yield serve
    for echo in made:
        echo.channel.close()
        echo.server.stop(grace_seconds=0)


def test_certificates_name_their_caller_by_their_uri(mutual: Any, callers_file: Path) -> None:
    authority, by = mutual(callers=callers_file)
    upload = authority.client("upload", "spiffe://example/upload")
    assert by(upload).call() == "acme/upload"
    assert refusal(lambda: list(by(upload).stream())) == NO_RIGHT
    for name, uris in (("none", ()), ("other", ("spiffe://example/other",)), ("near", ("spiffe://example/upload2",))):
        assert refusal(by(authority.client(name, *uris)).call) == UNKNOWN
    both = authority.client("both", "spiffe://example/upload", "spiffe://example/other")
    assert refusal(by(both).call) == INVALID
    # Tokens are not taken here: the certificate counts, whatever the header says.
    assert by(upload).call(metadata=bearer("x")) == "acme/upload"


def test_a_token_counts_before_the_certificate(mutual: Any, callers_file: Path, tmp_path: Path) -> None:
    issuer = Issuer()
    jwks = issuer.write_jwks(tmp_path / "jwks.json")
    authority, by = mutual(callers=callers_file, jwks=str(jwks), issuer=ISSUER, audience=AUDIENCE)
    upload = by(authority.client("upload", "spiffe://example/upload"))
    assert upload.call() == "acme/upload"
    assert upload.call(metadata=bearer(issuer.token(org="globex"))) == "globex/accounts"
    assert refusal(upload.call, metadata=bearer("x")) == INVALID, "a bad token is not made good by a certificate"


def test_without_a_list_a_certificate_is_enough(mutual: Any) -> None:
    authority, by = mutual()
    assert by(authority.client("mine", "spiffe://example/mine")).call() == "/spiffe://example/mine"
    assert next(iter(by(authority.client("nameless")).stream("a"))).value.startswith("/")


def test_settings_that_prove_nothing_are_refused(callers_file: Path) -> None:
    for wrong in (
        {"jwks": "x"}, {"jwks": "x", "callers": callers_file}, {"jwks": "http://x", "issuer": "i", "audience": "a"},
        {"jwks": "http://x/keys", "issuer": "i", "audience": "a", "callers": callers_file},
        {"algorithms": ["HS256"]}, {"algorithms": ["none"]}, {"algorithms": []},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            IdentitySettings(**wrong)
    with pytest.raises(ValidationError, match="prove who they are"):
        RpcSettings(identity=IdentitySettings(callers=callers_file))


def test_calls_have_grpcs_own_codes(tokens: Tokens) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        tokens.echo.call()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED  # type: ignore[attr-defined]
