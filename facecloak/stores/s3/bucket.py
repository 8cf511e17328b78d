"""Masks in an S3 bucket: one sealed object a user.

The bucket must exist. In a bucket with versioning, a replaced mask stays until the bucket's lifecycle rules remove it,
or the user is deleted.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import secrets
from collections.abc import Callable, Iterator

from minio.error import S3Error

from facecloak.call_context import within
from facecloak.stores.base import MAX_OBJECT_BYTES
from facecloak.stores.errors import StoreUnavailable
from facecloak.stores.key_providers import Keyring
from facecloak.stores.names import TOMBSTONE_SUFFIX
from facecloak.stores.s3.answers import only_answers, says_absent, unavailable
from facecloak.stores.s3.connection import S3Client
from facecloak.stores.sealed import SealedMaskStore
from facecloak.stores.sealing import Sealer

_SUFFIX = ".mask"
_MASK_NAME = re.compile(r"[0-9a-f]{64}")
_TOMBSTONE_NAME = re.compile(r"[0-9a-f]{64}" + re.escape(TOMBSTONE_SUFFIX))
# Names of one listing, within the time of one call.
_PAGE = 1000
# A mask has about 40 KB.
_PROBE_BYTES = 48 * 2**10
_NO_VERSIONS = frozenset({"AccessDenied", "NotImplemented"})


class S3Bucket:
    """A :class:`facecloak.stores.base.ObjectPlace` in ``bucket``: masks are objects ``prefix/NAME.mask``."""

    absence_seconds = 5.0
    """A bucket does not come and go as a mounted volume does, and pipelines ask for many users who have no mask."""

    def __init__(self, client: S3Client, *, bucket: str, prefix: str = "") -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def read(self, name: str) -> bytes | None:
        """See :class:`facecloak.stores.base.ObjectPlace`."""
        with self._call():
            found = self._get(self._key(name))
        return None if found is None else found[0]

    def version(self, name: str) -> str | None:
        """The object's ETag. See :class:`facecloak.stores.base.ObjectPlace`.

        Gets the first byte: an answer to HEAD has no body, so that a 404 could be anybody's, and S3's own code is lost.
        """
        with self._call():
            try:
                found = self._get(self._key(name), length=1)
            except S3Error as error:
                if error.code != "InvalidRange":
                    raise
                return "empty"
        return None if found is None else found[1]

    def write(self, name: str, data: bytes) -> None:
        """See :class:`facecloak.stores.base.ObjectPlace`."""
        with self._call():
            self._put(self._key(name), data)

    def write_new(self, name: str, data: bytes) -> bool:
        """See :class:`facecloak.stores.base.ObjectPlace`."""
        with self._call():
            return self._client.put_new(self._bucket, self._key(name), data)

    def replace(self, name: str, data: bytes, version: str) -> bool:
        """See :class:`facecloak.stores.base.ObjectPlace`."""
        with self._call():
            return self._client.replace(self._bucket, self._key(name), data, etag=version)

    def read_version(self, name: str) -> tuple[bytes, str] | None:
        """See :class:`facecloak.stores.base.ObjectPlace`."""
        with self._call():
            return self._get(self._key(name))

    def remove(self, name: str) -> None:
        """See :class:`facecloak.stores.base.ObjectPlace`. Where the versions may not be listed or removed, the object
        itself is, and the fault is VersionsNotRemoved."""
        key = self._key(name)
        try:
            with self._call():
                found = self._client.list_objects(self._bucket, prefix=key, recursive=True, include_version=True)
                versions = [(one.object_name, one.version_id) for one in found]
            for of, version in versions:
                if of == key:
                    with self._call():
                        self._client.remove_object(self._bucket, key, version_id=version or None)
        except StoreUnavailable as error:
            if error.fault not in _NO_VERSIONS:
                raise
            with self._call():
                self._client.remove_object(self._bucket, key)
            raise unavailable("VersionsNotRemoved") from error

    def mask_names(self, limit: int) -> list[str]:
        """See :class:`facecloak.stores.base.ObjectPlace`."""
        names: list[str] = []
        with self._call():
            for found in self._client.list_objects(self._bucket, prefix=self._prefix):
                name = found.object_name.removeprefix(self._prefix).removesuffix(_SUFFIX)
                if _MASK_NAME.fullmatch(name):
                    names.append(name)
                if len(names) == limit:
                    break
        return names

    def remove_old_versions(self, name: str) -> None:
        """See :class:`facecloak.stores.base.ObjectPlace`."""
        key = self._key(name)
        try:
            with self._call():
                found = self._client.list_objects(self._bucket, prefix=key, recursive=True, include_version=True)
                old = [one.version_id for one in found if one.object_name == key and one.is_latest == "false"]
            for version in old:
                with self._call():
                    self._client.remove_object(self._bucket, key, version_id=version)
        except StoreUnavailable as error:
            raise unavailable("VersionsNotRemoved") if error.fault in _NO_VERSIONS else error from error

    def names(self, *, after: str = "") -> Iterator[str]:
        """See :class:`facecloak.stores.base.ObjectPlace`. In the order of the objects' keys."""
        last = self._key(after) if after else None
        while True:
            with self._call():
                found = self._client.list_objects(self._bucket, prefix=self._prefix, start_after=last)
                page = [one.object_name for one in itertools.islice(found, _PAGE)]
            for key in page:
                name = key.removeprefix(self._prefix).removesuffix(_SUFFIX)
                if _MASK_NAME.fullmatch(name) or _TOMBSTONE_NAME.fullmatch(name):
                    yield name
            if len(page) < _PAGE:
                return
            last = page[-1]

    def prove_conditions(self) -> None:
        """See :class:`facecloak.stores.base.ObjectPlace`."""
        name = f"write-test-{secrets.token_hex(8)}"
        try:
            self.write(name, b"test")
            try:
                kept = not self.write_new(name, b"other") and not self.replace(name, b"other", "0" * 32)
            except StoreUnavailable as error:
                if error.fault != "NotImplemented":
                    raise
                kept = False
            if not kept or self.read(name) != b"test":
                raise unavailable("NoConditions")
        finally:
            self.remove(name)

    def begin(self) -> None:
        """Does nothing: buckets are made by their operators."""

    def prove_writing(self) -> None:
        """See :class:`facecloak.stores.base.ObjectPlace`. A server may answer and still not serve, so an object is
        written, read, and removed with its version; one as large as a mask, since some servers keep a few bytes
        beside the name, and still take those when their disks are full."""
        probe = secrets.token_bytes(_PROBE_BYTES)
        key = f"{self._prefix}write-test-{secrets.token_hex(8)}"
        version: str | None = None
        try:
            with self._call():
                version = self._put(key, probe)
            with self._call():
                found = self._get(key)
            if found is None or found[0] != probe:
                raise StoreUnavailable("The mask store does not keep what is written.", fault="NotKept")
        except StoreUnavailable:
            # What was not answered may have been done.
            with contextlib.suppress(StoreUnavailable):
                self._remove_version(key, version)
            raise
        self._remove_version(key, version)

    def _key(self, name: str) -> str:
        return f"{self._prefix}{name}{_SUFFIX}" if _MASK_NAME.fullmatch(name) else f"{self._prefix}{name}"

    @contextlib.contextmanager
    def _call(self) -> Iterator[None]:
        with within(self._client.call_timeout_s), only_answers():
            yield

    def _get(self, key: str, *, length: int = 0) -> tuple[bytes, str] | None:
        """The object, at most MAX_OBJECT_BYTES + 1 of it, or its first ``length`` bytes, and its ETag."""
        try:
            response = self._client.get_object(self._bucket, key, length=length)
        except S3Error as error:
            if says_absent(error, key=key):
                return None
            raise
        try:
            etag = response.headers.get("ETag", "").strip('"')
            if not etag:
                # Every object has one; a web page that somebody put before S3 mostly has none.
                raise unavailable("NotS3")
            return response.read(length or MAX_OBJECT_BYTES + 1), etag
        finally:
            response.close()
            response.release_conn()

    def _put(self, key: str, data: bytes) -> str | None:
        """The version that was made, in a bucket with versioning."""
        result = self._client.put_object(self._bucket, key, io.BytesIO(data), len(data))
        if not result.etag:
            raise unavailable("NotS3")
        return result.version_id

    def _remove_version(self, key: str, version: str | None) -> None:
        """Removes the object for good where its version is known and may be removed; otherwise as well as can be."""
        with self._call():
            try:
                self._client.remove_object(self._bucket, key, version_id=version)
            except S3Error as error:
                if version is None or error.code != "AccessDenied":
                    raise
                self._client.remove_object(self._bucket, key)


class S3MaskStore(SealedMaskStore):
    """The :class:`facecloak.stores.MaskStore` of an :class:`S3Bucket`."""

    def __init__(
        self,
        client: S3Client,
        *,
        bucket: str,
        sealer: Keyring | Sealer,
        prefix: str = "",
        begins: bool = True,
        check_key: Callable[[], None] = lambda: None,
    ) -> None:
        """See :class:`facecloak.stores.sealed.SealedMaskStore`."""
        super().__init__(S3Bucket(client, bucket=bucket, prefix=prefix), sealer, begins=begins, check_key=check_key)
