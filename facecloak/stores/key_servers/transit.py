"""Keys in a server that speaks the HTTP API of HashiCorp Vault's transit engine (Vault, OpenBao): they never leave it.

https://developer.hashicorp.com/vault/api-docs/secret/transit
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from facecloak.stores.errors import KeyServerUnavailable, KeyUnusable, SealBroken, WrongKey
from facecloak.stores.key_providers.base import WrappedKey
from facecloak.stores.key_servers.http import KeyServer
from facecloak.stores.sealing import Sealer

_CIPHERTEXT = re.compile(r"vault:v(\d{1,9}):[A-Za-z0-9+/=]+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# How long the key's newest version is believed.
_VERSION_SECONDS = 5.0


class TransitKeys:
    """A :class:`facecloak.stores.key_providers.KeyProvider` of named keys; the first one's newest version writes.

    A key's id is ``transit:MOUNT/NAME:vN``. The key's type must be an authenticated cipher (aes256-gcm96, the default,
    or chacha20-poly1305): what binds a data key to its object is passed as associated data.
    """

    def __init__(
        self,
        server: KeyServer,
        names: Sequence[str],
        *,
        token: Callable[[], str],
        mount: str = "transit",
        namespace: str = "",
    ) -> None:
        """``token`` is asked for every call: an agent may renew the file that it is in."""
        if not names or not all(_NAME.fullmatch(name) for name in (*names, mount.replace("/", "-"))):
            raise KeyUnusable("A key of the key server needs a name of letters, digits, . _ and -.")
        self._server = server
        self._names = tuple(names)
        self._token = token
        self._mount = mount
        self._namespace = namespace
        self._newest: tuple[float, int] = (float("-inf"), 0)

    def writing_key_id(self) -> str:
        """See :class:`facecloak.stores.key_providers.KeyProvider`."""
        asked_at, version = self._newest
        if time.monotonic() - asked_at > _VERSION_SECONDS:
            version = self._int_of(self._call("GET", f"keys/{self._names[0]}"), "latest_version")
            self._newest = (time.monotonic(), version)
        return self._id(self._names[0], version)

    def key_ids(self) -> tuple[str, ...]:
        """The writing key, and the other keys without their versions."""
        return (self.writing_key_id(), *(f"transit:{self._mount}/{name}" for name in self._names[1:]))

    def holds(self, key_id: str) -> bool:
        """See :class:`facecloak.stores.key_providers.KeyProvider`."""
        return self._name_of(key_id) is not None

    def wrap(self, secret: bytes, *, context: bytes) -> WrappedKey:
        """See :class:`facecloak.stores.key_providers.KeyProvider`."""
        body = {"plaintext": _text(secret), "associated_data": _text(context)}
        data = self._call("POST", f"encrypt/{self._names[0]}", body)
        ciphertext = str(data.get("ciphertext"))
        found = _CIPHERTEXT.fullmatch(ciphertext)
        if found is None:
            raise KeyServerUnavailable("The key server answers with no ciphertext.", fault="NotCiphertext")
        return WrappedKey(self._id(self._names[0], int(found[1])), ciphertext.encode())

    def unwrap(self, wrapped: WrappedKey, *, context: bytes) -> bytes:
        """See :class:`facecloak.stores.key_providers.KeyProvider`."""
        name = self._name_of(wrapped.key_id)
        if name is None:
            raise WrongKey("The key is not among those of the key server.", needs_key=wrapped.key_id)
        ciphertext = wrapped.data.decode("ascii", "replace")
        found = _CIPHERTEXT.fullmatch(ciphertext)
        if found is None or self._id(name, int(found[1])) != wrapped.key_id:
            raise SealBroken("The stored mask's data key is damaged.")
        data = self._call(
            "POST", f"decrypt/{name}", {"ciphertext": ciphertext, "associated_data": _text(context)}, key=wrapped.key_id
        )
        try:
            return base64.b64decode(data["plaintext"], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise KeyServerUnavailable("The key server answers with no plaintext.", fault="NotPlaintext") from error

    def sealer(self, key_id: str) -> Sealer | None:
        """None: no key leaves the server."""
        return None

    def refresh(self) -> None:
        """Asks anew which version writes."""
        self._newest = (float("-inf"), 0)

    def _id(self, name: str, version: int) -> str:
        return f"transit:{self._mount}/{name}:v{version}"

    def _name_of(self, key_id: str) -> str | None:
        return next((name for name in self._names if key_id.startswith(f"transit:{self._mount}/{name}:v")), None)

    def _call(self, method: str, path: str, body: dict[str, str] | None = None, *, key: str = "") -> dict[str, Any]:
        headers = {"X-Vault-Token": self._token(), "Content-Type": "application/json", "X-Vault-Request": "true"}
        if self._namespace:
            headers["X-Vault-Namespace"] = self._namespace
        status, document = self._server.call(
            method, f"/v1/{quote(self._mount)}/{path}", headers=headers, body=json.dumps(body).encode() if body else b""
        )
        if status < 300:
            data = document.get("data")
            return data if isinstance(data, dict) else {}
        errors = " ".join(str(error) for error in document.get("errors") or ())[:500].lower()
        if status == 403:
            raise KeyUnusable("The key server lets nobody with this token use the key.", status=status)
        if status == 404:
            raise WrongKey("The key server has no such key.", needs_key=key or self._names[0])
        if key and ("disallowed by policy" in errors or "version" in errors or "key not found" in errors):
            raise WrongKey("The key server does not decrypt with this version of the key any more.", needs_key=key)
        if key and status == 400:
            raise SealBroken("The stored mask's data key is damaged.")
        raise KeyServerUnavailable("The key server refuses the call.", fault=str(status))

    @staticmethod
    def _int_of(data: dict[str, Any], name: str) -> int:
        value = data.get(name)
        if type(value) is not int or value < 1:
            raise KeyServerUnavailable("The key server does not say the key's version.", fault="NotVersion")
        return value


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
