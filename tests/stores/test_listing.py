"""Who is enrolled: one's own users alone, each once, page by page, and nothing that is not there any more."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from facecloak.errors import InvalidInput
from facecloak.masks.mask import Mask
from facecloak.stores import LocalMaskStore, Sealer, StoreUnavailable, envelope
from facecloak.stores.envelope import Kind
from facecloak.stores.expiry import erase_expired
from facecloak.users import User
from tests.stores.conftest import Case
from tests.stores.test_expiry import consented

MakeMask = Callable[[int], Mask]
ACME, GLOBEX = (tuple(User(tenant, f"{name}@example") for name in "abcde") for tenant in ("acme", "globex"))


def pages(store: Any, tenant: str, *, limit: int = 100) -> Iterator[Any]:
    token = ""
    while True:
        page = store.list_masks(tenant, limit=limit, token=token)
        yield page
        token = page.next_token
        if not token:
            return


def users(store: Any, tenant: str, *, limit: int = 100) -> list[str]:
    return [one.user.user_id for page in pages(store, tenant, limit=limit) for one in page.masks]


def test_a_tenant_sees_its_own_users_alone(case: Case, make_mask: MakeMask, sealer: Sealer) -> None:
    for number, user in enumerate((*ACME, *GLOBEX, User("", "of nobody"))):
        case.store.put(user, make_mask(number))
    reader = case.reopen(sealer, begins=False)
    for limit in (1, 2, 100):
        assert sorted(users(reader, "acme", limit=limit)) == [user.user_id for user in ACME]
        assert sorted(users(reader, "globex", limit=limit)) == [user.user_id for user in GLOBEX]
        assert users(reader, "", limit=limit) == ["of nobody"]
        assert users(reader, "initech", limit=limit) == []
    assert {one.user.tenant for page in pages(reader, "acme") for one in page.masks} == {"acme"}
    assert max(len(page.masks) for page in pages(reader, "acme", limit=2)) == 2


def test_what_a_list_says_is_the_masks(case: Case, make_mask: MakeMask) -> None:
    user = User("acme", "Zoë\u00a0'\"\\ 人")
    case.store.put(user, make_mask(0))
    case.store.delete(user)
    mask = consented(make_mask(1), days=1)
    mask = Mask(
        **{name: getattr(mask, name) for name in ("pixels", "mask_id", "created_at", "seed", "consent")},
        report={"kind": "full", "strength": "natural"},
    )
    case.store.put(user, mask)
    (listed,) = case.store.list_masks("acme", limit=10).masks
    assert (listed.user, listed.mask_id, listed.created_at) == (user, mask.mask_id, mask.created_at)
    assert (listed.kind, listed.strength, listed.epoch) == ("full", "natural", 2)
    assert mask.consent is not None
    assert (listed.expires_at, listed.is_expired) == (mask.consent.expires_at, False)


def test_deleted_users_are_absent_whatever_comes_back(case: Case, make_mask: MakeMask) -> None:
    for user in ACME[:2]:
        case.store.put(user, make_mask(1))
    backup = {name: case.read(name) for name in case.names()}
    case.store.delete(ACME[0])
    assert users(case.store, "acme") == [ACME[1].user_id]
    for name, data in backup.items():
        case.write(name, data)
    assert users(case.store, "acme") == [ACME[1].user_id]


def test_a_consent_that_is_over_is_marked_until_it_is_erased(case: Case, make_mask: MakeMask) -> None:
    case.store.put(ACME[0], consented(make_mask(1), days=-1))
    case.store.put(ACME[1], consented(make_mask(2), days=1))
    (page,) = pages(case.store, "acme")
    assert {one.user: one.is_expired for one in page.masks} == {ACME[0]: True, ACME[1]: False}
    erase_expired(case.store)  # type: ignore[arg-type]
    assert users(case.store, "acme") == [ACME[1].user_id]


def test_masks_of_earlier_releases_are_counted_and_served(case: Case, make_mask: MakeMask, sealer: Sealer) -> None:
    case.store.put(ACME[0], make_mask(1))
    store: Any = case.store
    first, second = (store.names().mask(user) for user in ACME[1:3])
    store.place.write(first, sealer.seal(make_mask(2).to_bytes(), name=first))
    content = store.names().secret + make_mask(3).to_bytes()
    sealed = envelope.seal(content, keyring=store.keyring, name=second, kind=Kind.MASK, epoch=1)
    store.place.write(second, sealed)
    (page,) = pages(store, "acme")
    assert ([one.user for one in page.masks], page.unnamed, page.unreadable) == ([ACME[0]], 2, 0)
    assert [store.get(user).seed for user in ACME[:3]] == [1, 2, 3]
    for user in ACME[1:3]:  # enrolled anew
        store.put(user, make_mask(4))
    assert sorted(users(store, "acme")) == [user.user_id for user in ACME[:3]]


def test_what_cannot_be_read_is_counted(case: Case, make_mask: MakeMask, sealer: Sealer) -> None:
    for user in ACME[:3]:
        case.store.put(user, make_mask(1))
    store: Any = case.store
    swapped = store.names().mask(ACME[0])
    content = store.names().secret + b"FCU1\x00\x06acme\0x" + make_mask(2).to_bytes()  # says to be another's
    store.place.write(swapped, envelope.seal(content, keyring=store.keyring, name=swapped, kind=Kind.MASK, epoch=1))
    cut = store.names().mask(ACME[1])
    store.place.write(cut, store.place.read(cut)[:-1])
    (page,) = pages(store, "acme")
    assert ([one.user for one in page.masks], page.unnamed, page.unreadable) == ([ACME[2]], 0, 2)


def test_a_token_is_of_one_tenant_and_one_store(case: Case, make_mask: MakeMask, tmp_path: Path) -> None:
    for user in ACME:
        case.store.put(user, make_mask(1))
    token = case.store.list_masks("acme", limit=2).next_token
    other = LocalMaskStore(tmp_path / "other", Sealer(bytes(32)))
    other.put(ACME[0], make_mask(1))
    for store, tenant in ((case.store, "globex"), (case.store, ""), (other, "acme")):
        with pytest.raises(InvalidInput) as caught:
            store.list_masks(tenant, limit=2, token=token)
        assert caught.value.metadata["field"] == "page_token"
    raw = base64.urlsafe_b64decode(token)
    names: Any = case.store
    forged = [
        token[:-4], token + token, "x", "é", " ", "0" * 64, names.names().mask(ACME[0]), "a" * 100_000,
        base64.urlsafe_b64encode(raw[:12]).decode(),
    ]  # fmt: skip
    for at in (0, 20, len(raw) - 1):
        forged.append(base64.urlsafe_b64encode(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]).decode())
    for text in forged:
        with pytest.raises(InvalidInput):
            case.store.list_masks("acme", limit=2, token=text)
    assert len(case.store.list_masks("acme", limit=2, token=token).masks) == 2


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_pages_are_bounded(case: Case, limit: int) -> None:
    case.store.probe()
    with pytest.raises(InvalidInput) as caught:
        case.store.list_masks("acme", limit=limit)
    assert caught.value.metadata["field"] == "page_size"


def test_a_store_that_is_not_there_lists_nobody(tmp_path: Path, sealer: Sealer) -> None:
    """It must not look like one without users."""
    store = LocalMaskStore(tmp_path / "not-mounted", sealer, begins=False)
    with pytest.raises(StoreUnavailable):
        store.list_masks("acme", limit=10)


def test_a_thousand_users_page_by_page(tmp_path: Path, sealer: Sealer, make_mask: MakeMask) -> None:
    store, mask = LocalMaskStore(tmp_path / "masks", sealer), make_mask(1)
    everybody = [User("acme", f"user-{number}") for number in range(1000)]
    for user in (*everybody, *GLOBEX):
        store.put(user, mask)
    made = list(pages(store, "acme", limit=64))
    assert [len(page.masks) for page in made[:-1]] == [64] * (len(made) - 1)
    listed = [one.user for page in made for one in page.masks]
    assert len(listed) == 1000
    assert set(listed) == set(everybody)
    # A small tenant's pages are short where others fill the store, and no call looks at all of it.
    small = list(pages(store, "globex", limit=100))
    assert len(small) >= 2
    assert {one.user for page in small for one in page.masks} == set(GLOBEX)
