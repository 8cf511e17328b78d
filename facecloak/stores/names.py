"""What derives from a store's secret, and so goes on whatever key wraps it: objects' names and each user's keys.

A store of a release with a single key has that key as its secret, so its names stay as they were.
"""

from __future__ import annotations

import hmac

from facecloak.stores import keys
from facecloak.users import User

TOMBSTONE_SUFFIX = ".gone"


class StoreNames:
    """Names and keys of one store's users. Safe to share between threads."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self._name_key = keys.derive(secret, "name")
        self._marker_key = keys.derive(secret, "marker")
        self._pseudonym_key = keys.derive(secret, "pseudonym")
        self.receipt_key = keys.derive(secret, "receipt")
        """Seed of the Ed25519 key that signs receipts of deletion."""
        self.audit_key = keys.derive(secret, "audit")
        """Of the chain of the audit log."""
        self.page_key = keys.derive(secret, "page-token")
        """Seals the tokens that ask for the next page of a list."""
        self.store_id = keys.derive(secret, "store-id", length=keys.KEY_ID_BYTES).hex()
        """Public name of the store, the same whatever key wraps its secret."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoreNames) and hmac.compare_digest(self.secret, other.secret)

    def __hash__(self) -> int:
        return hash(self.store_id)

    def __repr__(self) -> str:
        return f"StoreNames({self.store_id})"

    def mask(self, user: User) -> str:
        """The name of the user's mask, 64 hex digits."""
        return keys.object_name(self._name_key, user)

    def user_key(self, user: User) -> bytes:
        """32 bytes by which the user's cloaked photos know each other, whatever mask they bear."""
        return bytes.fromhex(keys.object_name(self._marker_key, user))

    def pseudonym(self, user: User) -> str:
        """What stands for the user in the audit log: always the same, 32 hex digits, and nothing to who lacks the
        store's secret."""
        return keys.object_name(self._pseudonym_key, user)[:32]


def tombstone_of(mask_name: str) -> str:
    """The name of the object that says that a user was deleted."""
    return mask_name + TOMBSTONE_SUFFIX
