"""Saying in a photo that it was cloaked, so that nobody is cloaked twice, and saying no more than that.

A photo gets a tag. It holds, for each mask that was added, a code of 16 bytes: a message authentication code of the
picture's data under a key made from the mask. Who has the mask can tell that *this* mask, in this version, is in *this*
picture. To everyone else the codes are random: they name nobody, and the codes of two photos of one person have nothing
in common.
What does show is that the photo went through FaceCloak, and about how many masks it contains.

The codes are bound to the picture, so that nobody can keep a person from being cloaked by copying a tag from another
photo. Whatever changes the picture therefore also voids its tag; so does stripping metadata.

Beside each mask's code lies one of its user, where the keeper of the masks has a key for it: by that a photo is
recognized whose mask was replaced by a later enrollment. It looks like any other code.

The code is a universal hash under a pseudorandom function (Carter and Wegman, "New hash functions and their use in
authentication and set equality", 1981): GHASH, which takes 0.2 ms for 4 MB, then HMAC-SHA-256. It needs no nonce:
the same photo and masks give the same file.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from facecloak.masks.mask import Mask

_VERSION = b"\x01"
_CODE_BYTES = 16
_MAX_CODES = 128


def payload_for(
    masks: Sequence[Mask], picture: Sequence[bytes | memoryview], *, user_keys: Sequence[bytes] = ()
) -> bytes:
    """The tag's bytes for a picture that contains masks of users with these keys: a version, and the codes in an order
    that says nothing."""
    secrets = [*map(_secret_of, masks), *map(_secret_of_user, user_keys)]
    return _VERSION + b"".join(sorted(_code(secret, picture) for secret in secrets))


def contains(payload: bytes, mask: Mask, picture: Sequence[bytes | memoryview]) -> bool:
    """Whether a tag says, and rightly, that the picture contains this mask. Never raises for a tag of another kind."""
    return _holds(payload, _secret_of(mask), picture)


def contains_any_of(payload: bytes, user_key: bytes, picture: Sequence[bytes | memoryview]) -> bool:
    """Whether it says, and rightly, that the picture contains some mask of the user with this key, perhaps an older
    one."""
    return _holds(payload, _secret_of_user(user_key), picture)


def _holds(payload: bytes, secret: bytes, picture: Sequence[bytes | memoryview]) -> bool:
    codes = payload[1:]
    if payload[:1] != _VERSION or not codes or len(codes) % _CODE_BYTES or len(codes) > _MAX_CODES * _CODE_BYTES:
        return False
    own = _code(secret, picture)
    return any(hmac.compare_digest(own, codes[at : at + _CODE_BYTES]) for at in range(0, len(codes), _CODE_BYTES))


def _secret_of(mask: Mask) -> bytes:
    moved = b"" if mask.displacement is None else mask.displacement.tobytes()
    # Of all that is secret in a mask: its id is not, and one that only moves has no levels.
    return hashlib.sha512(b"facecloak marker 1\0" + mask.mask_id.encode() + mask.pixels.tobytes() + moved).digest()


def _secret_of_user(user_key: bytes) -> bytes:
    return hashlib.sha512(b"facecloak user marker 1\0" + user_key).digest()


def _code(secret: bytes, picture: Sequence[bytes | memoryview]) -> bytes:
    # GCM without plaintext is GHASH under a mask; the nonce may be constant because the result is never shown.
    universal = Cipher(algorithms.AES256(secret[:32]), modes.GCM(bytes(12))).encryptor()
    for part in picture:
        universal.authenticate_additional_data(part)
    universal.finalize()
    return hmac.digest(secret[32:], universal.tag, "sha256")[:_CODE_BYTES]
