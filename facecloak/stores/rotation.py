"""Changing the wrapping key of a store while it is used: every object's data key is wrapped anew, what it seals stays.

Each object is replaced only if it is what was read, so an enrollment or a deletion at the same time is never undone:
theirs is wrapped by the new key already. What was done is in the objects themselves, so a rotation that was broken off
is begun again, and passes over what is done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.stores import envelope, sealing
from facecloak.stores.envelope import Kind
from facecloak.stores.errors import SealBroken, WrongKey
from facecloak.stores.key_check import KEY_CHECK
from facecloak.stores.sealed import SealedMaskStore, wipe

_ATTEMPTS = 8


class KeyInUse(FaceCloakError):
    """A key that objects still need, or that is to write, cannot be retired."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "KEY_IN_USE"
    advice = "facecloak keys rotate"


@dataclass(frozen=True)
class Rotation:
    """What a rotation did.

    Attributes:
        rewrapped: objects that were wrapped anew.
        current: those that were by the writing key already.
        unreadable: those that no key here opens, or that are damaged; they are as they were.
        changed: those that others changed again and again meanwhile; begin again for them.
    """

    rewrapped: int = 0
    current: int = 0
    unreadable: int = 0
    changed: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether every object needs the writing key alone."""
        return not self.unreadable and not self.changed


def rotate(store: SealedMaskStore, *, progress: Callable[[int], None] = lambda _: None) -> Rotation:
    """Wraps what is not wrapped by the writing key yet; ``progress`` is told how many objects were looked at.

    Raises:
        StoreUnavailable: the store fails, or takes no conditional writes (fault NoConditions).
        WrongKey, KeyUnusable, KeyServerUnavailable: the store, or the writing key, cannot be used at all.
    """
    store.key_check.verify()
    store.place.prove_conditions()
    store.keyring.refresh()
    counts: Counter[str] = Counter()
    for number, name in enumerate(_names(store), start=1):
        counts[_rewrap(store, name)] += 1
        progress(number)
    counts.pop("gone", None)
    return Rotation(**counts)


def needs(store: SealedMaskStore) -> dict[str, int]:
    """Key id -> number of objects that need it; damaged objects count under ""."""
    counts: Counter[str] = Counter()
    for name in _names(store):
        sealed = store.place.read(name)
        if sealed is not None:
            try:
                counts[envelope.key_id_of(sealed)] += 1
            except SealBroken:
                counts[""] += 1
    return dict(counts)


def require_unneeded(store: SealedMaskStore, key_id: str) -> None:
    """Raises :class:`KeyInUse` while the key writes, or an object needs it."""
    if key_id == store.keyring.writing_key_id():
        raise KeyInUse("This key wraps what is written: let another one do so first.", key=key_id)
    count = needs(store).get(key_id, 0)
    if count:
        raise KeyInUse(f"{count} objects need this key still.", key=key_id, objects=count)


def _names(store: SealedMaskStore) -> Iterator[str]:
    # First, so that a store that is rotated half is opened by the new key alone as soon as by both.
    yield KEY_CHECK
    yield from store.place.names()


def _rewrap(store: SealedMaskStore, name: str) -> str:
    for _ in range(_ATTEMPTS):
        found = store.place.read_version(name)
        if found is None:
            return "gone"
        sealed, version = found
        try:
            if envelope.header_of(sealed) is not None and envelope.key_id_of(sealed) == store.keyring.writing_key_id():
                return "current"
            changed = _rewrapped(store, name, sealed)
        except (SealBroken, WrongKey):
            return "unreadable"
        if store.place.replace(name, changed, version):
            return "rewrapped"
    return "changed"


def _rewrapped(store: SealedMaskStore, name: str, sealed: bytes) -> bytes:
    if not sealed.startswith(sealing.MAGIC):
        return envelope.rewrapped(sealed, keyring=store.keyring, name=name)
    # Of a release without data keys: it gets one.
    if name == KEY_CHECK:
        return store.key_check.sealed(store.names())
    mask = envelope.open_sealed(sealed, keyring=store.keyring, name=name, kind=Kind.MASK)
    content = bytearray(store.names().secret) + mask
    try:
        return envelope.seal(content, keyring=store.keyring, name=name, kind=Kind.MASK, epoch=1)
    finally:
        wipe(mask)
        wipe(content)
