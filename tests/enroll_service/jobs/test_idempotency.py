"""Receipts: a stored mask knows its request again, and tells nothing of it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from enroll_service.errors import RequestIdReused
from enroll_service.jobs.idempotency import is_of, with_receipt
from enroll_service.jobs.request import Enrollment, EnrollmentRequest
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.strengths import MaskKind, Strength
from facecloak.faces import Box
from facecloak.masks.bank import MaskBank, StoredMask, mask_from_bytes
from facecloak.masks.mask import Mask

REQUEST = EnrollmentRequest(user_id="alice", photos=(EnrollmentPhoto(b"a photo"),), request_id="request-1")


def mask(*, count: int = 1, **fields: object) -> StoredMask:
    made = [Mask.new(np.zeros((112, 112, 3), np.int8), seed=index, report={"ssim": 0.9}) for index in range(count)]
    return MaskBank.of([replace(one, **fields) for one in made])  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 3])
def test_a_stored_mask_knows_its_request_again(count: int) -> None:
    made = mask(count=count)
    kept = mask_from_bytes(with_receipt(made, REQUEST).to_bytes())
    assert is_of(kept, REQUEST, ttl_seconds=60)
    assert not is_of(kept, replace(REQUEST, request_id="request-2"), ttl_seconds=60)
    assert not is_of(kept, replace(REQUEST, request_id=""), ttl_seconds=60)
    assert kept.mask_id == made.mask_id
    assert [one.pixels.tolist() for one in kept.masks] == [one.pixels.tolist() for one in made.masks]
    assert Enrollment.of(kept) == Enrollment.of(made)


@pytest.mark.parametrize(
    "change",
    [
        {"photos": (EnrollmentPhoto(b"another"),)},
        {"photos": (*REQUEST.photos, *REQUEST.photos)},
        {"photos": (EnrollmentPhoto(b"a photo", face=Box(1, 2, 3, 4)),)},
        {"seed": 1},
        {"strength": Strength.UNNOTICED},
        {"kind": MaskKind.PAINT},
        {"add": True},
        {"user_id": "bob"},
    ],
)
def test_another_request_under_the_same_id_is_refused(change: dict[str, object]) -> None:
    kept = with_receipt(mask(), REQUEST)
    with pytest.raises(RequestIdReused):
        is_of(kept, replace(REQUEST, **change), ttl_seconds=60)  # type: ignore[arg-type]


def test_a_receipt_is_no_ones_for_long() -> None:
    old = mask(created_at=(datetime.now(UTC) - timedelta(seconds=100)).isoformat())
    kept = with_receipt(old, REQUEST)
    assert is_of(kept, REQUEST, ttl_seconds=160)
    assert not is_of(kept, REQUEST, ttl_seconds=60)


def test_receipts_tell_nothing_and_have_nothing_in_common() -> None:
    receipts = [with_receipt(mask(), REQUEST).receipt for _ in range(2)]
    assert not {*receipts[0].values()} & {*receipts[1].values()}
    written = json.dumps(receipts)
    for secret in (b"request-1", b"alice", b"a photo"):
        assert secret.decode() not in written
        assert secret.hex() not in written


@pytest.mark.parametrize("receipt", [{}, {"salt": "x"}, {"salt": "1", "request_id": "", "content": ""}])
def test_what_is_no_receipt_is_taken_for_none(receipt: object) -> None:
    assert not is_of(mask(receipt=receipt), REQUEST, ttl_seconds=60)


@pytest.mark.parametrize("count", [1, 3])
def test_a_receipt_that_an_earlier_release_kept_in_the_report_is_known(count: int) -> None:
    made = with_receipt(mask(count=count), REQUEST)
    first = replace(made.masks[0], receipt={}, report={"ssim": 0.9, "receipt": dict(made.receipt)})
    before = first if count == 1 else replace(made, masks=(first, *made.masks[1:]))  # type: ignore[type-var]
    kept = mask_from_bytes(before.to_bytes())
    assert is_of(kept, REQUEST, ttl_seconds=60)
    assert "receipt" not in kept.report


def test_without_a_request_id_there_is_no_receipt() -> None:
    made = mask()
    assert with_receipt(made, replace(REQUEST, request_id="")) is made
