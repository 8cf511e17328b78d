"""The mask store as both services' settings name it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, SecretStr, model_validator

from facecloak.stores import MaskStore, S3Connection, Sealer, open_store


class StoreSettings(BaseModel):
    """Where masks are kept and the key that seals them. Both services need the same ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    data: Path = Path("data")
    """Folder of what the services keep by default: masks/ and mask.key."""

    url: str = ""
    """Mask store: file:///folder or s3://bucket/prefix. Empty: masks/ in the data folder."""

    key: SecretStr | None = None
    """Key that seals the masks, 32 bytes in base64. Without it the key file is used."""

    key_file: Path | None = None
    """File of that key, made on first use with mode 0600. Empty: mask.key in the data folder."""

    s3_endpoint: str = ""
    """HOST or HOST:PORT of the S3 server, for an s3:// URL."""

    s3_access_key: str = ""
    """Empty: the AWS_* variables of the environment, or the machine's role."""

    s3_secret_key: SecretStr | None = None
    """Secret that belongs to the access key."""

    s3_secure: bool = True
    """HTTPS, with the certificate checked."""

    s3_region: str = "us-east-1"
    """Region; servers other than AWS take any."""

    @model_validator(mode="after")
    def _no_contradiction(self) -> StoreSettings:
        in_s3 = self.url.startswith("s3://")
        if self.key is not None and self.key_file is not None:
            raise ValueError("give key or key_file, not both")
        if in_s3 and not self.s3_endpoint:
            raise ValueError("a store in S3 needs s3_endpoint")
        if self.s3_endpoint and not in_s3:
            raise ValueError("s3_endpoint is for a url that begins with s3://")
        if bool(self.s3_access_key) != (self.s3_secret_key is not None):
            raise ValueError("s3_access_key and s3_secret_key belong together")
        return self


def open_configured_store(settings: StoreSettings) -> MaskStore:
    """Opens the store; an S3 server is not contacted yet.

    Raises:
        KeyUnusable, InvalidStoreUrl, StoreUnavailable: see :mod:`facecloak.stores`.
    """
    # The key's default place counts for a store elsewhere too: a key belongs to the operator, not to the bucket.
    if settings.key is not None:
        sealer = Sealer.from_base64(settings.key.get_secret_value())
    else:
        sealer = Sealer.from_key_file(settings.key_file or settings.data / "mask.key")
    url = settings.url or (settings.data.absolute() / "masks").as_uri()
    return open_store(url, sealer, s3=_s3_connection(settings))


def _s3_connection(settings: StoreSettings) -> S3Connection | None:
    if not settings.s3_endpoint:
        return None
    return S3Connection(
        endpoint=settings.s3_endpoint,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value() if settings.s3_secret_key else "",
        secure=settings.s3_secure,
        region=settings.s3_region,
    )
