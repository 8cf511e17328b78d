"""The interface of all mask stores."""

from __future__ import annotations

from typing import Protocol

from facecloak.masks.bank import MAX_BANK_BYTES, StoredMask, mask_from_bytes
from facecloak.stores.sealing import OVERHEAD_BYTES, Sealer

MAX_OBJECT_BYTES = MAX_BANK_BYTES + OVERHEAD_BYTES
"""Largest stored object; nothing longer is ever read into memory."""


class MaskStore(Protocol):
    """Keeps at most one mask, or bank of masks, a user, sealed, under a name that does not tell the user. Safe to share
    between threads.

    Every method raises :class:`InvalidUserId` for an impossible user id and :class:`StoreUnavailable` when the store
    does not answer in bounded time.
    """

    def put(self, user_id: str, mask: StoredMask) -> None:
        """Keep ``mask``, in place of the user's earlier one; when this returns, it is durable."""
        ...

    def get(self, user_id: str) -> StoredMask:
        """The user's mask.

        Raises:
            MaskNotFound: there is none.
            MaskCorrupt, SealBroken, WrongKey: there is one, and it cannot be used.
        """
        ...

    def delete(self, user_id: str) -> bool:
        """Remove the user's mask; whether there was one."""
        ...

    def version(self, user_id: str) -> str | None:
        """Changes whenever the mask does; None where there is none. Much cheaper than :meth:`get`: for caches."""
        ...

    def user_key(self, user_id: str) -> bytes:
        """A secret of this user under this store's key, the same for all of their masks. Asks no server."""
        ...

    def probe(self) -> None:
        """Prove that the store can be written and read now; raises :class:`StoreUnavailable`."""
        ...

    def probe_reading(self) -> None:
        """Prove that the store can be read now, for those who may not write; raises :class:`StoreUnavailable`."""
        ...


def seal_mask(sealer: Sealer, mask: StoredMask, *, name: str) -> bytes:
    """The object to store for ``mask``."""
    return sealer.seal(mask.to_bytes(), name=name)


def open_mask(sealer: Sealer, sealed: bytes, *, name: str) -> StoredMask:
    """The mask in a stored object; raises :class:`SealBroken`, :class:`WrongKey`, :class:`MaskCorrupt`."""
    return mask_from_bytes(sealer.open(sealed, name=name))
