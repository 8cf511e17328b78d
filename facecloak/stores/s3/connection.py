"""How to reach an S3 server: endpoint, credentials, and the time that a call may take."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import certifi
import urllib3
from minio import Minio
from minio.credentials import ChainedProvider, EnvAWSProvider, IamAwsProvider
from minio.error import S3Error
from urllib3.util.ssl_ import create_urllib3_context

from facecloak.call_context import seconds_left
from facecloak.stores.s3.sockets import BoundedHTTPPool, BoundedHTTPSPool, BoundedSSLSocket


@dataclass(frozen=True)
class S3Connection:
    """How to reach an S3 server. Every call ends within ``call_timeout_s``, and within the context's deadline
    (:data:`facecloak.call_context.deadline`), whatever the server does. No proxy is used."""

    endpoint: str
    """HOST or HOST:PORT; an IPv6 address in brackets."""
    access_key: str = ""
    """Empty: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment, or the machine's IAM role."""
    secret_key: str = field(default="", repr=False)
    secure: bool = True
    """HTTPS, with the certificate checked."""
    region: str = "us-east-1"
    """Stated, so that no request is spent on asking for it; S3 servers other than AWS take any."""
    connect_timeout_s: float = 2.0
    read_timeout_s: float = 2.0
    """Longest silence. A mask is fetched in about 1 ms on one machine; 2 s is far beyond any healthy server."""
    attempts: int = 3
    call_timeout_s: float = 5.0
    """All attempts of one call together: short of a caller's deadline, and long enough to try a second time."""
    connections: int = 16
    """Most kept open; one a serving thread."""

    def pool(self) -> urllib3.PoolManager:
        """Connections with these timeouts; opens none yet. What bounds a whole call is the context's deadline."""
        context = create_urllib3_context()
        context.sslsocket_class = BoundedSSLSocket
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=self.connect_timeout_s, read=self.read_timeout_s),
            maxsize=self.connections,
            retries=_Retry(
                total=self.attempts - 1,
                backoff_factor=0.1,
                status_forcelist=(500, 502, 503, 504),
                # S3's own code is in the last answer.
                raise_on_status=False,
                # Followed, a request would go elsewhere with a signature of here, and a web page might come back.
                redirect=False,
                # A server must not be able to put a caller to sleep.
                respect_retry_after_header=False,
            ),
            ssl_context=context,
            cert_reqs="CERT_REQUIRED",
            # As the SDK's own client has it: an operator's private authority by the usual variable.
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )
        pool.pool_classes_by_scheme = {"http": BoundedHTTPPool, "https": BoundedHTTPSPool}
        return pool

    def client(self) -> S3Client:
        """A client with these timeouts; opens no connection yet."""
        pool = self.pool()
        credentials = None if self.access_key else ChainedProvider([EnvAWSProvider(), IamAwsProvider(http_client=pool)])
        client = S3Client(
            self.endpoint,
            access_key=self.access_key or None,
            secret_key=self.secret_key or None,
            secure=self.secure,
            region=self.region,
            http_client=pool,
            credentials=credentials,
        )
        client.call_timeout_s = self.call_timeout_s
        return client


class S3Client(Minio):
    """The SDK's client, with what it lacks."""

    call_timeout_s: float = S3Connection.call_timeout_s

    def put_new(self, bucket: str, key: str, data: bytes) -> bool:
        """Make an object unless it exists; whether this call did (PutObject with If-None-Match: *)."""
        headers: dict[str, str | list[str] | tuple[str]] = {"Content-Type": "application/octet-stream"}
        try:
            self._execute("PUT", bucket, key, body=data, headers={**headers, "If-None-Match": "*"})
        except S3Error as error:
            if error.code in ("PreconditionFailed", "ConditionalRequestConflict"):
                return False
            if error.code != "NotImplemented":
                raise
            # An older server: whoever comes last wins, and the others find out when they read it.
            self._execute("PUT", bucket, key, body=data, headers=headers)
        return True

    def replace(self, bucket: str, key: str, data: bytes, *, etag: str) -> bool:
        """Replace an object that has this ETag still; whether it had (PutObject with If-Match)."""
        headers: dict[str, str | list[str] | tuple[str]] = {"Content-Type": "application/octet-stream"}
        try:
            self._execute("PUT", bucket, key, body=data, headers={**headers, "If-Match": f'"{etag}"'})
        except S3Error as error:
            if error.code in ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"):
                return False
            raise
        return True


# A healthy server has answered long before.
_SHORTEST_ATTEMPT_S = 0.25


class _Retry(urllib3.Retry):
    """As many attempts as time is left for."""

    def is_exhausted(self) -> bool:
        return super().is_exhausted() or seconds_left(1.0) < _SHORTEST_ATTEMPT_S
