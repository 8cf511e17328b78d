"""Limits by caller: rates, shares of places, and whom they are not for."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from facecloak.users import User
from facecloak_rpc.caller_limits import CallerLimits, CallerLimitSettings, RateLimit, RateLimited, SharedPlaces
from facecloak_rpc.caller_limits import ShareExceeded as Exceeded
from facecloak_rpc.errors import to_status
from facecloak_rpc.identity import ANYBODY, Caller
from facecloak_rpc.identity.callers_file import Callers

ALICE, BOB = Caller("alice", tenant="acme"), Caller("bob", tenant="acme")
CAROL = Caller("carol", tenant="globex")


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def several(tmp_path: Path) -> Callers:
    path = tmp_path / "callers.toml"
    path.write_text(
        "".join(
            f'[[caller]]\nname = "{one.name}"\nuri = "x:{one.name}"\ntenant = "{one.tenant}"\nrights = ["apply"]\n'
            for one in (ALICE, BOB, CAROL)
        )
    )
    return Callers.load(path)


def test_a_rate_holds_after_its_burst(clock: Clock) -> None:
    rate = RateLimit(per_second=2, burst=4, clock=clock)
    assert [rate.take("a") for _ in range(4)] == [0.0] * 4
    assert rate.take("a") == pytest.approx(0.5)
    assert rate.take("b") == 0.0, "others are not held up"
    clock.now += 0.5
    assert rate.take("a") == 0.0
    assert rate.take("a") > 0, "what was refused was not counted, and what was let in was"
    clock.now += 1000
    assert [rate.take("a") for _ in range(5)][3:] == [0.0, pytest.approx(0.5)]
    passed = 0
    for _ in range(10_000):  # 100 s of a caller that never stops
        clock.now += 0.01
        passed += rate.take("a") == 0.0
    assert 198 <= passed <= 204


def test_no_rate_is_no_limit_and_unknown_callers_have_none(clock: Clock) -> None:
    off = CallerLimits(CallerLimitSettings(calls_per_second=0, user_calls_per_minute=0), clock=clock)
    tight = CallerLimits(
        CallerLimitSettings(calls_per_second=0.001, burst_seconds=1, user_calls_per_minute=0.001, user_burst_calls=1),
        clock=clock,
    )
    for _ in range(100):
        off.count_call(ALICE)
        off.count_user_call(ALICE, ALICE.user("u"))
        tight.count_call(ANYBODY)
        tight.count_user_call(ANYBODY, User("", "u"))


def test_calls_for_one_user_are_counted_by_caller_and_tenant(clock: Clock) -> None:
    limits = CallerLimits(CallerLimitSettings(user_calls_per_minute=60, user_burst_calls=2), clock=clock)
    for caller in (ALICE, BOB, CAROL):
        for _ in range(2):
            limits.count_user_call(caller, caller.user("u"))
        with pytest.raises(RateLimited) as caught:
            limits.count_user_call(caller, caller.user("u"))
        limits.count_user_call(caller, caller.user("v"))
    status = to_status(caught.value, request_id="r")
    assert [detail.type_url.rpartition(".")[2] for detail in status.details] == ["ErrorInfo", "RetryInfo"]
    clock.now += 1.0
    limits.count_user_call(ALICE, ALICE.user("u"))


def test_shares_are_of_several_callers_and_tenants(several: Callers) -> None:
    limits = CallerLimits(CallerLimitSettings(caller_share=0.5, tenant_share=0.75), callers=lambda: several)
    assert [limits.caller_places(ALICE, total) for total in (1, 3, 8, 16)] == [1, 1, 4, 8]
    assert limits.tenant_places(ALICE, 8) == 6
    assert limits.caller_places(Caller("x", share=1.0), 8) == 8
    assert limits.caller_places(ANYBODY, 8) == limits.tenant_places(ANYBODY, 8) == 8
    alone = CallerLimits(CallerLimitSettings(), callers=lambda: Callers(several.rules[:1]))
    assert alone.caller_places(ALICE, 8) == alone.tenant_places(ALICE, 8) == 8, "there is nobody to share with"
    unlisted = CallerLimits(CallerLimitSettings())
    assert unlisted.caller_places(ALICE, 8) == 8


def test_places_are_held_and_waited_for(several: Callers) -> None:
    limits = CallerLimits(CallerLimitSettings(caller_share=0.5, tenant_share=0.75), callers=lambda: several)
    places = SharedPlaces(4, limits, what="calls")
    first, second, third = places.one(ALICE), places.one(ALICE), places.one(BOB)
    for held in (first, second, third):
        held.__enter__()
    for caller, whose in ((ALICE, "caller"), (BOB, "tenant")):
        with pytest.raises(Exceeded, match=whose), places.one(caller):
            pass
    with places.one(CAROL), places.one(CAROL), places.one(ANYBODY), places.one(ANYBODY):
        pass
    threading.Timer(0.05, lambda: first.__exit__(None, None, None)).start()
    with places.one(ALICE, wait_seconds=10):
        pass
    for held in (second, third):
        held.__exit__(None, None, None)
    with places.one(ALICE), places.one(ALICE):
        pass
