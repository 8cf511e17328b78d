"""Erasing masks whose consent is over, and what was left of users who were deleted.

A mask is replaced, only if it is the one that was looked at, by an object that holds nothing; then its earlier versions
are removed. So who consents anew at the same time keeps the new mask. That no mask comes back after its consent is over
needs no tombstone: it carries its expiry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from facecloak.masks.mask import MaskCorrupt
from facecloak.stores import envelope
from facecloak.stores.envelope import Kind
from facecloak.stores.errors import SealBroken, WrongKey
from facecloak.stores.names import TOMBSTONE_SUFFIX
from facecloak.stores.sealed import SealedMaskStore


@dataclass(frozen=True)
class Erasure:
    """What was done: masks erased because their ``consent`` was over, masks erased of users who were ``deleted``, masks
    ``kept``, and ``unreadable`` ones, which are as they were."""

    consent: int = 0
    deleted: int = 0
    kept: int = 0
    unreadable: int = 0


def erase_expired(store: SealedMaskStore, *, erased: Callable[[str, str], None] = lambda _n, _w: None) -> Erasure:
    """Looks at every mask; ``erased`` is told the name of each that was erased, and why (consent or deleted).

    Raises:
        StoreUnavailable: the store fails, or takes no conditional writes.
    """
    store.key_check.verify()
    store.place.prove_conditions()
    counts = {"consent": 0, "deleted": 0, "kept": 0, "unreadable": 0}
    for name in store.place.names():
        if name.endswith(TOMBSTONE_SUFFIX):
            continue
        found = store.place.read_version(name)
        if found is None:
            continue
        sealed, version = found
        try:
            why = _reason(store, name, sealed)
        except (SealBroken, WrongKey, MaskCorrupt):
            counts["unreadable"] += 1
            continue
        # Where it is another one by now, its consent is another one too.
        if why is None or not store.place.replace(name, _nothing(store, name, sealed), version):
            counts["kept"] += 1
            continue
        store.place.remove_old_versions(name)
        counts[why] += 1
        erased(name, why)
    return Erasure(**counts)


def _reason(store: SealedMaskStore, name: str, sealed: bytes) -> str | None:
    """Why the mask is to go; None where it is to stay."""
    header = envelope.header_of(sealed)
    if header is not None and header.kind is Kind.ERASED:
        return None
    if envelope.epoch_of(sealed) <= store.buried_epoch(name):
        return "deleted"
    consent = store.mask_in(sealed, name=name).consent
    return "consent" if consent is not None and consent.has_expired() else None


def _nothing(store: SealedMaskStore, name: str, sealed: bytes) -> bytes:
    epoch = envelope.epoch_of(sealed)
    return envelope.seal(store.names().secret, keyring=store.keyring, name=name, kind=Kind.ERASED, epoch=epoch)
