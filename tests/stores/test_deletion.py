"""Deletion that sticks: what comes back after it is refused, wherever it comes from."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable

import pytest
from minio.versioningconfig import ENABLED, VersioningConfig

from facecloak.masks.mask import Mask
from facecloak.stores import MaskNotFound, S3MaskStore, Sealer, StoreUnavailable, UserDeleted
from facecloak.stores.receipts import DeletionReceipt, ReceiptInvalid, public_key_of
from facecloak.users import User
from tests.stores.conftest import Case
from tests.users import ALICE, BOB

MakeMask = Callable[[int], Mask]


def is_gone(case: Case, sealer: Sealer) -> bool:
    """To every look at the place."""
    for store in (case.store, case.reopen(sealer), case.reopen(sealer, begins=False)):
        assert store.version(ALICE) is None
        with pytest.raises(MaskNotFound):
            store.get(ALICE)
    return True


def test_an_object_that_is_put_back_is_refused(case: Case, make_mask: MakeMask, sealer: Sealer) -> None:
    case.store.put(ALICE, make_mask(1))
    (name,) = case.names()
    before = case.read(name)
    assert case.store.delete(ALICE) is True
    assert case.names() == []
    case.write(name, before)
    assert is_gone(case, sealer)
    # A new consent makes a new mask, beside which the old one is still none.
    case.store.put(ALICE, make_mask(2))
    assert case.reopen(sealer).get(ALICE).seed == 2
    case.write(name, before)
    assert is_gone(case, sealer)


def test_a_mask_that_was_put_back_can_be_deleted_again(case: Case, make_mask: MakeMask, sealer: Sealer) -> None:
    case.store.put(ALICE, make_mask(1))
    (name,) = case.names()
    before = case.read(name)
    case.store.delete(ALICE)
    case.write(name, before)
    assert case.store.delete(ALICE) is True
    assert case.names() == []


def test_a_restored_backup_of_the_masks_brings_nobody_back(case: Case, make_mask: MakeMask, sealer: Sealer) -> None:
    case.store.put(ALICE, make_mask(1))
    case.store.put(BOB, make_mask(2))
    backup = {name: case.read(name) for name in case.names()}
    case.store.delete(ALICE)
    for name, data in backup.items():
        case.write(name, data)
    assert is_gone(case, sealer)
    assert case.store.get(BOB).seed == 2


def test_an_enrollment_in_flight_elsewhere_is_refused(case: Case, make_mask: MakeMask, sealer: Sealer) -> None:
    other = case.reopen(sealer)
    for _ in range(2):  # never enrolled, then deleted before
        epoch = other.epoch(ALICE)
        case.store.delete(ALICE)
        with pytest.raises(UserDeleted):
            other.put(ALICE, make_mask(1), epoch=epoch)
        assert case.names() == []
    other.put(ALICE, make_mask(2))
    assert case.store.get(ALICE).seed == 2


def test_a_deletion_while_the_mask_is_written_wins(
    case: Case, make_mask: MakeMask, sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = case.reopen(sealer)
    write = other.place.write  # type: ignore[attr-defined]

    def late(name: str, data: bytes) -> None:
        case.store.delete(ALICE)
        write(name, data)

    monkeypatch.setattr(other.place, "write", late)  # type: ignore[attr-defined]
    with pytest.raises(UserDeleted):
        other.put(ALICE, make_mask(1))
    assert case.names() == []
    assert is_gone(case, sealer)


def test_users_of_two_tenants_are_deleted_apart(case: Case, make_mask: MakeMask) -> None:
    other = User("acme", "alice")
    case.store.put(ALICE, make_mask(1))
    case.store.put(other, make_mask(2))
    case.store.delete(ALICE)
    assert case.store.get(other).seed == 2


def test_a_tombstone_that_cannot_be_read_lets_nobody_back(case: Case, make_mask: MakeMask, sealer: Sealer) -> None:
    case.store.put(ALICE, make_mask(1))
    (name,) = case.names()
    before = case.read(name)
    case.store.delete(ALICE)
    (tombstone,) = [one for one in case.all_names() if one.endswith(".gone")]
    data = case.read(tombstone)
    case.write(tombstone, data[:-1] + bytes([data[-1] ^ 1]))
    case.write(name, before)
    with pytest.raises(Exception, match="damaged"):
        case.reopen(sealer).get(ALICE)


def test_receipts_are_the_stores_own(case: Case, make_mask: MakeMask, sealer: Sealer) -> None:
    case.store.put(ALICE, make_mask(1))
    receipt = case.store.erase(ALICE)
    assert (receipt.user_id, receipt.tenant, receipt.found, receipt.epoch) == ("alice", "", True, 1)
    key = public_key_of(case.reopen(sealer).names())
    again = DeletionReceipt.from_bytes(receipt.to_bytes())
    assert again == receipt
    again.verify(key)
    changes = {
        "user_id": "bob",
        "tenant": "acme",
        "epoch": 2,
        "found": False,
        "deleted_at": "2020-01-01T00:00:00+00:00",
    }
    for field, value in changes.items():
        with pytest.raises(ReceiptInvalid):
            dataclasses.replace(receipt, **{field: value}).verify(key)
    with pytest.raises(ReceiptInvalid):
        receipt.verify(bytes(32))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format": "facecloak-deletion-1"}', b"\xff", b"x" * 5000])
def test_what_is_no_receipt(data: bytes) -> None:
    with pytest.raises(ReceiptInvalid):
        DeletionReceipt.from_bytes(data)


def test_a_versioned_bucket_keeps_no_version_of_a_deleted_mask(s3, sealer: Sealer, make_mask: MakeMask) -> None:
    client, bucket = s3.client, f"versions-{secrets.token_hex(4)}"
    client.make_bucket(bucket)
    client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
    store = S3MaskStore(client, bucket=bucket, sealer=sealer, prefix="p")
    for seed in range(3):
        store.put(ALICE, make_mask(seed))
    client.remove_object(bucket, f"p/{store.names().mask(ALICE)}.mask")  # by hand: a marker, and all versions under it
    assert store.delete(ALICE) is False
    store.put(ALICE, make_mask(3))
    assert store.delete(ALICE) is True
    left = [one.object_name for one in client.list_objects(bucket, recursive=True, include_version=True)]
    assert [name for name in left if name.endswith(".mask")] == []


def test_versions_that_may_not_be_removed_are_told(faulty, s3, sealer: Sealer, make_mask: MakeMask) -> None:
    store = S3MaskStore(faulty.connection.client(), bucket=s3.bucket, sealer=sealer, prefix=secrets.token_hex(4))
    store.put(ALICE, make_mask(1))
    faulty.only_paths = "versions"
    faulty.mode = "AccessDenied"
    with pytest.raises(StoreUnavailable) as refusal:
        store.delete(ALICE)
    assert refusal.value.fault == "VersionsNotRemoved"
    faulty.mode = "pass"
    with pytest.raises(MaskNotFound):
        store.get(ALICE)
