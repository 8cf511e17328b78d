"""How callers prove who they are, and who is who."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class IdentitySettings(BaseModel):
    """Callers with tenants and rights. Without them, whoever gets in over TLS may do anything in the default tenant."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    callers: Path | None = None
    """TOML file of callers, their tenants and rights (docs/operations.md); read again when it changes. Empty: anyone
    who can connect may do anything."""

    jwks: str = ""
    """File, or https:// URL, of the keys (JWKS, RFC 7517) that callers' tokens are signed with: `authorization: Bearer
    ...`. Empty: tokens are not taken, and callers are told by their certificates. Both may be used: a call that brings
    a token is judged by that alone."""

    jwks_ca: Path | None = None
    """PEM file of authorities to trust for that URL. Empty: this machine's."""

    jwks_seconds: float = Field(default=300.0, ge=1, le=86_400)
    """How long keys from the URL are used before they are asked for again, seconds; a token of an unknown key asks at
    once, every ten seconds at most. A file is looked at each second."""

    jwks_stale_seconds: float = Field(default=3600.0, ge=1, le=604_800)
    """While the URL does not answer, keys are used for this long after they were last had, seconds."""

    issuer: str = ""
    """Issuer that a token must name (its claim iss), compared letter by letter."""

    audience: str = ""
    """Whom a token must be meant for (its claim aud)."""

    algorithms: tuple[Algorithm, ...] = ("RS256", "ES256", "EdDSA")
    """How tokens may be signed; all are of key pairs: none is checked by a secret that callers could know."""

    leeway_seconds: float = Field(default=30.0, ge=0, le=300)
    """How far this machine's clock may be off when a token's times are checked, seconds."""

    @model_validator(mode="after")
    def _whole(self) -> IdentitySettings:
        if self.jwks and not (self.issuer and self.audience):
            raise ValueError("identity jwks needs issuer and audience: keys sign for others too")
        if self.jwks and self.callers is None:
            raise ValueError("identity jwks needs callers: a token alone gives nobody rights")
        if self.jwks.partition("://")[0] in ("http", "file") or ("://" in self.jwks and not self.is_url):
            raise ValueError("identity jwks is a file's path or an https:// URL")
        if not self.algorithms:
            raise ValueError("identity algorithms must name one")
        return self

    @property
    def is_url(self) -> bool:
        """Whether the keys are asked for over the network."""
        return self.jwks.startswith("https://")

    @property
    def is_on(self) -> bool:
        """Whether callers are told apart."""
        return self.callers is not None
