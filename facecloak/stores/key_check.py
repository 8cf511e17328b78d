"""The key check: one sealed object whose name does not depend on the key, so that a wrong key is told from no mask.

Names of masks derive from the key (:mod:`facecloak.stores.keys`): with another key, or at another place, nobody has a
mask. Only a key check that opens makes an absent mask an absent mask. Stores of releases that made none are checked by
opening one of their masks.
"""

from __future__ import annotations

import time
from contextlib import suppress

from facecloak.stores.base import ObjectPlace
from facecloak.stores.errors import KeyCheckBroken, SealBroken, StoreUnavailable, WrongKey
from facecloak.stores.sealing import Sealer

KEY_CHECK = "key-check"
"""The object's name."""

# Masks to try in a store without a key check: of a store that two keys wrote to, the one that wrote most must do.
_SAMPLE = 16
_CONTENT = b"facecloak key check 1"


class KeyCheck:
    """Whether a place was sealed with this key. Thread safe."""

    def __init__(self, place: ObjectPlace, sealer: Sealer, *, begins: bool) -> None:
        """``begins``: whether a place without masks becomes a new store of this key; otherwise it is a wrong place."""
        self._place = place
        self._sealer = sealer
        self._begins = begins
        self._began = False
        self._verified_at = float("-inf")

    def require(self, *, since: float) -> None:
        """As :meth:`verify`, unless that succeeded after ``since`` (time.monotonic()), or not long before."""
        if self._verified_at < since - self._place.absence_seconds:
            self.verify()

    def verify(self) -> None:
        """Reads the key check.

        Raises:
            WrongKey: the store was sealed with another key.
            StoreUnavailable: it does not answer, or the place is no store: not begun, or not there any more.
            KeyCheckBroken: the key check is damaged.
        """
        asked_at = time.monotonic()
        if self._begins and not self._began:
            self._place.begin()
        sealed = self._place.read(KEY_CHECK)
        if sealed is not None:
            self._open(sealed)
        else:
            self._verify_without()
        self._began = True
        self._verified_at = asked_at

    def _verify_without(self) -> None:
        names = self._place.mask_names(_SAMPLE)
        if names:
            self._open_one_of(names)
            if self._begins:
                # Who cannot write now still knows that the key is right.
                with suppress(StoreUnavailable):
                    self._write()
        elif self._began:
            raise StoreUnavailable(
                "The mask store is empty now and was not before.",
                fault="StoreVanished",
                advice="is the volume mounted, the bucket the same? To begin anew on purpose, start the services again",
            )
        elif self._begins:
            self._write()
        else:
            raise StoreUnavailable(
                "There is no mask store at this place: neither masks nor a key check.",
                fault="NoStoreHere",
                advice="check bucket, prefix or folder; a new store is begun by the enrollment service when it starts",
            )

    def _write(self) -> None:
        if not self._place.write_new(KEY_CHECK, self._sealer.seal(_CONTENT, name=KEY_CHECK)):
            sealed = self._place.read(KEY_CHECK)
            if sealed is not None:
                self._open(sealed)

    def _open(self, sealed: bytes) -> None:
        try:
            self._sealer.open(sealed, name=KEY_CHECK)
        except WrongKey as error:
            raise WrongKey("The mask store was sealed with another key.", **error.metadata) from error
        except SealBroken as error:
            raise KeyCheckBroken("The mask store's key check is damaged.") from error

    def _open_one_of(self, names: list[str]) -> None:
        failure: WrongKey | SealBroken | None = None
        for name in names:
            sealed = self._place.read(name)
            if sealed is None:
                continue
            try:
                self._sealer.open(sealed, name=name)
            except (WrongKey, SealBroken) as error:
                # Damage may hit any mask, another key all of them.
                failure = error if failure is None or isinstance(error, WrongKey) else failure
            else:
                return
        if failure is None:
            raise StoreUnavailable("The mask store changes too fast to be checked.", fault="Busy")
        raise failure
