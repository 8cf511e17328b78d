"""Keys from a URL: a real HTTPS server that rotates them, goes away, or answers what no JWKS server should."""

from __future__ import annotations

import json
import queue
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from facecloak_rpc.identity import jwks
from facecloak_rpc.identity.errors import CredentialsInvalid, TokenKeysUnavailable
from facecloak_rpc.identity.jwks import JWKS_BYTES_LIMIT, KeySet, KeysFromUrl
from facecloak_rpc.identity.tokens import TokenVerifier
from facecloak_rpc.watched_files import FileUnusable
from tests.certificates import Authority
from tests.tokens import AUDIENCE, ISSUER, Issuer

Answer = Callable[[BaseHTTPRequestHandler], None]


class KeyServer:
    """Serves what :attr:`answer` writes, by TLS."""

    def __init__(self, authority: Authority) -> None:
        self.asked = 0
        self.answer: Answer = lambda handler: None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                outer.answer(self)

            def log_message(self, *_arguments: Any) -> None:
                """Tests are quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        pair = authority.server()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"https://localhost:{self._server.server_port}/keys"

    def says(self, content: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(content)

        self.answer = answer

    def has(self, *keys: dict[str, Any]) -> None:
        self.says(json.dumps({"keys": keys}).encode())

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture
def server(authority: Authority) -> Iterator[KeyServer]:
    made = KeyServer(authority)
    yield made
    made.close()


@pytest.fixture
def verifier(server: KeyServer, authority: Authority, clock: Clock) -> TokenVerifier:
    return verifier_of(server, authority, clock)


def verifier_of(server: KeyServer, authority: Authority, clock: Clock) -> TokenVerifier:
    keys = KeysFromUrl(server.url, ca=authority.path, fresh_seconds=300, stale_seconds=3600, clock=clock)
    return TokenVerifier(keys, algorithms=("ES256",), issuer=ISSUER, audience=AUDIENCE, leeway_seconds=0)


def test_keys_are_remembered_and_rotate(server: KeyServer, verifier: TokenVerifier, clock: Clock) -> None:
    issuer = Issuer()
    server.has(issuer.jwk())
    assert verifier.claims(issuer.token())["sub"] == "accounts"
    for _ in range(5):
        verifier.claims(issuer.token())
    assert server.asked == 1
    old = issuer.token()
    issuer.rotate("second")
    server.has(issuer.jwk())
    clock.now += 11
    assert verifier.claims(issuer.token())["sub"] == "accounts", "an unknown key is asked for at once"
    assert server.asked == 2
    with pytest.raises(CredentialsInvalid):
        verifier.claims(old)
    # Whoever invents key ids has the server asked no more often than every ten seconds.
    for number in range(50):
        with pytest.raises(CredentialsInvalid):
            verifier.claims(issuer.token(headers={"kid": f"invented-{number}"}))
    assert server.asked == 2
    clock.now += 301
    verifier.claims(issuer.token())
    assert server.asked == 3


def test_invented_key_ids_hold_few_calls_while_the_server_is_slow(
    server: KeyServer, authority: Authority, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "_FETCH_SECONDS", 120.0)  # however busy this machine is
    verifier = verifier_of(server, authority, clock)
    issuer = Issuer()
    server.has(issuer.jwk())
    verifier.claims(issuer.token())
    answer, asked, go_on = server.answer, threading.Event(), threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        asked.set()
        go_on.wait(100)
        answer(handler)

    server.answer = slow
    clock.now += 11
    ended: queue.Queue[type[Exception]] = queue.Queue()

    def call(number: int) -> None:
        try:
            verifier.claims(issuer.token(headers={"kid": f"invented-{number}"}))
        except (CredentialsInvalid, TokenKeysUnavailable) as error:
            ended.put(type(error))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    assert asked.wait(100)
    assert {ended.get(timeout=100) for _ in range(22)} == {TokenKeysUnavailable}, "all but eight are not held"
    assert verifier.claims(issuer.token())["sub"] == "accounts", "who has a known key waits for nobody"
    go_on.set()
    assert {ended.get(timeout=100) for _ in range(8)} == {CredentialsInvalid}
    for thread in threads:
        thread.join()


def test_keys_outlive_a_server_that_is_away_and_not_for_ever(
    server: KeyServer, verifier: TokenVerifier, clock: Clock
) -> None:
    issuer = Issuer()
    server.has(issuer.jwk())
    verifier.claims(issuer.token())
    server.says(b"away", status=503)
    clock.now += 3000
    assert verifier.claims(issuer.token())["sub"] == "accounts"
    clock.now += 700
    with pytest.raises(TokenKeysUnavailable):
        verifier.claims(issuer.token())
    server.has(issuer.jwk())
    clock.now += 11
    assert verifier.claims(issuer.token())["sub"] == "accounts"


def _drips(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    ends = time.monotonic() + 5
    while time.monotonic() < ends:
        handler.wfile.write(b" ")
        time.sleep(0.02)


@pytest.mark.parametrize("fault", ["oversized", "endless", "drip", "status", "redirect", "text", "list", "secret"])
def test_what_is_no_jwks_document_gives_no_keys(
    fault: str, server: KeyServer, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = Issuer()
    good = json.dumps({"keys": [issuer.jwk()]}).encode()
    if fault == "oversized":
        server.says(good + b" " * JWKS_BYTES_LIMIT)
    elif fault == "endless":
        server.says(b" " * 2**20, headers={"Content-Length": str(2**40)})
    elif fault == "drip":
        monkeypatch.setattr(jwks, "_FETCH_SECONDS", 0.3)
        server.answer = _drips
    elif fault == "status":
        server.says(good, status=500)
    elif fault == "redirect":
        server.says(good, status=302, headers={"Location": server.url})
    else:
        server.says({"text": b"<html>", "list": b"[1]", "secret": b'{"keys": [{"kty": "oct", "k": "AA"}]}'}[fault])
    started = time.monotonic()
    with pytest.raises(TokenKeysUnavailable):
        verifier.claims(issuer.token())
    assert time.monotonic() - started < 5
    assert server.asked == 1


def test_a_server_of_another_authority_is_not_believed(server: KeyServer, tmp_path: Path, clock: Clock) -> None:
    issuer = Issuer()
    server.has(issuer.jwk())
    other = Authority(tmp_path / "other")
    keys = KeysFromUrl(server.url, ca=other.path, fresh_seconds=300, stale_seconds=3600, clock=clock)
    with pytest.raises(TokenKeysUnavailable):
        keys.key(issuer.key_id, "ES256")


def test_only_keys_for_signatures_count() -> None:
    issuer, rsa = Issuer(), Issuer("RS256", "rsa")
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "secret", "alg": "HS256"}
    private = issuer.jwk(kid="private", d="AAAA")
    keys = KeySet.parse(
        json.dumps({"keys": [issuer.jwk(), rsa.jwk(alg=None), secret, private, issuer.jwk(kid="enc", use="enc")]})
        .replace('"alg": null, ', "").encode(),
        place="test",
    )  # fmt: skip
    assert keys.key("first", "ES256") is not None
    assert keys.key("rsa", "RS512") is not None
    for key_id, algorithm in (
        ("first", "RS256"), ("first", "ES384"), ("rsa", "ES256"), ("secret", "HS256"), ("private", "ES256"),
        ("enc", "ES256"), ("", "ES256"), ("absent", "ES256"),
    ):  # fmt: skip
        assert keys.key(key_id, algorithm) is None, (key_id, algorithm)
    with pytest.raises(FileUnusable):
        KeySet.parse(json.dumps({"keys": [issuer.jwk(kid=str(number)) for number in range(129)]}).encode(), place="x")
