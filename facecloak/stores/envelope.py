"""Sealed objects: each with a random data key of its own (AES-256-GCM, NIST SP 800-38D), which a key provider wraps.

An object is: magic "FCS2" (4 bytes), length of the header (2, big-endian), header (JSON), nonce (12, random),
ciphertext, tag (16). The header says the key's id, the wrapped data key, what the object is and its epoch. Name, epoch
and format are authenticated twice, with the content and with the data key: an object that was copied to another name,
cut or changed does not open, and no data key can be put into another object. The name derives from tenant and user
(:mod:`facecloak.stores.names`), so both are bound. To wrap anew changes the header alone.

Objects of releases before (magic "FCS1", :mod:`facecloak.stores.sealing`) are read, and count as epoch 1.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from facecloak.stores import sealing
from facecloak.stores.errors import SealBroken, SealFormatUnsupported
from facecloak.stores.key_providers.base import MAX_KEY_ID_CHARACTERS, MAX_WRAPPED_BYTES, Keyring, WrappedKey

MAGIC = b"FCS2"
FORMAT = 2
MAX_HEADER_BYTES = 2 * MAX_WRAPPED_BYTES + MAX_KEY_ID_CHARACTERS + 256
_LENGTH_BYTES, _NONCE_BYTES, _TAG_BYTES = 2, 12, 16
OVERHEAD_BYTES = len(MAGIC) + _LENGTH_BYTES + MAX_HEADER_BYTES + _NONCE_BYTES + _TAG_BYTES
MAX_EPOCH = 2**62
_FIELDS = {"format", "epoch", "kind", "key", "wrapped"}
_LATER_MAGIC = re.compile(rb"FCS[3-9]")
_MOST_NAMED = 200


class Kind(StrEnum):
    """What an object is."""

    MASK = "mask"
    TOMBSTONE = "tombstone"
    SECRET = "secret"
    ERASED = "erased"
    """In place of a mask whose consent was over: holds nothing."""


@dataclass(frozen=True)
class Header:
    """What can be read without a key. Believed only once the object opens."""

    kind: Kind
    epoch: int
    wrapped: WrappedKey


def seal(content: bytes | bytearray, *, keyring: Keyring, name: str, kind: Kind, epoch: int = 0) -> bytes:
    """Seal ``content`` for the object ``name``; at most OVERHEAD_BYTES longer."""
    data_key = secrets.token_bytes(32)
    context = _context(name, kind=kind, epoch=epoch)
    header = Header(kind, epoch, keyring.wrap(data_key, context=context))
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return _head(header) + nonce + AESGCM(data_key).encrypt(nonce, content, context)


def header_of(sealed: bytes) -> Header | None:
    """The header; None for an object of a release without data keys.

    Raises:
        SealFormatUnsupported: of a later release, as far as can be told before it is opened.
        SealBroken: no header.
    """
    if sealed.startswith(sealing.MAGIC):
        return None
    return _split(sealed)[0]


def key_id_of(sealed: bytes) -> str:
    """Of the key that the object needs; raises :class:`SealBroken`."""
    header = header_of(sealed)
    return sealing.Sealer.key_id_of(sealed) if header is None else header.wrapped.key_id


def epoch_of(sealed: bytes) -> int:
    """The object's epoch, not yet authenticated; raises :class:`SealBroken`."""
    header = header_of(sealed)
    return 1 if header is None else header.epoch


def open_sealed(sealed: bytes, *, keyring: Keyring, name: str, kind: Kind) -> bytearray:
    """The inverse of :func:`seal`, in a buffer that can be overwritten.

    Raises:
        WrongKey: the key that it needs is not there.
        SealBroken: cut, changed, of another kind, or sealed for another name.
    """
    if sealed.startswith(sealing.MAGIC):
        return bytearray(keyring.sealer(sealing.Sealer.key_id_of(sealed)).open(sealed, name=name))
    header, body = _split(sealed)
    if header.kind is not kind:
        raise SealBroken("The stored object is another than it should be.")
    context = _context(name, kind=kind, epoch=header.epoch)
    data_key = keyring.unwrap(header.wrapped, context=context)
    content = bytearray(len(body) - _NONCE_BYTES - _TAG_BYTES)
    try:
        AESGCM(data_key).decrypt_into(body[:_NONCE_BYTES], body[_NONCE_BYTES:], context, content)
    except (InvalidTag, ValueError) as error:
        raise SealBroken("The stored mask is damaged.") from error
    return content


def rewrapped(sealed: bytes, *, keyring: Keyring, name: str) -> bytes:
    """The same object with its data key wrapped by the key that writes now, the rest as it was. Raises as
    :func:`open_sealed`; not for objects of releases without data keys."""
    header, body = _split(sealed)
    context = _context(name, kind=header.kind, epoch=header.epoch)
    data_key = keyring.unwrap(header.wrapped, context=context)
    return _head(Header(header.kind, header.epoch, keyring.wrap(data_key, context=context))) + body


def _head(header: Header) -> bytes:
    fields = {
        "format": FORMAT,
        "epoch": header.epoch,
        "kind": header.kind,
        "key": header.wrapped.key_id,
        "wrapped": base64.b64encode(header.wrapped.data).decode(),
    }
    text = json.dumps(fields, separators=(",", ":")).encode()
    if len(text) > MAX_HEADER_BYTES:
        raise SealBroken("The key provider's wrapped key is too long to be kept.")
    return MAGIC + len(text).to_bytes(_LENGTH_BYTES) + text


def _split(sealed: bytes) -> tuple[Header, bytes]:
    start = len(MAGIC) + _LENGTH_BYTES
    end = start + int.from_bytes(sealed[len(MAGIC) : start])
    broken = SealBroken("The stored mask is damaged.")
    if (later := _LATER_MAGIC.match(sealed)) is not None:
        raise SealFormatUnsupported(seal=later[0].decode(), readable=MAGIC.decode())
    if not sealed.startswith(MAGIC) or end - start > MAX_HEADER_BYTES:
        raise broken
    if len(sealed) < end + _NONCE_BYTES + _TAG_BYTES:
        raise broken
    try:
        fields = json.loads(sealed[start:end])
        if fields["format"] != FORMAT or fields.keys() - _FIELDS:
            raise SealFormatUnsupported(format=str(fields["format"])[:_MOST_NAMED], readable=FORMAT)
        if fields.keys() != _FIELDS:
            raise broken
        if isinstance(kind := fields["kind"], str) and kind not in set(Kind):
            raise SealFormatUnsupported(kind=kind[:_MOST_NAMED])
        epoch, key_id = fields["epoch"], fields["key"]
        if type(epoch) is not int or not 0 <= epoch <= MAX_EPOCH or not isinstance(key_id, str):
            raise broken
        wrapped = WrappedKey(key_id[:MAX_KEY_ID_CHARACTERS], base64.b64decode(fields["wrapped"], validate=True))
        return Header(Kind(kind), epoch, wrapped), sealed[end:]
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, binascii.Error) as error:
        raise broken from error


def _context(name: str, *, kind: Kind, epoch: int) -> bytes:
    return f"facecloak object {FORMAT}\0{kind}\0{epoch}\0{name}".encode()
