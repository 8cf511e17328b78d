"""The key server as both services' settings name it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from minio.credentials import ChainedProvider, EnvAWSProvider, IamAwsProvider
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from facecloak.stores import KeyUnusable
from facecloak.stores.key_providers import KeyProvider
from facecloak.stores.key_servers.http import KeyServer
from facecloak.stores.key_servers.kms import Credentials, KmsKeys
from facecloak.stores.key_servers.transit import TransitKeys

_MAX_TOKEN_BYTES = 16 * 1024


class KeyServerSettings(BaseModel):
    """A server that holds the wrapping keys. Without one they are in the key file or in the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["", "transit", "kms"] = ""
    """transit: the HTTP API of HashiCorp Vault's transit engine; kms: that of AWS KMS. Empty: no key server. Keys given
    besides are read with still, so that masks can be moved to the key server by `facecloak keys rotate`."""

    url: str = ""
    """https://HOST:PORT; http:// on this machine only."""

    keys: tuple[str, ...] = ()
    """Names of the keys, as a JSON list; the first one writes, all read. For kms ids, ARNs or aliases."""

    seconds: float = Field(default=2.0, gt=0, le=30)
    """Longest time of one call, seconds; a caller's deadline ends it sooner. Each mask that is read takes one."""

    token: SecretStr | None = None
    """transit: token that may encrypt and decrypt with the keys and read their versions."""

    token_file: Path | None = None
    """transit: file of that token, read at each call, as an agent renews it."""

    mount: str = "transit"
    """transit: where the engine is mounted."""

    namespace: str = ""
    """transit: namespace of the engine."""

    region: str = "us-east-1"
    """kms: region that calls are signed for."""

    access_key: str = ""
    """kms: empty: the AWS_* variables of the environment, or the machine's role."""

    secret_key: SecretStr | None = None
    """kms: secret that belongs to the access key."""

    @model_validator(mode="after")
    def _no_contradiction(self) -> KeyServerSettings:
        if bool(self.kind) != bool(self.url) or bool(self.kind) != bool(self.keys):
            raise ValueError("kind, url and keys of the key server belong together")
        if self.kind == "transit" and (self.token is None) == (self.token_file is None):
            raise ValueError("transit needs token or token_file, and not both")
        if bool(self.access_key) != (self.secret_key is not None):
            raise ValueError("access_key and secret_key belong together")
        return self

    def provider(self) -> KeyProvider | None:
        """The key server's keys; it is not contacted yet. Raises KeyUnusable."""
        if not self.kind:
            return None
        server = KeyServer(self.url, seconds=self.seconds)
        if self.kind == "transit":
            return TransitKeys(server, self.keys, token=self._token, mount=self.mount, namespace=self.namespace)
        return KmsKeys(server, self.keys, credentials=self._credentials(), region=self.region)

    def _token(self) -> str:
        if self.token is not None:
            return self.token.get_secret_value()
        assert self.token_file is not None
        try:
            with self.token_file.open("rb") as file:
                return file.read(_MAX_TOKEN_BYTES).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise KeyUnusable("The key server's token file cannot be read.") from error

    def _credentials(self) -> Credentials:
        if self.secret_key is not None:
            fixed = (self.access_key, self.secret_key.get_secret_value(), "")
            return lambda: fixed
        chain = ChainedProvider([EnvAWSProvider(), IamAwsProvider()])

        def retrieve() -> tuple[str, str, str]:
            try:
                found = chain.retrieve()
            except ValueError as error:
                raise KeyUnusable("There are no credentials for the key server.") from error
            return found.access_key, found.secret_key, found.session_token or ""

        return retrieve
