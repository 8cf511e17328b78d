"""The interface of all mask stores, and of the places they keep objects in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from facecloak.masks.bank import MAX_BANK_BYTES, StoredMask
from facecloak.stores.envelope import OVERHEAD_BYTES
from facecloak.stores.keys import KEY_BYTES
from facecloak.stores.mask_page import MaskPage
from facecloak.stores.owner import MAX_OWNER_BYTES
from facecloak.stores.receipts import DeletionReceipt
from facecloak.users import User

MAX_OBJECT_BYTES = MAX_BANK_BYTES + KEY_BYTES + MAX_OWNER_BYTES + OVERHEAD_BYTES
"""Largest stored object; nothing longer is ever read into memory."""


class MaskStore(Protocol):
    """Keeps at most one mask, or bank of masks, a user, sealed, under a name that does not tell the user. Safe to share
    between threads.

    That a user has no mask is said only where it is known: the place itself says that there is no such object, and its
    key check says that it was sealed with this key. Every method raises :class:`WrongKey` where the store was
    sealed with another key, and :class:`StoreUnavailable` when the store does not answer within its own time and the
    context's (:data:`facecloak.call_context.deadline`), or answers as no store would.
    """

    def epoch(self, user: User) -> int:
        """Of a mask that the user consents to now, from 1: every deletion of the user raises it by one."""
        ...

    def put(self, user: User, mask: StoredMask, *, epoch: int | None = None) -> None:
        """Keep ``mask``, in place of the user's earlier one; when this returns, it is durable. Where the store's answer
        is lost, what it did is read back.

        Args:
            epoch: what :meth:`epoch` said when the mask was asked for; by default what it says now.

        Raises:
            UserDeleted: the user was deleted since ``epoch``; nothing was kept.
        """
        ...

    def get(self, user: User) -> StoredMask:
        """The user's mask.

        Raises:
            MaskNotFound: there is none, or one from before the user was deleted.
            MaskCorrupt, SealBroken, WrongKey: there is one, and it cannot be used.
        """
        ...

    def delete(self, user: User) -> bool:
        """As :meth:`erase`; whether there was a mask."""
        ...

    def erase(self, user: User) -> DeletionReceipt:
        """Remove the user's mask with all its versions, and refuse whatever was made before: a tombstone is written
        first. When this returns, the store has said that the mask is gone."""
        ...

    def deleted_receipt(self, user: User) -> Mapping[str, str]:
        """By which request the mask was made that was last deleted (:attr:`facecloak.masks.mask.Mask.receipt`); empty
        where that is not known."""
        ...

    def version(self, user: User) -> str | None:
        """Changes whenever the mask does; None where there is none. Much cheaper than :meth:`get`: for caches."""
        ...

    def user_key(self, user: User) -> bytes:
        """A secret of this user in this store, the same for all of their masks. Asks the server once."""
        ...

    def list_masks(self, tenant: str, *, limit: int, token: str = "") -> MaskPage:
        """A page of the tenant's masks. What comes or goes meanwhile may be missed.

        Args:
            limit: most masks of the page, 1 to 1000. A page may hold fewer, or none, before the last.
            token: what the page before said comes next; "" for the first.

        Raises:
            InvalidInput: the limit is out of range, or the token is not one of this store's for this tenant.
        """
        ...

    def probe(self) -> None:
        """Prove that the store answers and was sealed with this key; begin it where it is new. Writes nothing to one
        that has begun, unless the last write failed or there was none yet: then it proves that it can be written."""
        ...

    def probe_reading(self) -> None:
        """Prove that the store answers, has begun and was sealed with this key, for those who may not write."""
        ...

    def prove_writing(self) -> None:
        """Write an object, read it and remove it with all its versions; raises :class:`StoreUnavailable`."""
        ...


class ObjectPlace(Protocol):
    """Where sealed objects lie, by name: a folder or a bucket. Safe to share between threads.

    ``None`` is returned only where the place itself says that it holds no object of that name. Every method raises
    :class:`StoreUnavailable` for everything else than an answer.
    """

    absence_seconds: float
    """How long the key check that was read last vouches for the place; 0: not at all, it is read each time."""

    def read(self, name: str) -> bytes | None:
        """The object, at most MAX_OBJECT_BYTES + 1 of it."""
        ...

    def version(self, name: str) -> str | None:
        """Changes whenever the object does."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Make or replace the object, durably."""
        ...

    def write_new(self, name: str, data: bytes) -> bool:
        """Make the object unless it exists; of concurrent writers one wins. Whether this one did."""
        ...

    def replace(self, name: str, data: bytes, version: str) -> bool:
        """Replace the object if it is ``version`` still, durably; whether it was. Nothing that was written meanwhile is
        overwritten."""
        ...

    def read_version(self, name: str) -> tuple[bytes, str] | None:
        """The object, as :meth:`read`, and its version."""
        ...

    def remove(self, name: str) -> None:
        """Remove the object with all its versions, if it is there."""
        ...

    def remove_old_versions(self, name: str) -> None:
        """Remove all versions of the object but the present one, where the place keeps versions."""
        ...

    def names(self, *, after: str = "") -> Iterator[str]:
        """Names of all masks and tombstones, or of those that come after one in their order, which is always the same.
        What comes or goes meanwhile may be missed."""
        ...

    def prove_conditions(self) -> None:
        """Prove that :meth:`replace` keeps its word; raises :class:`StoreUnavailable` (fault NoConditions)."""
        ...

    def mask_names(self, limit: int) -> list[str]:
        """Names of up to ``limit`` masks, in no particular order; empty where the place says that it holds none."""
        ...

    def begin(self) -> None:
        """Make the place where it is missing and can be made."""
        ...

    def prove_writing(self) -> None:
        """See :meth:`MaskStore.prove_writing`."""
        ...
