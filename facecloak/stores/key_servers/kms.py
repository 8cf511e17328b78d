"""Keys in a server that speaks the HTTP API of AWS KMS (Encrypt, Decrypt): they never leave it.

https://docs.aws.amazon.com/kms/latest/APIReference/ ; calls are signed by AWS Signature Version 4.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from facecloak.stores.errors import KeyServerUnavailable, KeyUnusable, SealBroken, WrongKey
from facecloak.stores.key_providers.base import WrappedKey
from facecloak.stores.key_servers.http import KeyServer
from facecloak.stores.sealing import Sealer

# The encryption context's one entry: a hash, since the context is logged by the server in clear.
_CONTEXT = "facecloak-object"
_DENIED = frozenset({"AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException"})
_GONE = frozenset({"NotFoundException", "DisabledException", "KMSInvalidStateException", "IncorrectKeyException"})

Credentials = Callable[[], tuple[str, str, str]]
"""Access key, secret key, session token or ""; asked for every call."""


class KmsKeys:
    """A :class:`facecloak.stores.key_providers.KeyProvider` of keys by id, ARN or alias; the first one writes.

    A key's id here is ``kms:`` and what the settings say; the server rotates its material by itself.
    """

    def __init__(self, server: KeyServer, keys: Sequence[str], *, credentials: Credentials, region: str) -> None:
        if not keys or not all(1 <= len(key) <= 256 and key.isascii() and key.isprintable() for key in keys):
            raise KeyUnusable("A key of the key server needs an id, an ARN or an alias.")
        self._server = server
        self._keys = tuple(keys)
        self._credentials = credentials
        self._region = region

    def writing_key_id(self) -> str:
        """See :class:`facecloak.stores.key_providers.KeyProvider`."""
        return f"kms:{self._keys[0]}"

    def key_ids(self) -> tuple[str, ...]:
        """See :class:`facecloak.stores.key_providers.KeyProvider`."""
        return tuple(f"kms:{key}" for key in self._keys)

    def holds(self, key_id: str) -> bool:
        """See :class:`facecloak.stores.key_providers.KeyProvider`."""
        return key_id in self.key_ids()

    def wrap(self, secret: bytes, *, context: bytes) -> WrappedKey:
        """See :class:`facecloak.stores.key_providers.KeyProvider`."""
        body = {"KeyId": self._keys[0], "Plaintext": base64.b64encode(secret).decode()}
        return WrappedKey(self.writing_key_id(), self._call("Encrypt", body, context=context, answer="CiphertextBlob"))

    def unwrap(self, wrapped: WrappedKey, *, context: bytes) -> bytes:
        """See :class:`facecloak.stores.key_providers.KeyProvider`."""
        key = wrapped.key_id.removeprefix("kms:")
        if not self.holds(wrapped.key_id):
            raise WrongKey("The key is not among those of the key server.", needs_key=wrapped.key_id)
        body = {"KeyId": key, "CiphertextBlob": base64.b64encode(wrapped.data).decode()}
        return self._call("Decrypt", body, context=context, answer="Plaintext")

    def sealer(self, key_id: str) -> Sealer | None:
        """None: no key leaves the server."""
        return None

    def refresh(self) -> None:
        """Nothing comes or goes."""

    def _call(self, action: str, body: dict[str, Any], *, context: bytes, answer: str) -> bytes:
        body["EncryptionContext"] = {_CONTEXT: hashlib.sha256(context).hexdigest()}
        data = json.dumps(body).encode()
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "Host": self._server.host,
            "X-Amz-Target": f"TrentService.{action}",
        }
        signed = signed_headers(
            headers, data, credentials=self._credentials(), region=self._region, at=datetime.now(UTC)
        )
        status, document = self._server.call("POST", "/", headers=signed, body=data)
        if status < 300:
            try:
                return base64.b64decode(document[answer], validate=True)
            except (KeyError, TypeError, ValueError, binascii.Error) as error:
                raise KeyServerUnavailable(f"The key server answers without {answer}.", fault="NotKms") from error
        fault = str(document.get("__type", "")).rpartition("#")[2]
        if fault == "InvalidCiphertextException":
            raise SealBroken("The stored mask's data key is damaged.")
        if fault in _GONE:
            raise WrongKey("The key server does not use this key (any more).", needs_key=f"kms:{body['KeyId']}")
        if fault in _DENIED or status == 403:
            raise KeyUnusable("The key server lets nobody with these credentials use the key.", status=status)
        raise KeyServerUnavailable("The key server refuses the call.", fault=fault or str(status))


def signed_headers(
    headers: Mapping[str, str], body: bytes, *, credentials: tuple[str, str, str], region: str, at: datetime,
    service: str = "kms",
) -> dict[str, str]:  # fmt: skip
    """``headers`` of a POST of ``body`` to "/" with date and signature (AWS Signature Version 4)."""
    access_key, secret_key, session_token = credentials
    stamp = at.strftime("%Y%m%dT%H%M%SZ")
    made = {**headers, "X-Amz-Date": stamp}
    if session_token:
        made["X-Amz-Security-Token"] = session_token
    canonical = sorted((name.lower(), value.strip()) for name, value in made.items())
    names = ";".join(name for name, _ in canonical)
    lines = "".join(f"{name}:{value}\n" for name, value in canonical)
    request = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = b"AWS4" + secret_key.encode()
    for part in (stamp[:8], region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    made["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return made
