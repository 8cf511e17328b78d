"""The options of `facecloak enroll` that record a person's consent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from facecloak.masks.consent import Consent


class InstantType(click.ParamType):
    """An instant, ISO 8601; without a zone it is this machine's time."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """See click.ParamType."""
        if isinstance(value, datetime):
            return value
        try:
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            return self.fail(f"{value!r} is no time such as 2027-01-31 or 2027-01-31T12:00:00+01:00", param, ctx)


def consent_of(
    version: str | None, purpose: str | None, *, given: datetime | None, expires: datetime | None
) -> Consent | None:
    """The record; None where no option was given. Raises click.UsageError, and ConsentInvalid."""
    if version is None:
        if purpose is not None or given is not None or expires is not None:
            raise click.UsageError("--consent-purpose, --consent-given and --consent-expires are for --consent")
        return None
    if purpose is None:
        raise click.UsageError("--consent needs --consent-purpose")
    from facecloak.masks.consent import Consent

    given_at = (given or datetime.now(UTC)).isoformat(timespec="seconds")
    return Consent(version, given_at, purpose, "" if expires is None else expires.isoformat(timespec="seconds"))
