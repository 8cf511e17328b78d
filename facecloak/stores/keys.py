"""One secret, several derived keys: for sealing, wrapping, object names, and a public id of the secret.

HKDF-SHA256 (RFC 5869) keeps them apart: no use of one tells anything about another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from facecloak.atomic_files import write_new
from facecloak.stores.errors import KeyUnusable
from facecloak.users import User

KEY_BYTES = 32
KEY_ID_BYTES = 8


def derive(secret: bytes, purpose: str, /, *, length: int = KEY_BYTES) -> bytes:
    """A key of ``length`` bytes for one purpose; raises :class:`KeyUnusable` for a secret of another size than 32
    bytes."""
    if len(secret) != KEY_BYTES:
        raise KeyUnusable(f"The key must have {KEY_BYTES} bytes.", bytes=len(secret))
    info = f"facecloak/{purpose}/1".encode()
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=info).derive(secret)


def object_name(name_key: bytes, user: User) -> str:
    """The name a user's mask is stored under: HMAC-SHA256 of the user, 64 hex digits; tells nobody else who it is."""
    return hmac.new(name_key, user.to_bytes(), hashlib.sha256).hexdigest()


def key_from_base64(text: str) -> bytes:
    """A key from a setting; raises :class:`KeyUnusable`."""
    try:
        secret = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise KeyUnusable("The key is not base64.") from error
    if len(secret) != KEY_BYTES:
        raise KeyUnusable(f"The key must have {KEY_BYTES} bytes.", bytes=len(secret))
    return secret


MAX_KEYS = 16
"""Most keys of a key file."""


def key_from_file(path: Path, *, make: bool = True) -> bytes:
    """The first key of a key file; see :func:`keys_from_file`."""
    return keys_from_file(path, make=make)[0]


def keys_from_file(path: Path, *, make: bool = True) -> list[bytes]:
    """The keys in a file, one a line, at most MAX_KEYS; where there is no file yet and ``make`` allows it, a new key
    (random, mode 0600), which concurrent makers all get.

    Raises:
        KeyUnusable: missing, unreadable, malformed, or readable by other users of the machine.
    """
    try:
        if make and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_new(path, new_key().encode() + b"\n")
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise KeyUnusable("Other users can read the key file: its mode must be 0600.")
            text = file.read(4096).decode("ascii")
    except FileNotFoundError as error:
        raise KeyUnusable("There is no key file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise KeyUnusable("The key file cannot be read or made.") from error
    found = [key_from_base64(line) for line in text.split()]
    if not 1 <= len(found) <= MAX_KEYS:
        raise KeyUnusable(f"A key file has 1 to {MAX_KEYS} keys.", keys=len(found))
    return found


def new_key() -> str:
    """A random key in base64."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
