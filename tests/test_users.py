"""Users and tenants: what can be one, and that no two share a name."""

from __future__ import annotations

import itertools

import pytest

from facecloak.limits import InvalidUserId
from facecloak.stores import Sealer
from facecloak.users import InvalidTenant, User


@pytest.mark.parametrize("tenant", ["", "a", "A.b_c-1", "9" * 64])
def test_tenants(tenant: str) -> None:
    assert User(tenant, "alice").tenant == tenant


@pytest.mark.parametrize("tenant", [" ", "a/b", "-a", ".a", "a" * 65, "é", "a\n", "a\0b", None, 7])
def test_what_is_no_tenant(tenant: str) -> None:
    with pytest.raises(InvalidTenant) as refusal:
        User(tenant, "alice")
    assert refusal.value.metadata["field"] == "tenant"


def test_an_impossible_user_id_is_refused() -> None:
    with pytest.raises(InvalidUserId):
        User("a", "b\0c")


def test_the_default_tenants_users_are_named_as_before_there_were_tenants() -> None:
    assert User("", "alice").to_bytes() == b"alice"


def test_no_two_users_share_a_name() -> None:
    parts = ["a", "ab", "b", "A", "a.b"]
    users = [User(tenant, user) for tenant, user in itertools.product(["", *parts], parts)]
    sealer = Sealer(bytes(32))
    for name in (User.to_bytes, sealer.object_name, sealer.user_key):
        assert len({name(user) for user in users}) == len(users)


def test_logs_do_not_show_the_id() -> None:
    assert "alice" not in repr(User("acme", "alice"))
