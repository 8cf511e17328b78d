"""The mask store as both services' settings name it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from facecloak.stores import EnvironmentKeys, FileKeys, Keyring, KeyUnusable, S3Connection, holds_no_store, open_store
from facecloak.stores.key_providers import KeyProvider
from facecloak.stores.sealed import SealedMaskStore
from facecloak_rpc.key_settings import KeyServerSettings


class StoreSettings(BaseModel):
    """Where masks are kept and the key that seals them. Both services need the same ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    data: Path = Path("data")
    """Folder of what the services keep by default: masks/ and mask.key."""

    url: str = ""
    """Mask store: file:///folder or s3://bucket/prefix. Empty: masks/ in the data folder."""

    key: SecretStr | None = None
    """Key that wraps the masks' data keys, 32 bytes in base64. Without it the key file is used."""

    old_keys: tuple[SecretStr, ...] = ()
    """Further keys that are read with, as a JSON list: what another key wrapped can be read until `facecloak keys
    rotate` has wrapped it anew. Only together with key; a key file has its own."""

    key_file: Path | None = None
    """File of such keys, one a line, mode 0600: the first line's wraps, all are read with. It is read again when a key
    is needed that it did not hold. Empty: mask.key in the data folder. Made on first use for a new store in the data
    folder; never for a url, nor where masks are already."""

    key_server: KeyServerSettings = KeyServerSettings()
    """A server that holds the wrapping keys; fields as ..._STORE__KEY_SERVER__<FIELD>."""

    s3_endpoint: str = ""
    """HOST or HOST:PORT of the S3 server, for an s3:// URL. It is reached directly: proxy variables are not used."""

    s3_access_key: str = ""
    """Empty: the AWS_* variables of the environment, or the machine's role."""

    s3_secret_key: SecretStr | None = None
    """Secret that belongs to the access key."""

    s3_secure: bool = True
    """HTTPS, with the certificate checked."""

    s3_region: str = "us-east-1"
    """Region; servers other than AWS take any."""

    s3_call_seconds: float = Field(default=5.0, gt=0, le=60)
    """Longest time of one call of the S3 server, seconds, all attempts together; a caller's deadline ends it sooner. A
    healthy server takes milliseconds, and an upload's caller waits for about ten seconds."""

    @model_validator(mode="after")
    def _no_contradiction(self) -> StoreSettings:
        in_s3 = self.url.startswith("s3://")
        if self.key is not None and self.key_file is not None:
            raise ValueError("give key or key_file, not both")
        if self.old_keys and self.key is None:
            raise ValueError("old_keys are for a key that is given by key; a key file has a line for each")
        if in_s3 and not self.s3_endpoint:
            raise ValueError("a store in S3 needs s3_endpoint")
        if self.s3_endpoint and not in_s3:
            raise ValueError("s3_endpoint is for a url that begins with s3://")
        if bool(self.s3_access_key) != (self.s3_secret_key is not None):
            raise ValueError("s3_access_key and s3_secret_key belong together")
        return self

    def in_folder(self, data: Path) -> StoreSettings:
        """A store and its key in another data folder, whatever else was set."""
        return StoreSettings(data=data)

    @property
    def folder(self) -> Path:
        """Where masks are without a URL."""
        return self.data.absolute() / "masks"

    @property
    def place(self) -> str:
        """The store's place, for a person."""
        return self.url or f"{self.data / 'masks'} (local)"

    @property
    def is_untouched(self) -> bool:
        """Whether this is the default folder before its first use, when its key may still have to be made."""
        by_file = self.key is None and not self.key_server.kind
        return not self.url and by_file and not self.key_path.exists() and holds_no_store(self.folder)

    @property
    def key_path(self) -> Path:
        """The key file, given or by default."""
        return self.key_file or self.data / "mask.key"


def open_configured_store(settings: StoreSettings, *, begins: bool = True) -> SealedMaskStore:
    """Opens the store; an S3 server is not contacted yet. The key of an untouched default folder is made.

    Args:
        begins: whether an empty place becomes a new store. For who only reads, it is a wrong place, until the one who
            writes has begun it; the untouched default folder is begun by whoever comes first.

    Raises:
        KeyUnusable: among others, there is no key: none is made for S3, another folder, or one that holds masks.
        InvalidStoreUrl, StoreUnavailable: see :mod:`facecloak.stores`.
    """
    keyring, made = _keyring(settings)
    url = settings.url or settings.folder.as_uri()
    s3 = s3_connection(settings)
    # A probe notices a key file that went away; whether its keys open the store, the key check tells.
    store = open_store(url, keyring, s3=s3, begins=begins or made, check_key=keyring.refresh)
    if made:
        store.probe_reading()
    return store


def _keyring(settings: StoreSettings) -> tuple[Keyring, bool]:
    """The keys, and whether one may have been made just now."""
    server = settings.key_server.provider()
    providers: list[KeyProvider] = [] if server is None else [server]
    if settings.key is not None:
        texts = [secret.get_secret_value() for secret in (settings.key, *settings.old_keys)]
        return Keyring([*providers, EnvironmentKeys(texts)]), False
    if server is not None and not settings.key_path.exists():
        return Keyring(providers), False
    make = settings.is_untouched
    try:
        # The key's default place counts for a store elsewhere too: a key belongs to the operator, not to the bucket.
        return Keyring([*providers, FileKeys(settings.key_path, make=make)]), make
    except KeyUnusable as error:
        if settings.key_path.exists():
            raise
        what = "a store at a URL" if settings.url else "a folder that holds masks already"
        raise KeyUnusable(f"There is no key, and none is made for {what}.") from error


def s3_connection(settings: StoreSettings) -> S3Connection | None:
    """How the settings reach their S3 server; None for a folder."""
    if not settings.s3_endpoint:
        return None
    return S3Connection(
        endpoint=settings.s3_endpoint,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value() if settings.s3_secret_key else "",
        secure=settings.s3_secure,
        region=settings.s3_region,
        call_timeout_s=settings.s3_call_seconds,
    )
