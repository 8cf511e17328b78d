"""Stores by URL, as settings name them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from facecloak.stores.errors import InvalidStoreUrl
from facecloak.stores.key_providers import Keyring
from facecloak.stores.local import LocalMaskStore
from facecloak.stores.s3 import S3Connection, S3MaskStore
from facecloak.stores.sealed import SealedMaskStore
from facecloak.stores.sealing import Sealer


def open_store(
    url: str,
    sealer: Keyring | Sealer,
    *,
    s3: S3Connection | None = None,
    begins: bool = True,
    check_key: Callable[[], None] = lambda: None,
) -> SealedMaskStore:
    """The store at ``url``: "file:///folder" or "s3://bucket/prefix" (which needs ``s3``). Nothing is contacted yet.

    Args:
        begins, check_key: see :class:`facecloak.stores.sealed.SealedMaskStore`.

    Raises:
        InvalidStoreUrl: anything else.
    """
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise InvalidStoreUrl("A mask store's URL has no query and no fragment.")
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        return LocalMaskStore(Path(unquote(parts.path)), sealer, begins=begins, check_key=check_key)
    if parts.scheme == "s3" and parts.netloc:
        if s3 is None:
            raise InvalidStoreUrl("A mask store in S3 needs the server's endpoint.")
        # The client checks bucket names by S3's rules only when it is used; a wrong one is a setting's fault.
        if not 3 <= len(parts.netloc) <= 63 or "@" in parts.netloc or ":" in parts.netloc:
            raise InvalidStoreUrl("The bucket's name is not one.")
        bucket, prefix = parts.netloc, unquote(parts.path)
        return S3MaskStore(s3.client(), bucket=bucket, prefix=prefix, sealer=sealer, begins=begins, check_key=check_key)
    raise InvalidStoreUrl("A mask store's URL is file:///folder or s3://bucket/prefix.")
