"""By which request a mask was made, kept with the mask: a call that is repeated after a restart, or at another instance
of the service, gets the mask that is there.

A receipt holds digests only, under a salt of its own: it tells neither the request's id nor anything of the photos, and
the receipts of two users with one photo have nothing in common. It is sealed with the mask, and replaced with it.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import blake2b

from enroll_service.errors import RequestIdReused
from enroll_service.jobs.request import EnrollmentRequest
from facecloak.masks.bank import StoredMask
from facecloak.masks.mask import Mask

_SALT_BYTES = 16


def with_receipt(mask: StoredMask, request: EnrollmentRequest) -> StoredMask:
    """The request's finished mask with its receipt; unchanged where the request has no request id."""
    if not request.request_id:
        return mask
    salt = secrets.token_bytes(_SALT_BYTES)
    receipt = {
        "salt": salt.hex(),
        "request_id": _id_digest(request, salt).hex(),
        "content": request.digest(key=salt).hex(),
    }
    first, *others = mask.masks
    first = replace(first, receipt=receipt)
    return first if isinstance(mask, Mask) else replace(mask, masks=(first, *others))


def with_consent(mask: StoredMask, request: EnrollmentRequest) -> StoredMask:
    """The request's finished mask with its consent record; a mask that was refined keeps the earlier one's where the
    request brings none."""
    consent = request.consent or (request.earlier.consent if request.earlier is not None else None)
    if consent is None:
        return mask
    first, *others = mask.masks
    first = replace(first, consent=consent)
    return first if isinstance(mask, Mask) else replace(mask, masks=(first, *others))


def is_of(mask: StoredMask, request: EnrollmentRequest, *, ttl_seconds: float) -> bool:
    """Whether the mask was made by this very request, in the last ``ttl_seconds``.

    Raises:
        RequestIdReused: by one of this id with other content.
    """
    age = datetime.now(UTC) - datetime.fromisoformat(mask.created_at)
    return age.total_seconds() <= ttl_seconds and is_receipt_of(mask.receipt, request)


def is_receipt_of(receipt: Mapping[str, str], request: EnrollmentRequest) -> bool:
    """Whether a mask's receipt is of this very request, however long ago. Raises as :func:`is_of`."""
    if not request.request_id or not receipt:
        return False
    try:
        salt, known_id, content = (bytes.fromhex(receipt[name]) for name in ("salt", "request_id", "content"))
    except (KeyError, ValueError):  # a later release's
        return False
    if not hmac.compare_digest(known_id, _id_digest(request, salt)):
        return False
    if not hmac.compare_digest(content, request.digest(key=salt)):
        raise RequestIdReused("this request id was used with other photos or other options")
    return True


def _id_digest(request: EnrollmentRequest, salt: bytes) -> bytes:
    return blake2b(request.request_id.encode(), key=salt, digest_size=16).digest()
