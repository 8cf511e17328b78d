"""What asks for the next page of a list: sealed, for one tenant, and nothing to anybody else."""

from __future__ import annotations

import base64
import binascii
import re
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from facecloak.errors import InvalidInput
from facecloak.stores.names import TOMBSTONE_SUFFIX, StoreNames

MAX_TOKEN_CHARACTERS = 256
_NONCE_BYTES = 12
_NAME = re.compile(r"[0-9a-f]{64}(" + re.escape(TOMBSTONE_SUFFIX) + ")?")


def sealed_token(names: StoreNames, tenant: str, after: str) -> str:
    """Asks for what comes after the object ``after``. Sealed, so that a caller neither begins where it likes nor learns
    an object's name."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = nonce + AESGCM(names.page_key).encrypt(nonce, after.encode(), _context(tenant))
    return base64.urlsafe_b64encode(sealed).decode()


def opened_token(names: StoreNames, tenant: str, token: str) -> str:
    """Raises InvalidInput for what this store did not make for this tenant."""
    foreign = InvalidInput("the page token is not one that this service made for this caller", field="page_token")
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise foreign
    try:
        sealed = base64.b64decode(token, altchars=b"-_", validate=True)
        after = AESGCM(names.page_key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _context(tenant)).decode()
    except (InvalidTag, ValueError, binascii.Error) as error:
        raise foreign from error
    if not _NAME.fullmatch(after):
        raise foreign
    return after


def _context(tenant: str) -> bytes:
    return f"facecloak page\0{tenant}".encode()
