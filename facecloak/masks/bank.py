"""A user's masks: several that lead to different places, and which of them a photo gets.

With one mask, all photos of a user are pushed to the same place, and cloaked photos match each other. A bank holds
masks that push to different places; the photo's own bytes choose, through a keyed hash with a secret of the bank: the
same photo always gets the same mask, and nobody without the secret can tell which, nor make a photo that gets a
certain one.

A single mask is stored as its own file (format version 1 or 3, :mod:`facecloak.masks.mask`); a bank (format version
2) is a safetensors container of the masks' own files and one JSON document, with a digest over all of it, just as a
mask's.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from facecloak.masks.consent import Consent
from facecloak.masks.mask import (
    FORMAT_VERSIONS as MASK_FORMAT_VERSIONS,
)
from facecloak.masks.mask import (
    MAX_MASK_BYTES,
    Mask,
    MaskCorrupt,
    MaskFormatUnsupported,
    MaskInvalid,
    read_container,
    require_known,
    verify_container,
    write_container,
)

MAX_MASKS = 16
"""Most masks of one user."""
MAX_BANK_BYTES = MAX_MASKS * MAX_MASK_BYTES
"""Largest file of a bank; one of K masks takes at most K * MAX_MASK_BYTES."""
FORMAT_VERSION = 2

_SECRET_BYTES = 32


@dataclass(frozen=True, eq=False)
class MaskBank:
    """Several masks of one user.

    Attributes:
        masks: 2..MAX_MASKS of them. The first one's id, date, seed and versions stand for the bank.
        secret: 32 random bytes that decide which photo gets which mask; kept sealed with the masks.

    Raises:
        MaskInvalid: too few masks, too many, or a secret of another length.
    """

    masks: tuple[Mask, ...]
    secret: bytes

    def __post_init__(self) -> None:
        if not 2 <= len(self.masks) <= MAX_MASKS:
            raise MaskInvalid(f"A bank holds 2 to {MAX_MASKS} masks.", masks=len(self.masks))
        if len(self.secret) != _SECRET_BYTES:
            raise MaskInvalid("A bank's secret has the wrong length.")

    @classmethod
    def of(cls, masks: Sequence[Mask]) -> StoredMask:
        """These masks with a fresh secret; a single mask is its own bank."""
        return masks[0] if len(masks) == 1 else cls(tuple(masks), secrets.token_bytes(_SECRET_BYTES))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MaskBank):
            return NotImplemented
        return self.masks == other.masks and hmac.compare_digest(self.secret, other.secret)

    def __hash__(self) -> int:
        return hash(self.masks)

    def __repr__(self) -> str:
        # The secret belongs in no log line.
        return f"MaskBank({', '.join(mask.mask_id for mask in self.masks)})"

    @property
    def mask_id(self) -> str:
        """Names the bank: the first mask's."""
        return self.masks[0].mask_id

    @property
    def created_at(self) -> str:
        """Of the first mask."""
        return self.masks[0].created_at

    @property
    def seed(self) -> int:
        """Of the enrollment's random generator."""
        return self.masks[0].seed

    @property
    def versions(self) -> Mapping[str, str]:
        """Of everything that shaped the masks."""
        return self.masks[0].versions

    @property
    def receipt(self) -> Mapping[str, str]:
        """By which request the masks were made: the first one's."""
        return self.masks[0].receipt

    @property
    def consent(self) -> Consent | None:
        """What the person agreed to: the first one's."""
        return self.masks[0].consent

    @property
    def report(self) -> Mapping[str, Any]:
        """Of the first mask, with the whole bank's figures (its entry "bank") in place of its own."""
        first = self.masks[0].report
        bank = first.get("bank")
        return {**first, **bank} if isinstance(bank, Mapping) else first

    def pick(self, photo_sha256: bytes) -> Mask:
        """The mask for a photo, by HMAC-SHA-256 (RFC 2104) of its SHA-256, of the bytes as they came."""
        keyed = hmac.digest(self.secret, photo_sha256, "sha256")
        # 64 bits over at most 16 masks: no mask is more likely than another by more than 2**-60.
        return self.masks[int.from_bytes(keyed[:8], "big") % len(self.masks)]

    def to_bytes(self) -> bytes:
        """Serialize, at most MAX_MASK_BYTES a mask.

        Raises:
            MaskInvalid: versions and report of a mask do not fit.
        """
        files = {_tensor_name(index): np.frombuffer(mask.to_bytes(), np.uint8) for index, mask in enumerate(self.masks)}
        data = write_container(files, {"format_version": FORMAT_VERSION, "secret": self.secret.hex()})
        limit = len(self.masks) * MAX_MASK_BYTES
        if len(data) > limit:
            raise MaskInvalid("The masks are too large to be kept.", max_bytes=limit, bytes=len(data))
        return data


StoredMask = Mask | MaskBank
"""What a store keeps for a user: one mask, or a bank of them."""


def mask_from_bytes(data: bytes) -> StoredMask:
    """Parse a mask's or a bank's file; reads at most MAX_BANK_BYTES whatever it is given.

    Raises:
        MaskCorrupt: neither, or damaged.
        MaskFormatUnsupported: of a later release.
    """
    if len(data) > MAX_BANK_BYTES:
        raise MaskCorrupt("The stored mask is too large.", max_bytes=MAX_BANK_BYTES)
    document = read_container(data)
    if document.get("format_version") in MASK_FORMAT_VERSIONS:
        return Mask.from_bytes(data)
    if document.get("format_version") != FORMAT_VERSION:
        newest = max(FORMAT_VERSION, *MASK_FORMAT_VERSIONS)
        raise MaskFormatUnsupported(format_version=document.get("format_version"), readable=newest)
    verify_container(data, document.get("digest"))
    require_known({*document}, {"format_version", "digest", "secret"})
    try:
        files = safetensors.numpy.load(data)
        # At most MAX_MASKS by the size of what was read; a name too many or too few is a KeyError.
        masks = tuple(Mask.from_bytes(files[_tensor_name(index)].tobytes()) for index in range(len(files)))
        return MaskBank(masks, bytes.fromhex(document["secret"]))
    except MaskFormatUnsupported:
        raise
    except (KeyError, TypeError, ValueError, MaskInvalid, safetensors.SafetensorError) as error:
        raise MaskCorrupt("The stored mask is damaged.") from error


def _tensor_name(index: int) -> str:
    return f"mask_{index:02d}"
