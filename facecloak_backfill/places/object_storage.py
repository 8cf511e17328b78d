"""A bucket, or what lies beneath a prefix of it: S3 and what speaks it, Google's and Azure's, through obstore."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import from_url

from facecloak_backfill.errors import FileMissing, InvalidPlace, PlaceUnavailable
from facecloak_backfill.places.place import StoredFile

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

_LISTED_AT_ONCE = 1000
# A store that stumbles is waited for; one that is away for longer ends the run, which then is resumed.
_PATIENCE = timedelta(seconds=60)
_CALL_SECONDS = "60s"


class ObjectStorage:
    """A :class:`facecloak_backfill.places.Place`. Credentials, region and endpoint are those of the environment: AWS_*
    (AWS_ENDPOINT_URL for other servers than AWS), GOOGLE_*, AZURE_*, or the machine's role."""

    def __init__(self, url: str) -> None:
        """Contacts nothing yet. Raises :class:`facecloak_backfill.errors.InvalidPlace`."""
        self.requests: dict[str, int] = Counter()
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
        options: ClientConfig = {"timeout": _CALL_SECONDS, "allow_http": endpoint.startswith("http://")}
        retries: RetryConfig = {"max_retries": 8, "retry_timeout": _PATIENCE}
        try:
            if endpoint and urlsplit(url).scheme == "s3":
                self._store = from_url(url, endpoint=endpoint, client_options=options, retry_config=retries)
            else:
                self._store = from_url(url, client_options=options, retry_config=retries)
        except (BaseError, ValueError) as error:
            raise InvalidPlace(f"{url} cannot be opened: {str(error).splitlines()[0]}") from error

    def names(self, folder: str = "") -> Iterator[str]:
        """See :class:`facecloak_backfill.places.Place`."""
        with _answers():
            for batch in obstore.list(self._store, folder or None, chunk_size=_LISTED_AT_ONCE):
                self.requests["list"] += 1
                for found in batch:
                    if folder or not any(part.startswith(".") for part in found["path"].split("/")):
                        yield found["path"]

    def read(self, name: str, *, bytes_limit: int) -> StoredFile:
        """See :class:`facecloak_backfill.places.Place`."""
        self.requests["get"] += 1
        with _answers():
            answer = obstore.get(self._store, name)
            # The size is known before the body comes.
            if answer.meta["size"] <= bytes_limit:
                data = bytes(answer.bytes())
            else:
                data = bytes(obstore.get_range(self._store, name, start=0, end=bytes_limit + 1))
            return StoredFile(data, answer.meta["last_modified"].timestamp())

    def write_new(self, name: str, data: bytes) -> bool:
        """See :class:`facecloak_backfill.places.Place`: PutObject with If-None-Match."""
        self.requests["put"] += 1
        with _answers():
            try:
                # One request, so that the object is there whole or not at all.
                obstore.put(self._store, name, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            return True

    def exists(self, name: str) -> bool:
        """See :class:`facecloak_backfill.places.Place`."""
        self.requests["get"] += 1
        try:
            with _answers():
                obstore.head(self._store, name)
        except FileMissing:
            return False
        return True

    def sweep(self) -> None:
        """Does nothing: an object is there whole or not at all."""


@contextlib.contextmanager
def _answers() -> Iterator[None]:
    """Turns what obstore raises into our errors."""
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise FileMissing("There is no such object.") from error
    except BaseError as error:
        # Its first line says what was asked and what was answered; none holds a credential.
        raise PlaceUnavailable(f"The object storage does not do it: {type(error).__name__}.") from error
