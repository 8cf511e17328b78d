"""Whose turn it is, and how many may wait: users, callers and tenants."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from enroll_service.jobs.fair_queue import FairQueue
from enroll_service.jobs.job import Job
from enroll_service.jobs.request import EnrollmentRequest
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from facecloak_rpc.caller_limits import CallerLimits, CallerLimitSettings, ShareExceeded
from facecloak_rpc.errors import Overloaded
from facecloak_rpc.identity import ANYBODY, Caller
from facecloak_rpc.identity.callers_file import CallerRule, Callers

FLOOD, CALM = Caller("flood", tenant="acme"), Caller("calm", tenant="globex")
CALLERS = Callers(
    tuple(CallerRule(name=one.name, uri=f"x:{one.name}", tenant=one.tenant, rights=["enroll"]) for one in (FLOOD, CALM))
)


def job(user_id: str, caller: Caller = ANYBODY) -> Job:
    request = EnrollmentRequest(user_id, (EnrollmentPhoto(b"x"),), tenant=caller.tenant, caller=caller)
    return Job(request, digest=b"", changed=threading.Condition())


def add(queue: FairQueue, *jobs: Job) -> None:
    for one in jobs:
        queue.add(one, place_seconds=1, job_seconds=2)


def order(queue: FairQueue) -> list[str]:
    taken = []
    while (one := queue.next(busy=())) is not None:
        queue.take(one)
        taken.append(one.user.user_id)
    return taken


def make(**settings: Any) -> FairQueue:
    limits = CallerLimits(CallerLimitSettings(**settings), callers=lambda: CALLERS)
    return FairQueue(limit=16, user_limit=4, limits=limits)


def test_invented_users_do_not_fill_the_queue() -> None:
    queue = make()
    add(queue, *(job(f"invented-{number}", FLOOD) for number in range(8)))
    for number in range(21):
        with pytest.raises(ShareExceeded) as caught:
            add(queue, job(f"more-{number}", FLOOD))
    assert caught.value.metadata["retry_after_seconds"] == "2.0"
    add(queue, job("alice", CALM))
    assert len(queue) == 9
    queue.drop(lambda one: one.caller is FLOOD)
    add(queue, job("again", FLOOD))


def test_callers_take_turns_whatever_users_they_name() -> None:
    queue = make()
    add(queue, *(job(f"f{number}", FLOOD) for number in range(4)), job("a", CALM), job("b", CALM))
    assert order(queue) == ["f0", "a", "f1", "b", "f2", "f3"]


def test_a_callers_own_users_take_turns() -> None:
    queue = make()
    add(queue, job("one", FLOOD), job("one", FLOOD), job("two", FLOOD), job("a", CALM))
    assert order(queue) == ["one", "a", "two", "one"]


def test_a_tenant_has_its_share_whatever_its_callers() -> None:
    queue = make(caller_share=1.0)
    add(queue, *(job(f"u{number}", Caller(f"one-{number}", tenant="acme")) for number in range(12)))
    with pytest.raises(ShareExceeded, match="tenant"):
        add(queue, job("u12", Caller("one-12", tenant="acme")))
    add(queue, job("alice", CALM))


def test_callers_who_prove_nothing_are_one() -> None:
    queue = make()
    add(queue, *(job(f"u{number}") for number in range(16)))
    with pytest.raises(Overloaded):
        add(queue, job("u16"))
    assert order(queue) == [f"u{number}" for number in range(16)]
