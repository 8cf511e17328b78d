"""The key check: one sealed object of a fixed name that holds the store's secret, so that a wrong key is told from no
mask.

Names of masks derive from that secret (:mod:`facecloak.stores.names`): without it, or at another place, nobody has a
mask. Only a key check that opens makes an absent mask an absent mask. In stores of releases with a single key the
secret is that key. Every mask keeps a copy of the secret, so a key check that was lost is made anew from one of them.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress

from facecloak.stores import envelope, sealing
from facecloak.stores.base import ObjectPlace
from facecloak.stores.envelope import Kind
from facecloak.stores.errors import KeyCheckBroken, SealBroken, StoreUnavailable, WrongKey
from facecloak.stores.key_providers.base import Keyring
from facecloak.stores.keys import KEY_BYTES
from facecloak.stores.names import StoreNames
from facecloak.stores.sealing import Sealer

KEY_CHECK = "key-check"
"""The object's name."""

# Masks to try in a store without a key check: of a store that two keys wrote to, the one that wrote most must do.
_SAMPLE = 16
_OLD_CONTENT = b"facecloak key check 1"


class KeyCheck:
    """Whether a place was sealed with a key of this keyring, and the place's secret. Thread safe."""

    def __init__(self, place: ObjectPlace, keyring: Keyring, *, begins: bool) -> None:
        """``begins``: whether a place without masks becomes a new store of this key; otherwise it is a wrong place."""
        self._place = place
        self._keyring = keyring
        self._begins = begins
        self._names: StoreNames | None = None
        self._verified_at = float("-inf")

    def names(self) -> StoreNames:
        """What derives from the store's secret; reads the key check the first time. Where that is damaged, masks that
        are there can be read still, and nothing is said of others. Raises as :meth:`verify`."""
        if self._names is None:
            try:
                return self.verify()
            except KeyCheckBroken:
                found = self._place.mask_names(_SAMPLE)
                if not found:
                    raise
                self._names = self._names_by_one_of(found)
        return self._names

    def require(self, *, since: float) -> None:
        """As :meth:`verify`, unless that succeeded after ``since`` (time.monotonic()), or not long before."""
        if self._verified_at < since - self._place.absence_seconds:
            self.verify()

    def verify(self) -> StoreNames:
        """Reads the key check.

        Raises:
            WrongKey: the store was sealed with another key.
            StoreUnavailable: it does not answer, or the place is no store: not begun, or not there any more.
            KeyCheckBroken: the key check is damaged.
        """
        asked_at = time.monotonic()
        if self._begins and self._names is None:
            self._place.begin()
        sealed = self._place.read(KEY_CHECK)
        names = self._open(sealed) if sealed is not None else self._verify_without()
        if self._names is None:
            self._names = names
        elif self._names != names:
            raise StoreUnavailable(
                "The mask store is another one than before.",
                fault="StoreReplaced",
                advice="is the volume, bucket or prefix the same? To go on with this store, start the services again",
            )
        self._verified_at = asked_at
        return self._names

    def _verify_without(self) -> StoreNames:
        found = self._place.mask_names(_SAMPLE)
        if found:
            names = self._names_by_one_of(found)
            if self._begins:
                # Who cannot write now still knows that the key is right.
                with suppress(StoreUnavailable):
                    return self._write(names)
            return names
        if self._names is not None:
            raise StoreUnavailable(
                "The mask store is empty now and was not before.",
                fault="StoreVanished",
                advice="is the volume mounted, the bucket the same? To begin anew on purpose, start the services again",
            )
        if self._begins:
            return self._write(StoreNames(secrets.token_bytes(KEY_BYTES)))
        raise StoreUnavailable(
            "There is no mask store at this place: neither masks nor a key check.",
            fault="NoStoreHere",
            advice="check bucket, prefix or folder; a new store is begun by the enrollment service when it starts",
        )

    def _write(self, names: StoreNames) -> StoreNames:
        if not self._place.write_new(KEY_CHECK, self.sealed(names)):
            sealed = self._place.read(KEY_CHECK)
            if sealed is not None:
                return self._open(sealed)
        return names

    def sealed(self, names: StoreNames) -> bytes:
        """The key check of a store with this secret."""
        return envelope.seal(names.secret, keyring=self._keyring, name=KEY_CHECK, kind=Kind.SECRET)

    def _open(self, sealed: bytes) -> StoreNames:
        try:
            content = envelope.open_sealed(sealed, keyring=self._keyring, name=KEY_CHECK, kind=Kind.SECRET)
            if sealed.startswith(sealing.MAGIC):
                if content != _OLD_CONTENT:
                    raise SealBroken("The key check holds something else.")
                return StoreNames(self._keyring.sealer(Sealer.key_id_of(sealed)).secret)
            if len(content) != KEY_BYTES:
                raise SealBroken("The key check holds something else.")
            return StoreNames(bytes(content))
        except WrongKey as error:
            raise WrongKey("The mask store was sealed with another key.", **error.metadata) from error
        except SealBroken as error:
            raise KeyCheckBroken("The mask store's key check is damaged.") from error

    def _names_by_one_of(self, found: list[str]) -> StoreNames:
        failure: WrongKey | SealBroken | None = None
        for name in found:
            sealed = self._place.read(name)
            if sealed is None:
                continue
            try:
                content = envelope.open_sealed(sealed, keyring=self._keyring, name=name, kind=Kind.MASK)
            except (WrongKey, SealBroken) as error:
                # Damage may hit any mask, another key all of them.
                failure = error if failure is None or isinstance(error, WrongKey) else failure
            else:
                if sealed.startswith(sealing.MAGIC):
                    return StoreNames(self._keyring.sealer(Sealer.key_id_of(sealed)).secret)
                return StoreNames(bytes(content[:KEY_BYTES]))
        if failure is None:
            raise StoreUnavailable("The mask store changes too fast to be checked.", fault="Busy")
        raise failure
