"""What every provider of wrapping keys promises, against small servers that do as Vault's transit engine and KMS do."""

from __future__ import annotations

import base64
import http.server
import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from facecloak.masks.mask import Mask
from facecloak.stores import (
    EnvironmentKeys,
    FileKeys,
    Keyring,
    KeyServerUnavailable,
    KeyUnusable,
    LocalMaskStore,
    SealBroken,
    Sealer,
    WrongKey,
)  # fmt: skip
from facecloak.stores.key_providers import KeyProvider, LocalKeys, WrappedKey
from facecloak.stores.key_servers import KeyServer, KmsKeys, TransitKeys
from facecloak.stores.key_servers.kms import signed_headers
from facecloak.stores.rotation import require_unneeded, rotate
from tests.users import ALICE

MakeMask = Callable[[int], Mask]
Answer = tuple[int, Any]
TOKEN, ACCESS, SECRET = "s.token", "AKIDEXAMPLE", "secret"


@dataclass
class Vault:
    """Vault's transit engine, mounted at transit/: aes256-gcm96 keys with versions."""

    keys: dict[str, list[bytes]] = field(default_factory=lambda: {"masks": [secrets.token_bytes(32)]})
    oldest: int = 1

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        if headers["X-Vault-Token"] != TOKEN:
            return 403, {"errors": ["permission denied"]}
        found = re.fullmatch(r"/v1/transit/(keys|encrypt|decrypt)/([a-z0-9-]+)", path)
        if found is None:
            return 404, {"errors": []}
        action, name = found.groups()
        if name not in self.keys:
            return (404, {"errors": []}) if action == "keys" else (400, {"errors": ["encryption key not found"]})
        versions = self.keys[name]
        if action == "keys" and method == "GET":
            return 200, {"data": {"name": name, "latest_version": len(versions), "type": "aes256-gcm96"}}
        told = json.loads(body)
        extra = base64.b64decode(told.get("associated_data", ""))
        if action == "encrypt":
            nonce = secrets.token_bytes(12)
            sealed = AESGCM(versions[-1]).encrypt(nonce, base64.b64decode(told["plaintext"]), extra)
            text = base64.b64encode(nonce + sealed).decode()
            return 200, {"data": {"ciphertext": f"vault:v{len(versions)}:{text}", "key_version": len(versions)}}
        _, version, text = told["ciphertext"].split(":")
        number, data = int(version[1:]), base64.b64decode(text)
        if number < self.oldest:
            return 400, {"errors": ["ciphertext or signature version is disallowed by policy (too old)"]}
        try:
            opened = AESGCM(versions[number - 1]).decrypt(data[:12], data[12:], extra)
        except (InvalidTag, IndexError):
            return 400, {"errors": ["cipher: message authentication failed"]}
        return 200, {"data": {"plaintext": base64.b64encode(opened).decode()}}


@dataclass
class Kms:
    """KMS's Encrypt and Decrypt; the signature is computed again, as the real one does."""

    keys: dict[str, bytes] = field(default_factory=lambda: {"alias/masks": secrets.token_bytes(32)})

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        at = datetime.strptime(headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        given = {name: headers[name] for name in ("Content-Type", "Host", "X-Amz-Target")}
        signed = signed_headers(given, body, credentials=(ACCESS, SECRET, ""), region="eu-west-1", at=at)
        if headers["Authorization"] != signed["Authorization"]:
            return 400, {"__type": "InvalidSignatureException"}
        told = json.loads(body)
        key = self.keys.get(told["KeyId"])
        if key is None:
            return 400, {"__type": "com.amazonaws.kms#NotFoundException", "message": "no such key"}
        context = json.dumps(told["EncryptionContext"], sort_keys=True).encode()
        if headers["X-Amz-Target"] == "TrentService.Encrypt":
            nonce = secrets.token_bytes(12)
            blob = nonce + AESGCM(key).encrypt(nonce, base64.b64decode(told["Plaintext"]), context)
            return 200, {"CiphertextBlob": base64.b64encode(blob).decode(), "KeyId": told["KeyId"]}
        blob = base64.b64decode(told["CiphertextBlob"])
        try:
            opened = AESGCM(key).decrypt(blob[:12], blob[12:], context)
        except (InvalidTag, ValueError):
            return 400, {"__type": "InvalidCiphertextException"}
        return 200, {"Plaintext": base64.b64encode(opened).decode(), "KeyId": told["KeyId"]}


@contextmanager
def serving(answer: Callable[[str, str, Any, bytes], Answer]) -> Iterator[str]:
    """A server on this machine; an answer of bytes is sent as it is."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, document = answer(self.command, self.path, self.headers, body)
            data = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = reply  # noqa: N815 - the base's names

        def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002 - the base's name

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def transit(url: str, *names: str, token: str = TOKEN, seconds: float = 5.0) -> TransitKeys:
    return TransitKeys(KeyServer(url, seconds=seconds), names or ("masks",), token=lambda: token)


def kms(url: str, *keys: str, secret: str = SECRET, seconds: float = 5.0) -> KmsKeys:
    credentials = (ACCESS, secret, "")
    server = KeyServer(url, seconds=seconds)
    return KmsKeys(server, keys or ("alias/masks",), credentials=lambda: credentials, region="eu-west-1")


@pytest.fixture(params=["file", "environment", "transit", "kms"])
def provider(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyProvider]:
    if request.param == "file":
        yield FileKeys(tmp_path / "key", make=True)
    elif request.param == "environment":
        yield EnvironmentKeys([base64.b64encode(bytes(32)).decode()])
    elif request.param == "transit":
        with serving(Vault().answer) as url:
            yield transit(url)
    else:
        with serving(Kms().answer) as url:
            yield kms(url)


def test_what_is_wrapped_is_unwrapped_for_its_own_context_only(provider: KeyProvider) -> None:
    secret = secrets.token_bytes(32)
    wrapped = provider.wrap(secret, context=b"a")
    assert secret not in wrapped.data
    assert wrapped.key_id == provider.writing_key_id() == provider.key_ids()[0]
    assert provider.holds(wrapped.key_id)
    assert provider.unwrap(wrapped, context=b"a") == secret
    with pytest.raises(SealBroken):
        provider.unwrap(wrapped, context=b"b")
    assert provider.wrap(secret, context=b"a").data != wrapped.data


def test_a_changed_wrapped_key_is_found(provider: KeyProvider) -> None:
    wrapped = provider.wrap(bytes(32), context=b"a")
    at = len(wrapped.data) - 5
    for data in (wrapped.data[:at] + bytes([wrapped.data[at] ^ 1]) + wrapped.data[at + 1 :], b""):
        with pytest.raises(SealBroken):
            provider.unwrap(WrappedKey(wrapped.key_id, data), context=b"a")


def test_another_key_is_told(provider: KeyProvider) -> None:
    assert not provider.holds("another")
    with pytest.raises(WrongKey):
        provider.unwrap(WrappedKey("another", b"x"), context=b"a")


def test_a_store_lives_on_it_and_moves_from_a_key_file(
    provider: KeyProvider, tmp_path: Path, make_mask: MakeMask
) -> None:
    before = Sealer(b"o" * 32)
    LocalMaskStore(tmp_path / "masks", before).put(ALICE, make_mask(1))
    both = LocalMaskStore(tmp_path / "masks", Keyring([provider, LocalKeys([before])]))
    assert rotate(both).is_complete
    require_unneeded(both, before.key_id)
    alone = LocalMaskStore(tmp_path / "masks", Keyring([provider]))
    assert alone.get(ALICE).seed == 1
    alone.put(ALICE, make_mask(2))
    assert both.get(ALICE).seed == 2


def test_a_newer_version_of_a_transit_key_writes_and_older_ones_are_read() -> None:
    vault = Vault()
    with serving(vault.answer) as url:
        keys = transit(url)
        old = keys.wrap(bytes(32), context=b"a")
        vault.keys["masks"].append(secrets.token_bytes(32))
        keys.refresh()
        assert (old.key_id, keys.writing_key_id()) == ("transit:transit/masks:v1", "transit:transit/masks:v2")
        assert keys.unwrap(old, context=b"a") == bytes(32)
        vault.oldest = 2
        with pytest.raises(WrongKey):
            keys.unwrap(old, context=b"a")


@pytest.mark.parametrize("make", [transit, kms])
@pytest.mark.parametrize("reply", [(500, b"x"), (503, {"errors": ["sealed"]}), (200, b"<html>"), (200, {}), (200, [])])
def test_what_is_no_answer_is_unavailable(make: Callable[..., KeyProvider], reply: Answer) -> None:
    with serving(lambda *_: reply) as url, pytest.raises(KeyServerUnavailable):
        make(url).wrap(bytes(32), context=b"a")


@pytest.mark.parametrize("make", [transit, kms])
def test_a_server_that_hangs_is_left_in_time(make: Callable[..., KeyProvider]) -> None:
    def hang(*_: object) -> Answer:
        time.sleep(2)
        return 200, {}

    with serving(hang) as url:
        began = time.monotonic()
        with pytest.raises(KeyServerUnavailable) as refusal:
            make(url, seconds=0.3).wrap(bytes(32), context=b"a")
        assert time.monotonic() - began < 1.9
        assert refusal.value.fault in ("Timeout", "ConnectTimeout")


def test_wrong_credentials_are_told() -> None:
    with serving(Vault().answer) as url, pytest.raises(KeyUnusable):
        transit(url, token="another").wrap(bytes(32), context=b"a")
    with serving(Kms().answer) as url, pytest.raises(KeyUnusable):
        kms(url, secret="another").wrap(bytes(32), context=b"a")


@pytest.mark.parametrize("make", [transit, kms])
def test_a_key_that_is_not_there(make: Callable[..., KeyProvider]) -> None:
    fake = Vault() if make is transit else Kms()
    with serving(fake.answer) as url, pytest.raises((WrongKey, KeyServerUnavailable)):
        make(url, "absent").wrap(bytes(32), context=b"a")


@pytest.mark.parametrize("url", ["http://keys.example", "ftp://127.0.0.1", "", "https://a:b@keys.example"])
def test_data_keys_do_not_travel_in_clear(url: str) -> None:
    with pytest.raises(KeyUnusable):
        KeyServer(url, seconds=1)


def test_signatures_are_aws_own() -> None:
    """The example of AWS's test suite for Signature Version 4, post-x-www-form-urlencoded."""
    signed = signed_headers(
        {"Content-Type": "application/x-www-form-urlencoded", "Host": "example.amazonaws.com"}, b"Param1=value1",
        credentials=("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ""), region="us-east-1",
        at=datetime(2015, 8, 30, 12, 36, tzinfo=UTC), service="service",
    )  # fmt: skip
    assert signed["Authorization"].endswith(
        "Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
    )
