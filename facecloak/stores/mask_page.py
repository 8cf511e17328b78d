"""What a list of masks holds."""

from __future__ import annotations

from dataclasses import dataclass

from facecloak.masks.bank import StoredMask
from facecloak.users import User


@dataclass(frozen=True)
class ListedMask:
    """What a list says of a user's mask; nothing of the mask itself.

    Attributes:
        user: whose it is.
        created_at: ISO 8601 with a zone.
        kind, strength: as the mask's report says; "" where it does not.
        expires_at: when the consent ends, ISO 8601 with a zone; "" where it does not end by itself.
        is_expired: whether it has: then the mask is not used any more.
        epoch: of the mask, from 1.
    """

    user: User
    mask_id: str
    created_at: str
    kind: str
    strength: str
    expires_at: str
    is_expired: bool
    epoch: int

    @classmethod
    def of(cls, user: User, mask: StoredMask, *, epoch: int) -> ListedMask:
        """What may be told of it."""
        consent = mask.consent
        return cls(
            user=user,
            mask_id=mask.mask_id,
            created_at=mask.created_at,
            kind=str(mask.report.get("kind", "")),
            strength=str(mask.report.get("strength", "")),
            expires_at=consent.expires_at if consent is not None else "",
            is_expired=consent is not None and consent.has_expired(),
            epoch=epoch,
        )


@dataclass(frozen=True)
class MaskPage:
    """One page.

    Attributes:
        masks: the tenant's, at most as many as were asked for; fewer, or none, say nothing of what comes after.
        next_token: asks for the next page; "" after the last.
        unnamed: masks looked at that do not say whose they are, of any tenant: an earlier release stored them.
        unreadable: objects looked at that cannot be opened, of any tenant.
    """

    masks: tuple[ListedMask, ...]
    next_token: str = ""
    unnamed: int = 0
    unreadable: int = 0
