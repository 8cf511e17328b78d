"""What an S3 server's answer, or the lack of one, means: S3's own code, or ours where it has none."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from xml.etree.ElementTree import ParseError

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as Urllib3TimeoutError

from facecloak.stores.errors import StoreUnavailable
from facecloak.stores.faults import advice_for

_CODE = re.compile(r"[A-Za-z0-9._-]{1,64}")


@contextlib.contextmanager
def only_answers() -> Iterator[None]:
    """Turns whatever is no answer of S3's into :class:`StoreUnavailable` with its fault."""
    try:
        yield
    # ValueError: an answer that is not S3's, or no credentials. ParseError: a proxy's HTML in place of S3's XML.
    # AttributeError: the SDK met an XML that is none of S3's.
    except (MinioException, HTTPError, OSError, ValueError, ParseError, AttributeError) as error:
        raise unavailable(fault_of(error)) from error


def unavailable(fault: str) -> StoreUnavailable:
    """The error for ``fault``."""
    return StoreUnavailable("The mask store cannot be used.", fault=fault, advice=advice_for(fault))


def says_absent(error: S3Error, *, key: str) -> bool:
    """Whether the server itself says, in its answer's body, that it holds no object ``key``.

    A load balancer's 404 has no such body, nor has any answer to HEAD. Not every server names the key (Ceph does not).
    """
    return (
        error.code in ("NoSuchKey", "NoSuchObject")
        and error.response.status == 404
        and bool(error.response.data)
        and error.object_name in (None, "", key)
    )


def fault_of(error: BaseException) -> str:
    """The code of an exception that a call of the SDK raised."""
    if isinstance(error, MaxRetryError) and error.reason is not None:
        return fault_of(error.reason)
    if isinstance(error, S3Error):
        if error.code in ("NoSuchKey", "NoSuchObject"):
            return "WrongObject"
        return error.code if error.code and _CODE.fullmatch(error.code) else "NotS3"
    if isinstance(error, InvalidResponseError | ServerError | ParseError | UnicodeDecodeError):
        return "NotS3"
    if isinstance(error, NameResolutionError):
        return "NameNotResolved"
    if isinstance(error, NewConnectionError):
        return "NotReachable"
    if isinstance(error, ConnectTimeoutError):
        return "ConnectTimeout"
    if isinstance(error, Urllib3TimeoutError | TimeoutError):
        return "Timeout"
    if isinstance(error, SSLError):
        return "TlsFailed"
    if isinstance(error, HTTPError | OSError):
        return "ConnectionBroken"
    return "NoCredentials" if "credential" in str(error).lower() else "NotS3"
