"""Saying in a photo that it was cloaked, so that nobody is cloaked twice, and saying no more than that.

A photo gets, for each mask that was added, one tag of 16 bytes: a message authentication code of the picture's data
under a key made from the mask, with one random nonce a photo (AES-256-GMAC, NIST SP 800-38D). Who has the mask can tell
that *this* mask, in this version, is in *this* picture. To everyone else the tags are random: they name nobody, and two
photos of one person have nothing in common. What does show is that the photo went through FaceCloak, and how many masks
it bears.

The tags are bound to the picture, so that nobody can keep a person from being cloaked by copying a marker from another
photo. Whatever changes the picture therefore also voids its marker; so does stripping metadata.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from facecloak.mask import Mask

_VERSION = b"\x01"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_MAX_TAGS = 128


def payload_for(masks: Sequence[Mask], picture: Sequence[bytes | memoryview]) -> bytes:
    """The marker's bytes for a picture that bears these masks: version, nonce, and the tags in no telling order."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return _VERSION + nonce + b"".join(sorted(_tag(mask, nonce, picture) for mask in masks))


def bears(payload: bytes, mask: Mask, picture: Sequence[bytes | memoryview]) -> bool:
    """Whether a marker says, and rightly, that the picture bears this mask. Never raises for a marker of another
    kind."""
    nonce, tags = payload[1 : 1 + _NONCE_BYTES], payload[1 + _NONCE_BYTES :]
    if payload[:1] != _VERSION or not tags or len(tags) % _TAG_BYTES or len(tags) > _MAX_TAGS * _TAG_BYTES:
        return False
    own = _tag(mask, nonce, picture)
    return any(hmac.compare_digest(own, tags[at : at + _TAG_BYTES]) for at in range(0, len(tags), _TAG_BYTES))


def _tag(mask: Mask, nonce: bytes, picture: Sequence[bytes | memoryview]) -> bytes:
    key = hashlib.sha256(b"facecloak marker 1\0" + mask.mask_id.encode() + mask.pixels.tobytes()).digest()
    code = Cipher(algorithms.AES256(key), modes.GCM(nonce)).encryptor()
    for part in picture:
        code.authenticate_additional_data(part)
    code.finalize()
    return code.tag
