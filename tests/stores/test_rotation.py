"""Changing the wrapping key: while the store is used, in any order of steps, and never past what another wrote."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from facecloak.masks.mask import Mask
from facecloak.stores import FileKeys, Keyring, LocalKeys, LocalMaskStore, MaskNotFound, Sealer, WrongKey
from facecloak.stores.key_check import KEY_CHECK
from facecloak.stores.key_file import add_key, put_first, remove_key
from facecloak.stores.rotation import KeyInUse, needs, require_unneeded, rotate
from facecloak.users import User
from tests.stores.conftest import Case
from tests.users import ALICE, BOB

MakeMask = Callable[[int], Mask]
OLD, NEW = Sealer(bytes(range(32))), Sealer(b"n" * 32)


def ring(*sealers: Sealer) -> Keyring:
    return Keyring([LocalKeys(sealers)])


def test_after_a_rotation_the_new_key_alone_opens_everything(case: Case, make_mask: MakeMask) -> None:
    case.store.put(ALICE, make_mask(1))
    case.store.put(BOB, make_mask(2))
    case.store.delete(BOB)
    before = case.names()
    both = case.reopen(ring(NEW, OLD))
    done = rotate(both)  # type: ignore[arg-type]
    assert (done.rewrapped, done.current, done.is_complete) == (3, 0, True)  # key check, mask, tombstone
    assert rotate(both).rewrapped == 0  # type: ignore[arg-type]
    assert case.names() == before
    alone = case.reopen(ring(NEW))
    assert alone.get(ALICE).seed == 1
    assert alone.user_key(ALICE) == case.store.user_key(ALICE)
    with pytest.raises(MaskNotFound):
        alone.get(BOB)
    with pytest.raises(WrongKey):
        case.reopen(ring(OLD)).get(ALICE)


def test_a_store_of_an_earlier_release_is_rotated_and_keeps_its_names(case: Case, make_mask: MakeMask) -> None:
    case.store.put(BOB, make_mask(0))
    (bob,) = case.names()
    case.remove(bob)
    case.remove(KEY_CHECK)
    name = OLD.object_name(ALICE)
    place = case.store.place  # type: ignore[attr-defined]
    place.write(KEY_CHECK, OLD.seal(b"facecloak key check 1", name=KEY_CHECK))
    place.write(name, OLD.seal(make_mask(1).to_bytes(), name=name))
    assert rotate(case.reopen(ring(NEW, OLD))).rewrapped == 2  # type: ignore[arg-type]
    alone = case.reopen(ring(NEW))
    assert alone.get(ALICE).seed == 1
    assert alone.user_key(ALICE) == OLD.user_key(ALICE)


def test_a_rotation_that_was_broken_off_goes_on(case: Case, make_mask: MakeMask) -> None:
    users = [User("", f"user-{number}") for number in range(5)]
    for seed, user in enumerate(users):
        case.store.put(user, make_mask(seed))
    both = case.reopen(ring(NEW, OLD))

    def stop(count: int) -> None:
        if count == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotate(both, progress=stop)  # type: ignore[arg-type]
    assert [both.get(user).seed for user in users] == list(range(5))
    done = rotate(both)  # type: ignore[arg-type]
    assert (done.rewrapped, done.current) == (3, 3)


def test_what_is_enrolled_or_deleted_meanwhile_is_not_undone(
    case: Case, make_mask: MakeMask, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.store.put(ALICE, make_mask(1))
    case.store.put(BOB, make_mask(2))
    both = case.reopen(ring(NEW, OLD))
    replica = case.reopen(ring(OLD, NEW))  # that has both keys, and writes with the old one still
    replace, done = both.place.replace, []  # type: ignore[attr-defined]

    def late(name: str, data: bytes, version: str) -> bool:
        if name != KEY_CHECK and not done:
            done.append(name)
            replica.put(ALICE, make_mask(3))
            replica.delete(BOB)
        return replace(name, data, version)

    monkeypatch.setattr(both.place, "replace", late)  # type: ignore[attr-defined]
    rotate(both)  # type: ignore[arg-type]
    assert both.get(ALICE).seed == 3
    with pytest.raises(MaskNotFound):
        both.get(BOB)
    monkeypatch.undo()
    rotate(both)  # type: ignore[arg-type]
    assert set(needs(both)) == {NEW.key_id}  # type: ignore[arg-type]


def test_a_key_is_not_retired_while_an_object_needs_it(case: Case, make_mask: MakeMask) -> None:
    case.store.put(ALICE, make_mask(1))
    both = case.reopen(ring(NEW, OLD))
    for key_id in (OLD.key_id, NEW.key_id):  # one is needed, the other writes
        with pytest.raises(KeyInUse):
            require_unneeded(both, key_id)  # type: ignore[arg-type]
    rotate(both)  # type: ignore[arg-type]
    require_unneeded(both, OLD.key_id)  # type: ignore[arg-type]


def test_a_damaged_object_is_told_and_left(case: Case, make_mask: MakeMask) -> None:
    case.store.put(ALICE, make_mask(1))
    (name,) = case.names()
    case.write(name, b"damaged")
    done = rotate(case.reopen(ring(NEW, OLD)))  # type: ignore[arg-type]
    assert (done.rewrapped, done.unreadable, done.is_complete) == (1, 1, False)
    assert case.read(name) == b"damaged"


def test_a_key_files_key_is_changed_under_load_without_one_failed_call(tmp_path: Path, make_mask: MakeMask) -> None:
    """As `facecloak keys` does it, while one process enrolls and another reads."""
    path, root = tmp_path / "mask.key", tmp_path / "masks"
    writer = LocalMaskStore(root, Keyring([FileKeys(path, make=True)]))
    reader = LocalMaskStore(root, Keyring([FileKeys(path)]), begins=False)
    users = [User("", f"user-{number}") for number in range(8)]
    for user in users:
        writer.put(user, make_mask(0))
    stop, failures, calls = threading.Event(), [], [0, 0]

    def use(which: int, call: Callable[[int], object]) -> None:
        while not stop.is_set():
            try:
                call(calls[which])
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a failed call
                failures.append(error)
            calls[which] += 1

    threads = [
        threading.Thread(target=use, args=(0, lambda n: writer.put(users[n % 8], make_mask(n)))),
        threading.Thread(target=use, args=(1, lambda n: reader.get(users[n % 8]))),
    ]
    for thread in threads:
        thread.start()
    old = writer.keyring.writing_key_id()
    for _ in range(3):
        new = add_key(path)
        put_first(path, new)
        operator = LocalMaskStore(root, Keyring([FileKeys(path)]), begins=False)
        writer.keyring.refresh()  # a service does at each probe
        while set(needs(operator)) != {new}:
            rotate(operator)
        require_unneeded(operator, old)
        remove_key(path, old)
        old = new
    stop.set()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert min(calls) > 10
