"""Masks over any place of objects: sealed, named, absent only where that is known, and gone for good once deleted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from facecloak.masks.bank import StoredMask, mask_from_bytes
from facecloak.masks.mask import MaskCorrupt
from facecloak.stores import envelope, sealing
from facecloak.stores.base import ObjectPlace
from facecloak.stores.envelope import Kind
from facecloak.stores.errors import ConsentExpired, MaskNotFound, SealBroken, StoreUnavailable, UserDeleted, WrongKey
from facecloak.stores.key_check import KeyCheck
from facecloak.stores.key_providers import Keyring, LocalKeys
from facecloak.stores.keys import KEY_BYTES
from facecloak.stores.listing import list_page
from facecloak.stores.mask_page import MaskPage
from facecloak.stores.names import StoreNames, tombstone_of
from facecloak.stores.owner import owner_in, owner_to_bytes
from facecloak.stores.receipts import DeletionReceipt
from facecloak.stores.sealing import Sealer
from facecloak.users import User

# Of two deletions at once one writes the tombstone, and the other finds it; more than two are rare.
_ATTEMPTS = 8


@dataclass(frozen=True)
class Tombstone:
    """That a user was deleted: masks up to ``epoch`` are refused.

    Attributes:
        receipt: by which request the last of those masks was made, as digests: it is not to make it again.
    """

    epoch: int = 0
    deleted_at: str = ""
    receipt: Mapping[str, str] = field(default_factory=dict)


class SealedMaskStore:
    """A :class:`facecloak.stores.MaskStore` of sealed objects at ``place``."""

    def __init__(
        self,
        place: ObjectPlace,
        keys: Keyring | Sealer,
        *,
        begins: bool = True,
        check_key: Callable[[], None] = lambda: None,
    ) -> None:
        """Contacts nothing yet.

        Args:
            keys: a single key, too.
            begins: whether an empty place becomes a new store; no for those who only read.
            check_key: called by the probes; raises where the service should have another key by now.
        """
        self.place = place
        self.keyring = Keyring([LocalKeys([keys])]) if isinstance(keys, Sealer) else keys
        self.key_check = KeyCheck(place, self.keyring, begins=begins)
        self._check_key = check_key
        self._writing_proven = False

    def names(self) -> StoreNames:
        """What derives from the store's secret."""
        return self.key_check.names()

    def epoch(self, user: User) -> int:
        """See :class:`facecloak.stores.MaskStore`."""
        return self._tombstone(self.names().mask(user))[0].epoch + 1

    def put(self, user: User, mask: StoredMask, *, epoch: int | None = None) -> None:
        """See :class:`facecloak.stores.MaskStore`."""
        name = self.names().mask(user)
        self.key_check.require(since=time.monotonic())
        last = self._tombstone(name)[0].epoch
        epoch = last + 1 if epoch is None else epoch
        if epoch <= last:
            raise UserDeleted("The user was deleted meanwhile.")
        content = bytearray(self.names().secret + owner_to_bytes(user) + mask.to_bytes())
        sealed = envelope.seal(content, keyring=self.keyring, name=name, kind=Kind.MASK, epoch=epoch)
        wipe(content)
        try:
            self.place.write(name, sealed)
        except StoreUnavailable:
            self._writing_proven = False
            # The nonce is random: these very bytes are there only if this very call wrote them.
            if self.place.read(name) != sealed:
                raise
        # A deletion at another replica may have looked before the mask was there. It is refused whatever happens here.
        if self._tombstone(name)[0].epoch >= epoch:
            self.place.remove(name)
            raise UserDeleted("The user was deleted meanwhile.")

    def get(self, user: User) -> StoredMask:
        """See :class:`facecloak.stores.MaskStore`."""
        name = self.names().mask(user)
        asked_at = time.monotonic()
        sealed = self.place.read(name)
        if sealed is None:
            self.key_check.require(since=asked_at)
            raise MaskNotFound("The user has no mask.")
        mask = self.mask_in(sealed, name=name)
        if envelope.epoch_of(sealed) <= self._tombstone(name)[0].epoch:
            raise MaskNotFound("The user has no mask: what is there is from before the user was deleted.")
        require_consent(mask)
        return mask

    def buried_epoch(self, name: str) -> int:
        """Masks of this name up to this epoch are refused; 0 where none is."""
        return self._tombstone(name)[0].epoch

    def mask_in(self, sealed: bytes, *, name: str) -> StoredMask:
        """The mask of a sealed object; raises MaskNotFound where it was erased, MaskCorrupt, SealBroken, WrongKey."""
        return self.opened(sealed, name=name)[1]

    def opened(self, sealed: bytes, *, name: str) -> tuple[User | None, StoredMask]:
        """As :meth:`mask_in`; and whose mask it is, where the object says so."""
        header = envelope.header_of(sealed)
        if header is not None and header.kind is Kind.ERASED:
            envelope.open_sealed(sealed, keyring=self.keyring, name=name, kind=Kind.ERASED)
            raise MaskNotFound("The user has no mask: it was erased when the consent was over.")
        content = envelope.open_sealed(sealed, keyring=self.keyring, name=name, kind=Kind.MASK)
        start = 0 if sealed.startswith(sealing.MAGIC) else KEY_BYTES
        try:
            owner, file = owner_in(memoryview(content)[start:])
            return owner, mask_from_bytes(bytes(file))
        finally:
            wipe(content)

    def delete(self, user: User) -> bool:
        """See :class:`facecloak.stores.MaskStore`."""
        return self.erase(user).found

    def erase(self, user: User) -> DeletionReceipt:
        """See :class:`facecloak.stores.MaskStore`."""
        names = self.names()
        found, epoch = self.erase_name(names.mask(user))
        return DeletionReceipt.signed(names, user, epoch=epoch, found=found)

    def erase_name(self, name: str) -> tuple[bool, int]:
        """As :meth:`erase`, by the mask's name: whether there was a mask, and up to which epoch masks are refused."""
        self.key_check.require(since=time.monotonic())
        sealed = self.place.read(name)
        epoch = self._bury(name, sealed)
        failure: StoreUnavailable | None = None
        # Without a mask, too: a versioned bucket may hold earlier ones under a delete marker.
        try:
            self.place.remove(name)
        except StoreUnavailable as error:
            failure = error
        if sealed is None:
            if failure is not None:
                raise failure
            return False, epoch
        # Whatever it answered, and if it did not: what counts is that the object is gone.
        after = self.place.read(name)
        if failure is not None and (after is not None or failure.fault in _VERSIONS_STAY):
            raise failure
        if after == sealed:
            raise StoreUnavailable("The mask store does not remove what it is told to.", fault="NotRemoved")
        return True, epoch  # one that is newer was put there meanwhile

    def deleted_receipt(self, user: User) -> Mapping[str, str]:
        """See :class:`facecloak.stores.MaskStore`."""
        return self._tombstone(self.names().mask(user))[0].receipt

    def version(self, user: User) -> str | None:
        """See :class:`facecloak.stores.MaskStore`."""
        name = self.names().mask(user)
        asked_at = time.monotonic()
        version = self.place.version(name)
        if version is None:
            self.key_check.require(since=asked_at)
            return None
        tombstone, tombstone_version = self._tombstone(name)
        if tombstone_version is None:
            return version
        sealed = self.place.read(name)
        if sealed is None or envelope.epoch_of(sealed) <= tombstone.epoch:
            return None
        return f"{version}-{tombstone_version}"

    def user_key(self, user: User) -> bytes:
        """See :class:`facecloak.stores.MaskStore`."""
        return self.names().user_key(user)

    def list_masks(self, tenant: str, *, limit: int, token: str = "") -> MaskPage:
        """See :class:`facecloak.stores.MaskStore`."""
        return list_page(self, tenant, limit=limit, token=token)

    def probe(self) -> None:
        """See :class:`facecloak.stores.MaskStore`."""
        self.probe_reading()
        if not self._writing_proven:
            self.prove_writing()

    def probe_reading(self) -> None:
        """See :class:`facecloak.stores.MaskStore`."""
        self._check_key()
        self.key_check.verify()

    def prove_writing(self) -> None:
        """See :class:`facecloak.stores.MaskStore`."""
        self.place.prove_writing()
        self._writing_proven = True

    def _tombstone(self, name: str) -> tuple[Tombstone, str | None]:
        """The tombstone of a mask's name and its version; one of epoch 0 where there is none."""
        found = self.place.read_version(tombstone_of(name))
        if found is None:
            return Tombstone(), None
        sealed, version = found
        content = envelope.open_sealed(sealed, keyring=self.keyring, name=tombstone_of(name), kind=Kind.TOMBSTONE)
        try:
            fields = json.loads(content[KEY_BYTES:])
            return Tombstone(envelope.epoch_of(sealed), fields["deleted_at"], fields["receipt"]), version
        except (ValueError, KeyError, TypeError) as error:
            raise SealBroken("The record of the user's deletion is damaged.") from error

    def _bury(self, name: str, sealed: bytes | None) -> int:
        """Writes the tombstone; masks up to the epoch that is returned are refused from then on."""
        for _ in range(_ATTEMPTS):
            last, version = self._tombstone(name)
            # One beyond every epoch that a mask has that was asked for by now, be it stored or not.
            epoch = last.epoch + 1
            receipt = last.receipt
            if sealed is not None:
                epoch = max(epoch, _epoch_or_zero(sealed))
                receipt = self._receipt_in(sealed, name=name) or receipt
            now = datetime.now(UTC).isoformat(timespec="seconds")
            note = json.dumps({"deleted_at": now, "receipt": dict(receipt)}).encode()
            tombstone = tombstone_of(name)
            data = envelope.seal(
                self.names().secret + note, keyring=self.keyring, name=tombstone, kind=Kind.TOMBSTONE, epoch=epoch
            )
            try:
                if version is None:
                    written = self.place.write_new(tombstone, data)
                else:
                    written = self.place.replace(tombstone, data, version)
            except StoreUnavailable:
                if self.place.read(tombstone) != data:
                    raise
                written = True
            if written:
                return epoch
        raise StoreUnavailable("The mask store changes too fast.", fault="Busy")

    def _receipt_in(self, sealed: bytes, *, name: str) -> Mapping[str, str]:
        try:
            return self.mask_in(sealed, name=name).receipt
        except (WrongKey, SealBroken, MaskCorrupt, MaskNotFound):
            return {}  # what cannot be read can be deleted still


# The object is gone, and what it was before is not.
_VERSIONS_STAY = frozenset({"VersionsNotRemoved"})


def require_consent(mask: StoredMask) -> None:
    """Raises :class:`ConsentExpired` where the consent that the mask was made with is over."""
    if mask.consent is not None and mask.consent.has_expired():
        raise ConsentExpired("The consent that the user's mask was made with is over.")


def _epoch_or_zero(sealed: bytes) -> int:
    try:
        return envelope.epoch_of(sealed)
    except SealBroken:
        return 0


def wipe(buffer: bytearray) -> None:
    """Overwrite a buffer that held a mask or a photo. (What Python's immutable bytes hold goes when it is freed.)"""
    buffer[:] = bytes(len(buffer))
