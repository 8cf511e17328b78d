"""A person's consent to be enrolled, as the platform recorded it: kept sealed with the mask, and ends it."""

from __future__ import annotations

import unicodedata
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from facecloak.errors import InvalidInput

MAX_TEXT_VERSION_CHARACTERS = 64
MAX_PURPOSE_CHARACTERS = 256
MAX_DURATION = timedelta(days=3653)
"""Longest time from consent to expiry: ten years."""
_CLOCKS_DIFFER = timedelta(minutes=5)


class ConsentInvalid(InvalidInput):
    """A consent record that cannot be one."""

    reason = "CONSENT_INVALID"


@dataclass(frozen=True)
class Consent:
    """What a person agreed to.

    Attributes:
        text_version: of the text that was shown, 1 to 64 printable characters.
        given_at: ISO 8601 with a zone.
        purpose: what for, 1 to 256 printable characters.
        expires_at: ISO 8601 with a zone; "" where the consent does not end by itself.

    Raises:
        ConsentInvalid: a field is none of these.
    """

    text_version: str
    given_at: str
    purpose: str
    expires_at: str = ""

    def __post_init__(self) -> None:
        _require_text("text_version", self.text_version, limit=MAX_TEXT_VERSION_CHARACTERS)
        _require_text("purpose", self.purpose, limit=MAX_PURPOSE_CHARACTERS)
        given = _instant("given_at", self.given_at)
        if self.expires_at:
            duration = _instant("expires_at", self.expires_at) - given
            if not timedelta(0) < duration <= MAX_DURATION:
                raise ConsentInvalid(
                    "a consent expires after it was given, within ten years", field="consent.expires_at"
                )

    def require_present(self, now: datetime | None = None) -> None:
        """Raises :class:`ConsentInvalid` where it was given in the future, or has expired."""
        now = now or datetime.now(UTC)
        if _instant("given_at", self.given_at) > now + _CLOCKS_DIFFER:
            raise ConsentInvalid("the consent was given in the future", field="consent.given_at")
        if self.has_expired(now):
            raise ConsentInvalid("the consent has expired", field="consent.expires_at")

    def has_expired(self, now: datetime | None = None) -> bool:
        """Whether it is over."""
        return bool(self.expires_at) and _instant("expires_at", self.expires_at) <= (now or datetime.now(UTC))

    def to_fields(self) -> dict[str, str]:
        """For a mask's file."""
        return asdict(self)

    @classmethod
    def from_fields(cls, fields: Any) -> Consent:
        """The inverse of :meth:`to_fields`; raises :class:`ConsentInvalid`."""
        if not isinstance(fields, dict) or not fields.keys() <= {"text_version", "given_at", "purpose", "expires_at"}:
            raise ConsentInvalid("this is no consent record", field="consent")
        try:
            return cls(**fields)
        except TypeError as error:
            raise ConsentInvalid("this is no consent record", field="consent") from error


def _require_text(name: str, text: object, *, limit: int) -> None:
    printable = isinstance(text, str) and not any(unicodedata.category(one).startswith("C") for one in text)
    if not printable or not 1 <= len(str(text)) <= limit:
        raise ConsentInvalid(f"{name} has 1 to {limit} printable characters", field=f"consent.{name}")


def _instant(name: str, text: object) -> datetime:
    try:
        instant = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise ConsentInvalid(f"{name} is no instant with a zone", field=f"consent.{name}")
    return instant
