"""The signer of cloaked photos, as the settings name it: its files are read again when they change."""

from __future__ import annotations

import importlib.util
import os
import stat
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, SecretStr, field_validator, model_validator

from facecloak.photos.credentials import PhotoSigner, Signer, SignerUnusable
from facecloak_rpc.watched_files import WatchedFiles, read_bounded


class C2paSettings(BaseModel):
    """Content credentials (C2PA): a signed manifest in each cloaked photo that says that it was edited. Needs the extra
    `c2pa`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    certificates: Path | None = None
    """PEM file of the signer's certificate and those between it and the root. Empty: cloaked photos have no manifest.
    The files are read again within a second or so of a change."""

    key: Path | None = None
    """PEM file (PKCS#8, no passphrase, mode 0600) of the certificate's private key."""

    key_pem: SecretStr | None = None
    """That key itself instead, for secrets that come as environment variables."""

    algorithm: Literal["", "es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"] = ""
    """How is signed. Empty: es256, es384, es512, ps256 or ed25519, by the key."""

    timestamp_url: str = ""
    """RFC 3161 timestamp authority, http(s)://, which is asked for each cloaked photo; one that does not answer holds a
    photo for up to 30 s, or 60 s where it has a gain map. Empty: no timestamps, and nothing is sent out."""

    on_failure: Literal["refuse", "unsigned"] = "refuse"
    """What becomes of a cloaked photo that cannot be signed: refuse fails the call with SIGNING_FAILED; unsigned gives
    it out without a manifest, and the answer's c2pa_signed is false."""

    @field_validator("timestamp_url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("timestamp_url must begin with http:// or https://")
        return value

    @model_validator(mode="after")
    def _whole(self) -> C2paSettings:
        if self.certificates is None:
            if self.key is not None or self.key_pem is not None or self.algorithm or self.timestamp_url:
                raise ValueError("c2pa key, algorithm and timestamp_url need certificates")
            return self
        if (self.key is None) == (self.key_pem is None):
            raise ValueError("c2pa certificates need key or key_pem, and not both")
        if importlib.util.find_spec("c2pa") is None:
            raise ValueError("c2pa needs the extra `c2pa`: pip install 'facecloak[c2pa]'")
        return self


class WatchedSigner:
    """A signer whose certificate is replaced while serving; new files that cannot be used leave the old ones in use."""

    def __init__(self, settings: C2paSettings) -> None:
        """Raises SignerUnusable or FileUnusable where photos cannot be signed with what the settings name."""
        paths = [path for path in (settings.certificates, settings.key) if path is not None]
        self._signer = WatchedFiles(paths, lambda: load_signer(settings), what="c2pa signer")

    def signed(self, photo: bytes, *, parent: bytes) -> bytes | None:
        """See :class:`facecloak.photos.credentials.PhotoSigner`."""
        return self._signer.current().signed(photo, parent=parent)


def open_signer(settings: C2paSettings) -> PhotoSigner | None:
    """The settings' signer; None where they name none. Raises as :class:`WatchedSigner`."""
    return None if settings.certificates is None else WatchedSigner(settings)


def load_signer(settings: C2paSettings) -> Signer:
    """Reads the files, and signs once. Raises SignerUnusable, FileUnusable."""
    assert settings.certificates is not None
    return Signer(
        read_bounded(settings.certificates),
        _key_of(settings),
        algorithm=settings.algorithm,
        timestamp_url=settings.timestamp_url,
        unsigned_on_failure=settings.on_failure == "unsigned",
    )


def _key_of(settings: C2paSettings) -> bytes:
    if settings.key_pem is not None:
        return settings.key_pem.get_secret_value().encode()
    assert settings.key is not None
    content = read_bounded(settings.key)
    if stat.S_IMODE(os.stat(settings.key).st_mode) & 0o077:
        raise SignerUnusable("Other users can read the signer's key file: its mode must be 0600.")
    return content
