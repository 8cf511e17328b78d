"""Who a mask belongs to: a user of a tenant. The same id under two tenants names two users."""

from __future__ import annotations

import re
from dataclasses import dataclass

from facecloak.errors import InvalidInput
from facecloak.limits import check_user_id

DEFAULT_TENANT = ""
"""The tenant of installations that have only one."""

MAX_TENANT_CHARACTERS = 64
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class InvalidTenant(InvalidInput):
    """A tenant's name that is none."""

    reason = "INVALID_TENANT"


@dataclass(frozen=True, slots=True)
class User:
    """One user.

    Attributes:
        tenant: "" is the default one; otherwise 1 to 64 characters of A-Z a-z 0-9 . _ -, the first a letter or a digit.
        user_id: the platform's name for the user, see :func:`facecloak.limits.check_user_id`.

    Raises:
        InvalidUserId, InvalidTenant: one of them cannot be.
    """

    tenant: str
    user_id: str

    def __post_init__(self) -> None:
        check_tenant(self.tenant)
        check_user_id(self.user_id)

    def __repr__(self) -> str:
        # User ids belong in no log line.
        return f"User(tenant={self.tenant!r})"

    def to_bytes(self) -> bytes:
        """What names are derived from: differs between any two users, and is the bare id for the default tenant, as it
        was before there were others. Neither part can hold the NUL that parts them."""
        return (f"\0{self.tenant}\0{self.user_id}" if self.tenant else self.user_id).encode()


def check_tenant(tenant: str) -> None:
    """Raises :class:`InvalidTenant` unless it can be a :attr:`User.tenant`."""
    if not isinstance(tenant, str) or (tenant and not _TENANT.fullmatch(tenant)):
        raise InvalidTenant("a tenant's name has 1 to 64 characters of A-Z a-z 0-9 . _ -", field="tenant")
