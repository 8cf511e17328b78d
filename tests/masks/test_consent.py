"""Consent records: what can be one, that it stays with the mask, and when it is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from facecloak.masks.bank import MaskBank, mask_from_bytes
from facecloak.masks.consent import Consent, ConsentInvalid
from facecloak.masks.mask import Mask

GIVEN = datetime(2026, 5, 1, 12, tzinfo=UTC)


def consent(**fields: str) -> Consent:
    return Consent(**{"text_version": "v3", "given_at": GIVEN.isoformat(), "purpose": "cloak my photos", **fields})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text_version", ""), ("text_version", "v" * 65), ("text_version", "a\nb"), ("purpose", ""),
        ("purpose", "p" * 257), ("purpose", "\u202e"), ("given_at", ""), ("given_at", "yesterday"),
        ("given_at", "2026-05-01T12:00:00"), ("expires_at", "2026-05-01T11:59:59+00:00"),
        ("expires_at", "2037-01-01T00:00:00Z"), ("expires_at", "never"),
    ],
)  # fmt: skip
def test_what_is_no_consent(field: str, value: str) -> None:
    with pytest.raises(ConsentInvalid) as refusal:
        consent(**{field: value})
    assert refusal.value.metadata["field"].startswith("consent.")


def test_when_it_is_over() -> None:
    ends = consent(expires_at=(GIVEN + timedelta(days=1)).isoformat())
    assert not ends.has_expired(GIVEN + timedelta(hours=23))
    assert ends.has_expired(GIVEN + timedelta(days=1))
    assert not consent().has_expired(GIVEN + timedelta(days=9999))
    for now in (GIVEN + timedelta(days=1), GIVEN - timedelta(hours=1)):
        with pytest.raises(ConsentInvalid):
            ends.require_present(now)
    ends.require_present(GIVEN - timedelta(minutes=4))  # clocks differ


def test_it_stays_with_the_mask() -> None:
    bare = Mask.new(np.zeros((112, 112, 3), np.int8), seed=1)
    mask = replace(bare, consent=consent(expires_at="2027-05-01T12:00:00Z"))
    assert mask_from_bytes(mask.to_bytes()) == mask != bare
    bank = MaskBank.of([mask, bare])
    assert mask_from_bytes(bank.to_bytes()).consent == mask.consent
    assert mask_from_bytes(bare.to_bytes()).consent is None
