"""The keys that tokens are signed with (JWKS), of a file or a URL: bounded in size and time, rotated."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import jwt
import structlog
import urllib3
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from facecloak_rpc.identity.errors import TokenKeysUnavailable
from facecloak_rpc.identity.settings import IdentitySettings
from facecloak_rpc.watched_files import FileUnusable, WatchedFiles, read_bounded

JWKS_BYTES_LIMIT = 256 * 1024
_KEYS_LIMIT = 128
_FETCH_SECONDS = 5.0
# How soon a token of an unknown key, which anybody can make, may have the URL asked again.
_ASK_AGAIN_SECONDS = 10.0
# Calls that may wait while the URL is asked: each holds a place of the server's, and inventing key ids is free.
_WAITING_LIMIT = 8
_CHUNK_BYTES = 16 * 1024
_SMALLEST_RSA_BITS = 2048  # NIST SP 800-131A
_log = structlog.get_logger("facecloak.identity")


class KeySet:
    """Public keys by their ids."""

    def __init__(self, keys: Mapping[str, Mapping[str, Any]]) -> None:
        self._keys = keys
        self._made: dict[tuple[str, str], jwt.PyJWK] = {}

    @classmethod
    def parse(cls, document: bytes, *, place: str) -> KeySet:
        """From a JWKS document; keys for anything but checking signatures by a key pair are left out.

        Raises FileUnusable: it is none, or none of its keys can be used.
        """
        try:
            entries = json.loads(document)["keys"]
            usable = [entry for entry in entries if _is_usable(entry)]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise FileUnusable(f"{place} is no JWKS document") from error
        if not usable or len(entries) > _KEYS_LIMIT:
            raise FileUnusable(f"{place} holds no key that can be used, or more than {_KEYS_LIMIT}")
        return cls({str(entry.get("kid", "")): entry for entry in usable})

    def key(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """The key of this id as the algorithm wants it; None where there is none that fits. A token without an id is
        for a set of one key."""
        entry = self._keys.get(key_id)
        if entry is None and not key_id and len(self._keys) == 1:
            (entry,) = self._keys.values()
        if entry is None or entry.get("alg", algorithm) != algorithm:
            return None
        name = (key_id, algorithm)
        if name not in self._made:
            try:
                made = jwt.PyJWK(dict(entry), algorithm=algorithm)
            except (jwt.PyJWTError, ValueError, TypeError, KeyError):
                return None  # the algorithm is for another kind of key
            if isinstance(made.key, RSAPublicKey) and made.key.key_size < _SMALLEST_RSA_BITS:
                return None
            self._made[name] = made
        return self._made[name]


def _is_usable(entry: Mapping[str, Any]) -> bool:
    return entry.get("kty") in ("RSA", "EC", "OKP") and entry.get("use", "sig") == "sig" and "d" not in entry


class KeySource(Protocol):
    """Where keys come from."""

    def key(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """See :meth:`KeySet.key`. Raises TokenKeysUnavailable."""
        ...


class KeysFromFile:
    """Keys of a file that may be replaced."""

    def __init__(self, path: Path) -> None:
        """Raises FileUnusable."""
        self._watched = WatchedFiles(
            [path], lambda: KeySet.parse(_bounded(read_bounded(path), str(path)), place=str(path)), what="token keys"
        )

    def key(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """See :class:`KeySource`."""
        return self._watched.current().key(key_id, algorithm)


class KeysFromUrl:
    """Keys of a URL, remembered. One thread asks at a time, few wait for it, and those who know their key do not."""

    def __init__(
        self,
        url: str,
        *,
        ca: Path | None,
        fresh_seconds: float,
        stale_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Asks nobody yet."""
        self._url = url
        # No redirects: they could lead anywhere. No proxies: urllib3 takes none from the environment.
        self._pool = urllib3.PoolManager(
            num_pools=1, maxsize=1, cert_reqs="CERT_REQUIRED", ca_certs=str(ca) if ca is not None else None,
            retries=False, timeout=urllib3.Timeout(total=_FETCH_SECONDS),
        )  # fmt: skip
        self._fresh_seconds = fresh_seconds
        self._stale_seconds = stale_seconds
        self._clock = clock
        self._asking = threading.Lock()
        self._waiting = threading.BoundedSemaphore(_WAITING_LIMIT)
        self._keys: KeySet | None = None
        self._had_at = self._asked_at = float("-inf")

    def key(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """See :class:`KeySource`."""
        age = self._clock() - self._had_at
        found = self._keys.key(key_id, algorithm) if self._keys is not None and age < self._stale_seconds else None
        if found is None:
            if not self._waiting.acquire(blocking=False):
                raise TokenKeysUnavailable("tokens of unknown keys cannot be checked at the moment")
            try:
                with self._asking:
                    self._ask()
            finally:
                self._waiting.release()
        elif age >= self._fresh_seconds and self._asking.acquire(blocking=False):
            try:
                self._ask()
            finally:
                self._asking.release()
        keys = self._keys
        if keys is None or self._clock() - self._had_at >= self._stale_seconds:
            raise TokenKeysUnavailable("tokens cannot be checked at the moment")
        return keys.key(key_id, algorithm)

    def _ask(self) -> None:
        """Asks the URL, unless that was done a moment ago; a failure leaves the old keys. Call with the lock held."""
        if self._clock() - self._asked_at < _ASK_AGAIN_SECONDS:
            return
        self._asked_at = self._clock()
        try:
            keys = KeySet.parse(self._fetch(), place="the JWKS URL")
        except (urllib3.exceptions.HTTPError, FileUnusable, OSError) as error:
            why = error.public_message if isinstance(error, FileUnusable) else type(error).__name__
            _log.error("token keys unavailable", why=why, advice=TokenKeysUnavailable.advice)
            return
        self._keys, self._had_at = keys, self._clock()

    def _fetch(self) -> bytes:
        ends = time.monotonic() + _FETCH_SECONDS
        content = b""
        response = self._pool.request("GET", self._url, redirect=False, preload_content=False)
        try:
            if response.status != 200:
                raise FileUnusable(f"the JWKS URL answers {response.status}")
            while chunk := response.read1(_CHUNK_BYTES):
                content = _bounded(content + chunk, "the JWKS document")
                if time.monotonic() > ends:
                    raise FileUnusable("the JWKS URL is too slow")
        finally:
            response.close()
        return content


def _bounded(content: bytes, what: str) -> bytes:
    if len(content) > JWKS_BYTES_LIMIT:
        raise FileUnusable(f"{what} is larger than {JWKS_BYTES_LIMIT} bytes")
    return content


def key_source(settings: IdentitySettings) -> KeySource:
    """Where the settings want keys from. Raises FileUnusable for a file that cannot be used."""
    if not settings.is_url:
        return KeysFromFile(Path(settings.jwks))
    return KeysFromUrl(
        settings.jwks,
        ca=settings.jwks_ca,
        fresh_seconds=settings.jwks_seconds,
        stale_seconds=settings.jwks_stale_seconds,
    )
