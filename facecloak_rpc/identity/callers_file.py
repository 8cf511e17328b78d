"""The operator's list of callers (TOML): which certificate or token is whom, of which tenant, with which rights.

[[caller]]
name = "upload"
uri = "spiffe://platform.example/upload"     # the certificate's URI; a last part of * is any
tenant = "acme"
rights = ["apply"]

[[caller]]
name = "accounts"
claims = {sub = "accounts"}                  # the token's claims, all of them
tenant_claim = "org"                         # the tenant is what this claim says
rights = ["enroll", "delete", "read"]
share = 0.5                                  # most of the places that callers share
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from facecloak.errors import InvalidInput
from facecloak.users import DEFAULT_TENANT, check_tenant
from facecloak_rpc.identity.caller import Caller, Right
from facecloak_rpc.identity.errors import CallerUnknown
from facecloak_rpc.watched_files import FileUnusable, read_bounded

_UNKNOWN = "this caller has no rights here"


class CallerRule(BaseModel):
    """One entry. The first that fits a certificate or a token decides."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._/-]{0,63}$")
    uri: str | None = Field(default=None, min_length=3)
    claims: dict[str, str] | None = Field(default=None, min_length=1)
    tenant: str | None = None
    tenant_claim: str | None = Field(default=None, min_length=1)
    rights: list[str] = Field(min_length=1)
    share: float | None = Field(default=None, gt=0, le=1)

    @field_validator("tenant")
    @classmethod
    def _is_tenant(cls, tenant: str | None) -> str | None:
        try:
            check_tenant(tenant or DEFAULT_TENANT)
        except InvalidInput as error:
            raise ValueError(error.public_message) from error
        return tenant

    @field_validator("rights")
    @classmethod
    def _are_rights(cls, rights: list[str]) -> list[str]:
        if unknown := set(rights) - set(Right):
            raise ValueError(f"{sorted(unknown)[0]} is no right; these are: {', '.join(Right)}")
        return rights

    @model_validator(mode="after")
    def _no_contradiction(self) -> CallerRule:
        if (self.uri is None) == (self.claims is None):
            raise ValueError("a caller is told by uri or by claims, one of both")
        if self.tenant is not None and self.tenant_claim is not None:
            raise ValueError("a caller has a tenant or a tenant_claim")
        if self.tenant_claim is not None and self.claims is None:
            raise ValueError("a tenant_claim is of a token: give claims")
        if self.uri is not None and ("*" in self.uri.removesuffix("/*") or ":" not in self.uri):
            raise ValueError("a uri is whole, or ends with /*")
        return self

    def fits_uri(self, uri: str) -> bool:
        """Whether a certificate of this URI is the caller's."""
        if self.uri is None:
            return False
        start = self.uri.removesuffix("*")
        return uri.startswith(start) and len(uri) > len(start) if self.uri.endswith("/*") else uri == self.uri

    def fits_claims(self, claims: Mapping[str, Any]) -> bool:
        """Whether a token of these claims is the caller's."""
        return self.claims is not None and all(claims.get(name) == value for name, value in self.claims.items())

    def caller(self, *, tenant: str) -> Caller:
        """Who it is, in this tenant."""
        rights = frozenset(Right(right) for right in self.rights)
        return Caller(self.name, tenant=tenant, rights=rights, share=self.share)


@dataclass(frozen=True)
class Callers:
    """All entries."""

    rules: tuple[CallerRule, ...]

    @property
    def are_several(self) -> bool:
        """Whether more than one caller may come."""
        return len(self.rules) > 1 or self.have_tenants

    @property
    def have_tenants(self) -> bool:
        """Whether more than one tenant may come."""
        tenants = {rule.tenant or DEFAULT_TENANT for rule in self.rules}
        return len(tenants) > 1 or any(rule.tenant_claim is not None for rule in self.rules)

    @classmethod
    def load(cls, path: Path) -> Callers:
        """Reads the file. Raises FileUnusable, which names the entry at fault."""
        try:
            document = tomllib.loads(read_bounded(path).decode())
            entries = document.pop("caller", None)
            if document or not isinstance(entries, list) or not entries:
                raise FileUnusable(f"{path} must hold entries [[caller]] and nothing else")
            rules = tuple(CallerRule.model_validate(entry) for entry in entries)
        except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            raise FileUnusable(f"{path} is not TOML: {error}") from error
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise FileUnusable(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from error
        names = [rule.name for rule in rules]
        if len(set(names)) < len(names):
            raise FileUnusable(f"{path} names two callers alike")
        return cls(rules)

    def by_uri(self, uri: str) -> Caller:
        """Whose certificate it is. Raises CallerUnknown."""
        for rule in self.rules:
            if rule.fits_uri(uri):
                return rule.caller(tenant=rule.tenant or DEFAULT_TENANT)
        raise CallerUnknown(_UNKNOWN)

    def by_claims(self, claims: Mapping[str, Any]) -> Caller:
        """Whose token it is. Raises CallerUnknown."""
        for rule in self.rules:
            if rule.fits_claims(claims):
                return rule.caller(tenant=_tenant_of(rule, claims))
        raise CallerUnknown(_UNKNOWN)


def _tenant_of(rule: CallerRule, claims: Mapping[str, Any]) -> str:
    if rule.tenant_claim is None:
        return rule.tenant or DEFAULT_TENANT
    tenant = claims.get(rule.tenant_claim)
    try:
        check_tenant(tenant)  # type: ignore[arg-type]
    except InvalidInput as error:
        raise CallerUnknown(_UNKNOWN) from error
    if not tenant:  # the default tenant is given by the operator alone
        raise CallerUnknown(_UNKNOWN)
    return str(tenant)
