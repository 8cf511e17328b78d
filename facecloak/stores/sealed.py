"""Masks over any place of objects: sealed, named, and absent only where that is known."""

from __future__ import annotations

import time
from collections.abc import Callable

from facecloak.masks.bank import StoredMask, mask_from_bytes
from facecloak.stores.base import ObjectPlace
from facecloak.stores.errors import MaskNotFound, StoreUnavailable
from facecloak.stores.key_check import KeyCheck
from facecloak.stores.sealing import Sealer
from facecloak.users import User


class SealedMaskStore:
    """A :class:`facecloak.stores.MaskStore` of sealed objects at ``place``."""

    def __init__(
        self, place: ObjectPlace, sealer: Sealer, *, begins: bool = True, check_key: Callable[[], None] = lambda: None
    ) -> None:
        """Contacts nothing yet.

        Args:
            begins: whether an empty place becomes a new store; no for those who only read.
            check_key: called by the probes; raises where the service should have another key by now than ``sealer``.
        """
        self._place = place
        self._sealer = sealer
        self._key = KeyCheck(place, sealer, begins=begins)
        self._check_key = check_key
        self._writing_proven = False

    def put(self, user: User, mask: StoredMask) -> None:
        """See :class:`facecloak.stores.MaskStore`."""
        name = self._sealer.object_name(user)
        self._key.require(since=time.monotonic())
        sealed = self._sealer.seal(mask.to_bytes(), name=name)
        try:
            self._place.write(name, sealed)
        except StoreUnavailable:
            self._writing_proven = False
            # The nonce is random: these very bytes are there only if this very call wrote them.
            if self._place.read(name) != sealed:
                raise

    def get(self, user: User) -> StoredMask:
        """See :class:`facecloak.stores.MaskStore`."""
        name = self._sealer.object_name(user)
        asked_at = time.monotonic()
        sealed = self._place.read(name)
        if sealed is None:
            self._key.require(since=asked_at)
            raise MaskNotFound("The user has no mask.")
        return mask_from_bytes(self._sealer.open(sealed, name=name))

    def delete(self, user: User) -> bool:
        """See :class:`facecloak.stores.MaskStore`."""
        before = self.version(user)
        if before is None:
            return False
        name = self._sealer.object_name(user)
        failure: StoreUnavailable | None = None
        try:
            self._place.remove(name)
        except StoreUnavailable as error:
            failure = error
        # Whatever it answered, and if it did not: what counts is that the object is gone.
        after = self.version(user)
        if after is not None and failure is not None:
            raise failure
        if after == before:
            raise StoreUnavailable("The mask store does not remove what it is told to.", fault="NotRemoved")
        return True  # one that is newer was put there meanwhile

    def version(self, user: User) -> str | None:
        """See :class:`facecloak.stores.MaskStore`."""
        name = self._sealer.object_name(user)
        asked_at = time.monotonic()
        version = self._place.version(name)
        if version is None:
            self._key.require(since=asked_at)
        return version

    def user_key(self, user: User) -> bytes:
        """See :class:`facecloak.stores.MaskStore`."""
        return self._sealer.user_key(user)

    def probe(self) -> None:
        """See :class:`facecloak.stores.MaskStore`."""
        self.probe_reading()
        if not self._writing_proven:
            self.prove_writing()

    def probe_reading(self) -> None:
        """See :class:`facecloak.stores.MaskStore`."""
        self._check_key()
        self._key.verify()

    def prove_writing(self) -> None:
        """See :class:`facecloak.stores.MaskStore`."""
        self._place.prove_writing()
        self._writing_proven = True
