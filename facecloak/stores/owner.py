"""Whose a sealed mask is, told inside it: an object's name gives nobody away, so a store could not say who is enrolled.

Before the mask lie: magic "FCU1" (4 bytes), length (2, big-endian), and tenant, NUL, user id in UTF-8. No mask begins
so: a safetensors file begins with the length of its header (8, little-endian), which never reaches 2**32.
"""

from __future__ import annotations

from facecloak.errors import InvalidInput
from facecloak.limits import MAX_USER_ID_BYTES
from facecloak.stores.errors import SealBroken
from facecloak.users import MAX_TENANT_CHARACTERS, User

_MAGIC = b"FCU1"
_START = len(_MAGIC) + 2
MAX_OWNER_BYTES = _START + MAX_TENANT_CHARACTERS + 1 + MAX_USER_ID_BYTES


def owner_to_bytes(user: User) -> bytes:
    """What is sealed before the user's mask, at most MAX_OWNER_BYTES."""
    text = f"{user.tenant}\0{user.user_id}".encode()
    return _MAGIC + len(text).to_bytes(2) + text


def owner_in(content: memoryview) -> tuple[User | None, memoryview]:
    """Whose the mask is, None in an object of a release that did not say; and the mask's file. Raises SealBroken."""
    if content[: len(_MAGIC)] != _MAGIC:
        return None, content
    end = _START + int.from_bytes(content[len(_MAGIC) : _START])
    try:
        tenant, user_id = bytes(content[_START:end]).decode().split("\0")
        return User(tenant, user_id), content[end:]
    except (ValueError, InvalidInput) as error:
        raise SealBroken("The stored mask is damaged.") from error
