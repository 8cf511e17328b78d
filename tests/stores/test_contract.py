"""What every mask store promises; one suite for all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from facecloak.masks.bank import MaskBank
from facecloak.masks.mask import Mask, MaskCorrupt
from facecloak.stores import (
    InvalidUserId,
    KeyCheckBroken,
    MaskNotFound,
    MaskStore,
    SealBroken,
    Sealer,
    StoreUnavailable,
    WrongKey,
)
from facecloak.stores.key_check import KEY_CHECK
from facecloak.users import User
from tests.stores.conftest import Case
from tests.users import ALICE, BOB, NOBODY

MakeMask = Callable[[int], Mask]


def test_put_then_get(case: Case, make_mask: MakeMask, sealer: Sealer) -> None:
    mask = make_mask(1)
    case.store.put(ALICE, mask)
    assert case.store.get(ALICE) == mask
    assert case.reopen(sealer).get(ALICE) == mask


def test_get_of_nobody(case: Case) -> None:
    with pytest.raises(MaskNotFound):
        case.store.get(NOBODY)
    assert case.store.version(NOBODY) is None
    assert case.store.delete(NOBODY) is False


def test_a_bank_of_masks_is_kept_as_a_mask_is(case: Case, make_mask: MakeMask) -> None:
    bank = MaskBank.of([make_mask(seed) for seed in range(16)])
    case.store.put(ALICE, bank)
    assert case.store.get(ALICE) == bank
    single = case.store.version(ALICE)
    case.store.put(ALICE, make_mask(1))
    assert case.store.get(ALICE) != bank
    assert case.store.version(ALICE) != single


def test_put_replaces(case: Case, make_mask: MakeMask) -> None:
    case.store.put(ALICE, make_mask(1))
    before = case.store.version(ALICE)
    assert before is not None
    assert case.store.version(ALICE) == before
    case.store.put(ALICE, make_mask(2))
    assert case.store.get(ALICE).seed == 2
    assert case.store.version(ALICE) not in (None, before)
    assert len(case.names()) == 1


def test_delete(case: Case, make_mask: MakeMask) -> None:
    case.store.put(ALICE, make_mask(1))
    case.store.put(BOB, make_mask(2))
    assert case.store.delete(ALICE) is True
    assert case.store.delete(ALICE) is False
    assert case.store.version(ALICE) is None
    with pytest.raises(MaskNotFound):
        case.store.get(ALICE)
    assert case.store.get(BOB).seed == 2


def test_a_user_id_may_be_any_printable_text(case: Case, make_mask: MakeMask) -> None:
    users = ["../../etc/passwd", "a/b", "名前", "x" * 256, "é" * 128, " ", "a b", "alice", "Alice"]
    for seed, user in enumerate(users):
        case.store.put(User("", user), make_mask(seed))
    assert [case.store.get(User("", user)).seed for user in users] == list(range(len(users)))


@pytest.mark.parametrize("user", ["", "x" * 257, "é" * 129, "\n", "a\0b", "a\u200bb", "\u202eb", "\ud800", None, 7])
def test_an_impossible_user_id_is_refused(case: Case, make_mask: MakeMask, user: str) -> None:
    calls = [
        lambda: case.store.get(User("", user)),
        lambda: case.store.delete(User("", user)),
        lambda: case.store.version(User("", user)),
    ]
    for call in [*calls, lambda: case.store.put(User("", user), make_mask(0))]:
        with pytest.raises(InvalidUserId):
            call()


def test_what_is_stored_tells_nothing(case: Case, make_mask: MakeMask) -> None:
    mask = make_mask(1)
    case.store.put(ALICE, mask)
    (name,) = case.names()
    stored = case.read(name)
    assert "alice" not in name
    assert b"alice" not in stored
    assert mask.mask_id.encode() not in stored
    assert mask.pixels.tobytes()[:64] not in stored


def test_any_changed_byte_is_found(case: Case, make_mask: MakeMask) -> None:
    case.store.put(ALICE, make_mask(1))
    (name,) = case.names()
    stored = case.read(name)
    for at in (0, 3, 12, 20, len(stored) // 2, len(stored) - 1):
        case.write(name, stored[:at] + bytes([stored[at] ^ 1]) + stored[at + 1 :])
        with pytest.raises(SealBroken):
            case.store.get(ALICE)
    case.write(name, stored)
    case.store.get(ALICE)


@pytest.mark.parametrize("length", [1, 39, 40, 1000])
def test_a_cut_object_is_found(case: Case, make_mask: MakeMask, length: int) -> None:
    case.store.put(ALICE, make_mask(1))
    (name,) = case.names()
    case.write(name, case.read(name)[:length])
    with pytest.raises(SealBroken):
        case.store.get(ALICE)


def test_an_endless_object_is_not_read_to_its_end(case: Case, make_mask: MakeMask) -> None:
    case.store.put(ALICE, make_mask(1))
    (name,) = case.names()
    case.write(name, case.read(name) + b"\0" * 5_000_000)
    with pytest.raises(SealBroken):
        case.store.get(ALICE)


def test_another_users_object_does_not_open(case: Case, make_mask: MakeMask) -> None:
    case.store.put(ALICE, make_mask(1))
    (alice,) = case.names()
    case.store.put(BOB, make_mask(2))
    (bob,) = set(case.names()) - {alice}
    case.write(alice, case.read(bob))
    with pytest.raises(SealBroken):
        case.store.get(ALICE)


def test_a_sealed_object_that_is_no_mask(case: Case, make_mask: MakeMask, sealer: Sealer) -> None:
    case.store.put(ALICE, make_mask(1))
    (path,) = case.names()
    case.write(path, sealer.seal(b"not a mask", name=Path(path).stem))
    with pytest.raises(MaskCorrupt):
        case.store.get(ALICE)


def test_a_mask_of_another_key_is_told_apart_from_damage(case: Case, make_mask: MakeMask, sealer: Sealer) -> None:
    case.store.put(ALICE, make_mask(1))
    (path,) = case.names()
    other = Sealer(bytes(32))
    case.write(path, other.seal(make_mask(1).to_bytes(), name=Path(path).stem))
    with pytest.raises(WrongKey) as refusal:
        case.store.get(ALICE)
    assert refusal.value.metadata == {"needs_key": other.key_id, "has_key": sealer.key_id}


@pytest.mark.parametrize("begins", [True, False])
def test_with_another_key_nothing_is_said_about_anybody(
    case: Case, make_mask: MakeMask, sealer: Sealer, *, begins: bool
) -> None:
    case.store.put(ALICE, make_mask(1))
    other = Sealer(bytes(32))
    stranger = case.reopen(other, begins=begins)
    for call in every_call(stranger, make_mask(2)):
        with pytest.raises(WrongKey) as refusal:
            call()
        assert refusal.value.metadata == {"needs_key": sealer.key_id, "has_key": other.key_id}
    assert len(case.names()) == 1
    assert case.store.get(ALICE).seed == 1


def test_the_key_check_outlives_the_last_mask(case: Case, make_mask: MakeMask) -> None:
    case.store.put(ALICE, make_mask(1))
    case.store.delete(ALICE)
    with pytest.raises(WrongKey):
        case.reopen(Sealer(bytes(32))).put(BOB, make_mask(2))
    assert case.names() == []


def test_masks_of_a_release_without_key_checks_tell_whose_they_are(
    case: Case, make_mask: MakeMask, sealer: Sealer
) -> None:
    for user in ("alice", "bob"):
        case.store.put(User("", user), make_mask(1))
    case.remove(KEY_CHECK)
    other = Sealer(bytes(32))
    for begins in (True, False):
        with pytest.raises(WrongKey):
            case.reopen(other, begins=begins).get(NOBODY)
    assert case.all_names() == case.names()
    # Who only reads is content with it, who writes makes the check.
    with pytest.raises(MaskNotFound):
        case.reopen(sealer, begins=False).get(NOBODY)
    assert case.all_names() == case.names()
    with pytest.raises(MaskNotFound):
        case.reopen(sealer).get(NOBODY)
    assert len(case.all_names()) == 3
    with pytest.raises(WrongKey):
        case.reopen(other, begins=False).probe_reading()


def test_one_damaged_mask_does_not_hide_whose_the_others_are(case: Case, make_mask: MakeMask, sealer: Sealer) -> None:
    for number in range(4):
        case.store.put(User("", f"user-{number}"), make_mask(1))
    case.write(case.names()[0], b"probe")
    case.remove(KEY_CHECK)
    case.reopen(sealer).probe_reading()
    case.remove(KEY_CHECK)
    with pytest.raises(WrongKey):
        case.reopen(Sealer(bytes(32))).probe_reading()


def test_a_damaged_key_check_is_told_apart_from_another_key(case: Case, make_mask: MakeMask, sealer: Sealer) -> None:
    case.store.put(ALICE, make_mask(1))
    (path,) = set(case.all_names()) - set(case.names())
    case.write(path, case.read(path)[:-1])
    with pytest.raises(KeyCheckBroken):
        case.reopen(sealer).get(NOBODY)
    assert case.reopen(sealer).get(ALICE).seed == 1


def test_an_empty_place_is_no_store_to_who_only_reads(case: Case, make_mask: MakeMask, sealer: Sealer) -> None:
    reader = case.reopen(sealer, begins=False)
    for call in (lambda: reader.get(ALICE), lambda: reader.version(ALICE), lambda: reader.delete(ALICE),
                 lambda: reader.put(ALICE, make_mask(1)), reader.probe_reading):  # fmt: skip
        with pytest.raises(StoreUnavailable) as refusal:
            call()
        assert refusal.value.fault in ("NoStoreHere", "FolderMissing")
        assert refusal.value.advice
    assert case.all_names() == []
    case.store.probe()
    reader.probe_reading()
    with pytest.raises(MaskNotFound):
        reader.get(ALICE)


def test_a_store_that_vanishes_is_not_begun_anew(case: Case, make_mask: MakeMask, sealer: Sealer) -> None:
    case.store.put(ALICE, make_mask(1))
    reader = case.reopen(sealer, begins=False)
    reader.probe_reading()
    for name in (*case.names(), KEY_CHECK):
        case.remove(name)
    for store in (case.store, reader):
        with pytest.raises(StoreUnavailable) as refusal:
            store.probe_reading()
        assert refusal.value.fault == "StoreVanished"
    assert case.all_names() == []


def test_another_key_that_comes_while_running_is_noticed(case: Case, make_mask: MakeMask, sealer: Sealer) -> None:
    case.store.put(ALICE, make_mask(1))
    (path,) = set(case.all_names()) - set(case.names())
    case.write(path, Sealer(bytes(32)).seal(b"facecloak key check 1", name=KEY_CHECK))
    with pytest.raises(WrongKey):
        case.store.probe()


def test_of_two_keys_that_begin_at_once_one_wins(case: Case, make_mask: MakeMask) -> None:
    stores = [case.reopen(Sealer(bytes([number]) * 32)) for number in range(6)]

    def begin(store: MaskStore) -> bool:
        try:
            store.put(ALICE, make_mask(1))
        except WrongKey:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(begin, stores)) == 1
    assert len(case.names()) == 1


def every_call(store: MaskStore, mask: Mask) -> list[Callable[[], object]]:
    return [
        lambda: store.get(ALICE), lambda: store.version(ALICE), lambda: store.delete(ALICE),
        lambda: store.put(ALICE, mask), store.probe, store.probe_reading,
    ]  # fmt: skip


def test_probes_leave_nothing_but_the_key_check(case: Case) -> None:
    for _ in range(3):
        case.store.probe()
        case.store.probe_reading()
        case.store.prove_writing()
    assert [name.rpartition("/")[2] for name in case.all_names()] == [KEY_CHECK]


def test_concurrent_writers_and_readers(case: Case, make_mask: MakeMask) -> None:
    masks = [make_mask(seed) for seed in range(4)]
    case.store.put(ALICE, masks[0])
    stop = threading.Event()

    def read() -> int:
        count = 0
        while not stop.is_set():
            assert case.store.get(ALICE) in masks
            count += 1
        return count

    def write(mask: Mask) -> None:
        for _ in range(8):
            case.store.put(ALICE, mask)

    with ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        writers = [pool.submit(write, mask) for mask in masks]
        try:
            for writer in writers:
                writer.result()
        finally:
            stop.set()
        assert all(reader.result() > 0 for reader in readers)
    assert case.store.get(ALICE) in masks
    assert len(case.names()) == 1
