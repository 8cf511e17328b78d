"""Receipts of deletion: what was deleted and when, signed (Ed25519, RFC 8032) with a key that derives from the store's
secret. A receipt names the user: it is for who asked for the deletion, and kept nowhere else."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from facecloak.errors import FaceCloakError
from facecloak.stores.names import StoreNames
from facecloak.users import User

FORMAT = "facecloak-deletion-1"
MAX_RECEIPT_BYTES = 4096


class ReceiptInvalid(FaceCloakError):
    """A receipt that this store did not sign, or that was changed since."""

    reason = "RECEIPT_INVALID"


@dataclass(frozen=True)
class DeletionReceipt:
    """What a deletion did.

    Attributes:
        store: public name of the store.
        tenant, user_id: who was deleted.
        epoch: masks up to this epoch are refused from now on.
        deleted_at: ISO 8601, UTC.
        found: whether there was a mask.
        signature: of all the others.
    """

    store: str
    tenant: str
    user_id: str
    epoch: int
    deleted_at: str
    found: bool
    signature: bytes = b""

    @classmethod
    def signed(cls, names: StoreNames, user: User, *, epoch: int, found: bool) -> DeletionReceipt:
        """The receipt of a deletion that has just been done."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        bare = cls(names.store_id, user.tenant, user.user_id, epoch, now, found)
        return cls(**{**asdict(bare), "signature": _key(names).sign(bare._signed_bytes())})

    def to_bytes(self) -> bytes:
        """As a JSON document."""
        fields = {**asdict(self), "signature": base64.b64encode(self.signature).decode()}
        return json.dumps({"format": FORMAT, **fields}, sort_keys=True, ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> DeletionReceipt:
        """The inverse of :meth:`to_bytes`, nothing verified; raises :class:`ReceiptInvalid`."""
        invalid = ReceiptInvalid("This is no receipt of a deletion.")
        if len(data) > MAX_RECEIPT_BYTES:
            raise invalid
        try:
            fields = json.loads(data)
            if fields.pop("format") != FORMAT:
                raise invalid
            signature = base64.b64decode(fields.pop("signature"), validate=True)
            receipt = cls(**fields, signature=signature)
            User(receipt.tenant, receipt.user_id)
            datetime.fromisoformat(receipt.deleted_at)
            if type(receipt.epoch) is not int or type(receipt.found) is not bool or not isinstance(receipt.store, str):
                raise invalid
        except FaceCloakError as error:
            raise invalid from error
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError, binascii.Error) as error:
            raise invalid from error
        return receipt

    def verify(self, public_key: bytes) -> None:
        """Raises :class:`ReceiptInvalid` unless the owner of ``public_key`` (32 bytes) signed it as it is."""
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(self.signature, self._signed_bytes())
        except (InvalidSignature, ValueError) as error:
            raise ReceiptInvalid("The receipt was not signed by this store, or was changed since.") from error

    def _signed_bytes(self) -> bytes:
        fields = {name: value for name, value in asdict(self).items() if name != "signature"}
        return json.dumps({"format": FORMAT, **fields}, sort_keys=True, ensure_ascii=False).encode()


def public_key_of(names: StoreNames) -> bytes:
    """The key that the store's receipts are verified with, 32 bytes; not secret."""
    raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
    return _key(names).public_key().public_bytes(*raw)


def _key(names: StoreNames) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(names.receipt_key)
