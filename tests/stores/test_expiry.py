"""Consent that is over: the mask is not served, and the job erases it and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from facecloak.masks.consent import Consent
from facecloak.masks.mask import Mask
from facecloak.stores import ConsentExpired, MaskNotFound, Sealer
from facecloak.stores.expiry import erase_expired
from facecloak.users import User
from tests.stores.conftest import Case
from tests.users import ALICE, BOB

MakeMask = Callable[[int], Mask]
CAROL = User("acme", "carol")


def consented(mask: Mask, *, days: float) -> Mask:
    """With a consent that ends in so many days."""
    now = datetime.now(UTC)
    given = now - timedelta(days=100)
    return replace(mask, consent=Consent("v1", given.isoformat(), "cloaking", (now + timedelta(days=days)).isoformat()))


def test_a_mask_whose_consent_is_over_is_not_served_and_is_erased(
    case: Case, make_mask: MakeMask, sealer: Sealer
) -> None:
    case.store.put(ALICE, consented(make_mask(1), days=-1))
    case.store.put(BOB, consented(make_mask(2), days=1))
    case.store.put(CAROL, make_mask(3))
    with pytest.raises(ConsentExpired):
        case.store.get(ALICE)
    sizes = {name: len(case.read(name)) for name in case.names()}
    told: list[str] = []
    done = erase_expired(case.store, erased=lambda _, why: told.append(why))  # type: ignore[arg-type]
    assert (done.consent, done.deleted, done.kept, done.unreadable, told) == (1, 0, 2, 0, ["consent"])
    shrunk = [name for name in case.names() if len(case.read(name)) < sizes[name]]
    assert len(shrunk) == 1
    assert len(case.read(shrunk[0])) < 1000  # no pixel is left
    for store in (case.store, case.reopen(sealer, begins=False)):
        with pytest.raises(MaskNotFound):
            store.get(ALICE)
        assert [store.get(user).seed for user in (BOB, CAROL)] == [2, 3]
    assert erase_expired(case.store).consent == 0  # type: ignore[arg-type]
    case.store.put(ALICE, consented(make_mask(4), days=1))
    assert case.store.get(ALICE).seed == 4


def test_who_consents_anew_meanwhile_keeps_the_new_mask(
    case: Case, make_mask: MakeMask, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.store.put(ALICE, consented(make_mask(1), days=-1))
    place = case.store.place  # type: ignore[attr-defined]
    replace_object = place.replace

    def late(name: str, data: bytes, version: str) -> bool:
        case.store.put(ALICE, consented(make_mask(2), days=1))
        return replace_object(name, data, version)

    monkeypatch.setattr(place, "replace", late)
    assert erase_expired(case.store).consent == 0  # type: ignore[arg-type]
    assert case.store.get(ALICE).seed == 2


def test_what_was_put_back_of_a_deleted_user_is_erased(case: Case, make_mask: MakeMask) -> None:
    case.store.put(ALICE, make_mask(1))
    (name,) = case.names()
    before = case.read(name)
    case.store.delete(ALICE)
    case.write(name, before)
    assert erase_expired(case.store).deleted == 1  # type: ignore[arg-type]
    assert len(case.read(name)) < 1000
