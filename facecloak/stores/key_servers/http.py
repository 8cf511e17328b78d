"""One bounded JSON call of a key server."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import certifi
import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util.ssl_ import create_urllib3_context

from facecloak.call_context import within
from facecloak.stores.errors import KeyServerUnavailable, KeyUnusable
from facecloak.stores.s3.answers import fault_of
from facecloak.stores.s3.sockets import BoundedHTTPPool, BoundedHTTPSPool, BoundedSSLSocket

_MAX_ANSWER_BYTES = 64 * 1024


class KeyServer:
    """Where a key server is, and how long it may take. Connections are kept open; safe to share between threads."""

    def __init__(self, url: str, *, seconds: float) -> None:
        """``url``: https://HOST[:PORT]; http:// on this machine only, since data keys travel in the answers.

        Raises:
            KeyUnusable: it is neither.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise KeyUnusable("A key server's address is https://HOST:PORT.")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise KeyUnusable("A key server is reached by https; http is for this machine only.")
        self.url = url.rstrip("/")
        self.host = parts.netloc
        self._seconds = seconds
        context = create_urllib3_context()
        context.sslsocket_class = BoundedSSLSocket
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=seconds, read=seconds),
            maxsize=16,
            retries=urllib3.Retry(total=1, status_forcelist=(), redirect=False, allowed_methods=None),
            ssl_context=context,
            cert_reqs="CERT_REQUIRED",
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )
        self._pool.pool_classes_by_scheme = {"http": BoundedHTTPPool, "https": BoundedHTTPSPool}

    def call(
        self, method: str, path: str, *, headers: Mapping[str, str], body: bytes = b""
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON object of the answer; of an error without JSON, an empty object.

        Raises:
            KeyServerUnavailable: no answer in time, a server's error, or no JSON where there must be some.
        """
        try:
            with within(self._seconds):
                answer = self._pool.request(
                    method, f"{self.url}{path}", headers=dict(headers), body=body, redirect=False, preload_content=False
                )
                try:
                    text = answer.read(_MAX_ANSWER_BYTES)
                finally:
                    answer.drain_conn()
                    answer.release_conn()
        except (HTTPError, OSError) as error:
            raise KeyServerUnavailable("The key server does not answer.", fault=fault_of(error)) from error
        if answer.status >= 500 or answer.status == 429:
            raise KeyServerUnavailable("The key server cannot answer now.", fault=str(answer.status))
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            if answer.status >= 400:
                return answer.status, {}
            raise KeyServerUnavailable("What answers is no key server.", fault="NotJson") from error
        if not isinstance(document, dict):
            raise KeyServerUnavailable("What answers is no key server.", fault="NotJson")
        return answer.status, document


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
