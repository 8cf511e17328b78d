"""Stores of releases that sealed with a single key: they are read, written and named as before."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from facecloak.masks.mask import Mask
from facecloak.stores import MaskNotFound, Sealer
from facecloak.stores.key_check import KEY_CHECK
from tests.stores.conftest import Case
from tests.users import ALICE, BOB

MakeMask = Callable[[int], Mask]


@pytest.fixture
def old_case(case: Case, make_mask: MakeMask, sealer: Sealer) -> Case:
    """A store as an earlier release left it: a key check and Alice's mask."""
    case.store.put(BOB, make_mask(0))  # makes the folders
    (bob,) = case.names()
    case.remove(bob)
    case.remove(KEY_CHECK)
    name = sealer.object_name(ALICE)
    case.store.place.write(KEY_CHECK, sealer.seal(b"facecloak key check 1", name=KEY_CHECK))  # type: ignore[attr-defined]
    case.store.place.write(name, sealer.seal(make_mask(1).to_bytes(), name=name))  # type: ignore[attr-defined]
    return case


@pytest.mark.parametrize("checked", [True, False])
def test_an_old_store_goes_on(old_case: Case, make_mask: MakeMask, sealer: Sealer, *, checked: bool) -> None:
    if not checked:
        old_case.remove(KEY_CHECK)
    store = old_case.reopen(sealer)
    assert store.get(ALICE).seed == 1
    assert store.user_key(ALICE) == sealer.user_key(ALICE)
    (before,) = old_case.names()
    store.put(ALICE, make_mask(2))
    store.put(BOB, make_mask(3))
    assert before in old_case.names()
    assert len(old_case.names()) == 2
    again = old_case.reopen(sealer, begins=False)
    assert [again.get(user).seed for user in (ALICE, BOB)] == [2, 3]


def test_an_old_mask_does_not_outlive_a_deletion(old_case: Case, sealer: Sealer) -> None:
    (name,) = old_case.names()
    before = old_case.read(name)
    store = old_case.reopen(sealer)
    assert store.delete(ALICE) is True
    old_case.write(name, before)
    with pytest.raises(MaskNotFound):
        old_case.reopen(sealer).get(ALICE)
