"""Masks in an S3 bucket (AWS, MinIO, SeaweedFS, Ceph, ...): one sealed object a user, through the minio SDK.

The bucket must exist. In a bucket with versioning, replaced and deleted masks stay until its own lifecycle rules remove
them.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import ParseError

import certifi
import urllib3
from minio import Minio
from minio.credentials import ChainedProvider, EnvAWSProvider, IamAwsProvider
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from facecloak.masks.bank import StoredMask
from facecloak.stores.base import MAX_OBJECT_BYTES, open_mask, seal_mask
from facecloak.stores.errors import MaskNotFound, StoreUnavailable
from facecloak.stores.sealing import Sealer

_SUFFIX = ".mask"
_ABSENT = frozenset(("NoSuchKey", "NoSuchObject"))


@dataclass(frozen=True)
class S3Connection:
    """How to reach an S3 server. A call that never gets an answer ends after about ``attempts * read_timeout_s``."""

    endpoint: str
    """HOST or HOST:PORT."""
    access_key: str = ""
    """Empty: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment, or the machine's IAM role."""
    secret_key: str = field(default="", repr=False)
    secure: bool = True
    """HTTPS, with the certificate checked."""
    region: str = "us-east-1"
    """Stated, so that no request is spent on asking for it; S3 servers other than AWS take any."""
    connect_timeout_s: float = 2.0
    read_timeout_s: float = 3.0
    """A mask is fetched in about 1 ms on one machine; 3 s is far beyond any healthy server and still short of a
    caller's deadline."""
    attempts: int = 3
    connections: int = 16
    """Most kept open; one a serving thread."""

    def client(self) -> Minio:
        """A client with these timeouts; opens no connection yet."""
        retries = urllib3.Retry(
            total=self.attempts - 1,
            backoff_factor=0.1,
            status_forcelist=(500, 502, 503, 504),
            # A server must not be able to put a caller to sleep.
            respect_retry_after_header=False,
        )
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=self.connect_timeout_s, read=self.read_timeout_s),
            maxsize=self.connections,
            retries=retries,
            cert_reqs="CERT_REQUIRED",
            # As the SDK's own client has it: an operator's private authority by the usual variable.
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )
        credentials = None if self.access_key else ChainedProvider([EnvAWSProvider(), IamAwsProvider(http_client=pool)])
        return Minio(
            self.endpoint,
            access_key=self.access_key or None,
            secret_key=self.secret_key or None,
            secure=self.secure,
            region=self.region,
            http_client=pool,
            credentials=credentials,
        )


class S3MaskStore:
    """A :class:`facecloak.stores.MaskStore` in ``bucket``, objects named ``prefix/NAME.mask``."""

    def __init__(self, client: Minio, *, bucket: str, sealer: Sealer, prefix: str = "") -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._sealer = sealer

    def put(self, user_id: str, mask: StoredMask) -> None:
        """See :class:`facecloak.stores.MaskStore`."""
        name = self._sealer.object_name(user_id)
        self._write(self._key(name), seal_mask(self._sealer, mask, name=name))

    def get(self, user_id: str) -> StoredMask:
        """See :class:`facecloak.stores.MaskStore`."""
        name = self._sealer.object_name(user_id)
        sealed = self._read(self._key(name))
        if sealed is None:
            raise MaskNotFound("The user has no mask.")
        return open_mask(self._sealer, sealed, name=name)

    def delete(self, user_id: str) -> bool:
        """See :class:`facecloak.stores.MaskStore`."""
        key = self._key(self._sealer.object_name(user_id))
        # S3 answers a removal the same whether there was anything or not.
        if self._version(key) is None:
            return False
        with _failures():
            self._client.remove_object(self._bucket, key)
        return True

    def version(self, user_id: str) -> str | None:
        """The object's ETag. See :class:`facecloak.stores.MaskStore`."""
        return self._version(self._key(self._sealer.object_name(user_id)))

    def user_key(self, user_id: str) -> bytes:
        """See :class:`facecloak.stores.MaskStore`."""
        return self._sealer.user_key(user_id)

    def probe(self) -> None:
        """See :class:`facecloak.stores.MaskStore`. A server may answer and still not serve, so an object is written and
        read."""
        key = self._key(f"probe-{secrets.token_hex(8)}")
        self._write(key, b"probe")
        try:
            if self._read(key) != b"probe":
                raise StoreUnavailable("The mask store does not keep what is written.")
        finally:
            with _failures():
                self._client.remove_object(self._bucket, key)

    def probe_reading(self) -> None:
        """See :class:`facecloak.stores.MaskStore`. Reads an object that is not there: a server that says so has found
        the bucket, and let us in."""
        self._read(self._key("probe"))

    def _key(self, name: str) -> str:
        return f"{self._prefix}{name}{_SUFFIX}"

    def _write(self, key: str, data: bytes) -> None:
        with _failures():
            self._client.put_object(self._bucket, key, io.BytesIO(data), len(data))

    def _read(self, key: str) -> bytes | None:
        """The object, at most MAX_OBJECT_BYTES + 1 of it; None where there is none."""
        with _failures():
            try:
                response = self._client.get_object(self._bucket, key)
            except S3Error as error:
                if error.code in _ABSENT:
                    return None
                raise
            try:
                return response.read(MAX_OBJECT_BYTES + 1)
            finally:
                response.close()
                response.release_conn()

    def _version(self, key: str) -> str | None:
        with _failures():
            try:
                return self._client.stat_object(self._bucket, key).etag
            except S3Error as error:
                if error.code in _ABSENT:
                    return None
                raise


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    # ValueError: an answer that is not S3's, or no credentials. ParseError: a proxy's HTML in place of S3's XML.
    except (MinioException, HTTPError, OSError, ValueError, ParseError) as error:
        raise StoreUnavailable("The mask store cannot be used.") from error
