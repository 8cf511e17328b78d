"""One key of 32 bytes: what it wraps (the data keys of :mod:`facecloak.stores.envelope`), and what it seals itself by
AES-256-GCM (NIST SP 800-38D), as all masks were before there were data keys.

An object that it seals is: magic "FCS1" (4 bytes), key id (8), nonce (12, random), ciphertext, tag (16). Magic, key id
and the object's name are authenticated too: an object that was copied to another user's name, or cut, or changed, does
not open. Random 96-bit nonces are safe for 2**32 masks under one key.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from facecloak.stores import keys
from facecloak.stores.errors import SealBroken, WrongKey
from facecloak.users import User

MAGIC = b"FCS1"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_PREFIX_BYTES = len(MAGIC) + keys.KEY_ID_BYTES
OVERHEAD_BYTES = _PREFIX_BYTES + _NONCE_BYTES + _TAG_BYTES


class Sealer:
    """Seals, opens and names stored objects with one 32-byte key. Safe to share between threads."""

    def __init__(self, key: bytes) -> None:
        self._prefix = MAGIC + keys.derive(key, "key-id", length=keys.KEY_ID_BYTES)
        self._cipher = AESGCM(keys.derive(key, "seal"))
        self._name_key = keys.derive(key, "name")
        self._marker_key = keys.derive(key, "marker")
        self._wrapping = AESGCM(keys.derive(key, "wrap"))
        self.secret = key
        """What all of it derives from."""

    @classmethod
    def from_base64(cls, text: str) -> Sealer:
        """From a setting; raises :class:`KeyUnusable`."""
        return cls(keys.key_from_base64(text))

    @classmethod
    def from_key_file(cls, path: Path, *, make: bool = True) -> Sealer:
        """From a file, made where there is none and ``make`` allows it; raises :class:`KeyUnusable`."""
        return cls(keys.key_from_file(path, make=make))

    def __repr__(self) -> str:
        return f"Sealer({self.key_id})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sealer) and self._prefix == other._prefix

    def __hash__(self) -> int:
        return hash(self._prefix)

    @staticmethod
    def key_id_of(sealed: bytes) -> str:
        """Of the key that an object of :meth:`seal` needs."""
        return sealed[len(MAGIC) : _PREFIX_BYTES].hex()

    @property
    def key_id(self) -> str:
        """Public name of the key, 16 hex digits: says which key an object needs, nothing about the key."""
        return self._prefix[len(MAGIC) :].hex()

    def object_name(self, user: User) -> str:
        """The name that the user's mask is stored under."""
        return keys.object_name(self._name_key, user)

    def user_key(self, user: User) -> bytes:
        """32 bytes by which the user's cloaked photos know each other, whatever mask they bear."""
        return bytes.fromhex(keys.object_name(self._marker_key, user))

    def wrap(self, data_key: bytes, *, context: bytes) -> bytes:
        """Seal an object's data key; 28 bytes longer."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._wrapping.encrypt(nonce, data_key, context)

    def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        """The inverse of :meth:`wrap`; raises :class:`SealBroken`."""
        try:
            return self._wrapping.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError) as error:
            raise SealBroken("The stored mask's data key is damaged.") from error

    def seal(self, data: bytes, *, name: str) -> bytes:
        """Seal ``data`` for the object ``name``; OVERHEAD_BYTES longer."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return self._prefix + nonce + self._cipher.encrypt(nonce, data, self._prefix + name.encode())

    def open(self, sealed: bytes, *, name: str) -> bytes:
        """The inverse of :meth:`seal`.

        Raises:
            WrongKey: sealed with another key.
            SealBroken: cut, changed, or sealed for another name.
        """
        if len(sealed) < OVERHEAD_BYTES or not sealed.startswith(MAGIC):
            raise SealBroken("The stored mask is damaged.")
        if not sealed.startswith(self._prefix):
            raise WrongKey(
                "The stored mask was sealed with another key.",
                needs_key=sealed[len(MAGIC) : _PREFIX_BYTES].hex(),
                has_key=self.key_id,
            )
        nonce = sealed[_PREFIX_BYTES : _PREFIX_BYTES + _NONCE_BYTES]
        try:
            return self._cipher.decrypt(nonce, sealed[_PREFIX_BYTES + _NONCE_BYTES :], self._prefix + name.encode())
        except InvalidTag as error:
            raise SealBroken("The stored mask is damaged.") from error
