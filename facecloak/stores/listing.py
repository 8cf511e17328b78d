"""Who is enrolled: a tenant's masks, page by page, in the order of their objects' names, which follows nothing.

Every object is opened to learn whose it is. So a page costs as many reads as objects are looked at, other tenants' too,
and two for each of its own; where a key server wraps the keys, a call of it for each.
"""

from __future__ import annotations

import time
from typing import Protocol

from facecloak.errors import InvalidInput
from facecloak.masks.bank import StoredMask
from facecloak.masks.mask import MaskCorrupt
from facecloak.stores import envelope
from facecloak.stores.base import ObjectPlace
from facecloak.stores.errors import MaskNotFound, SealBroken, WrongKey
from facecloak.stores.key_check import KeyCheck
from facecloak.stores.mask_page import ListedMask, MaskPage
from facecloak.stores.names import TOMBSTONE_SUFFIX, StoreNames
from facecloak.stores.page_token import opened_token, sealed_token
from facecloak.users import User

MAX_PAGE = 1000
"""Most users of a page."""
# What one call does at most, however few of the objects are the tenant's.
_LOOKED_AT = 1000
_PAGE_SECONDS = 5.0


class OpenStore(Protocol):
    """What is asked of a store of sealed objects."""

    place: ObjectPlace
    key_check: KeyCheck

    def names(self) -> StoreNames:
        """What derives from the store's secret."""
        ...

    def opened(self, sealed: bytes, *, name: str) -> tuple[User | None, StoredMask]:
        """Whose mask it is, where the object says so, and the mask."""
        ...

    def buried_epoch(self, name: str) -> int:
        """Masks of this name up to this epoch are refused."""
        ...


def list_page(store: OpenStore, tenant: str, *, limit: int, token: str) -> MaskPage:
    """See :meth:`facecloak.stores.MaskStore.list_masks`."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(f"a page has 1 to {MAX_PAGE} users", field="page_size", limit=MAX_PAGE)
    names = store.names()
    after = opened_token(names, tenant, token) if token else ""
    began = time.monotonic()
    store.key_check.require(since=began)
    found: list[ListedMask] = []
    looked_at = unnamed = unreadable = 0
    for name in store.place.names(after=after):
        if len(found) == limit or looked_at == _LOOKED_AT or time.monotonic() - began > _PAGE_SECONDS:
            return MaskPage(tuple(found), sealed_token(names, tenant, after), unnamed, unreadable)
        after = name
        if name.endswith(TOMBSTONE_SUFFIX):
            continue
        looked_at += 1
        sealed = store.place.read(name)
        if sealed is None:  # deleted meanwhile
            continue
        try:
            owner, mask = store.opened(sealed, name=name)
        except MaskNotFound:  # erased
            continue
        except (SealBroken, WrongKey, MaskCorrupt):
            unreadable += 1
            continue
        if owner is None:
            unnamed += 1
        elif names.mask(owner) != name:
            unreadable += 1
        elif owner.tenant == tenant:
            epoch = envelope.epoch_of(sealed)
            # What came back of a user who was deleted is refused, and so it is not here.
            if epoch > store.buried_epoch(name):
                found.append(ListedMask.of(owner, mask, epoch=epoch))
    return MaskPage(tuple(found), "", unnamed, unreadable)
