"""Callers share apply's places: one that floods keeps others neither from places nor from the line for them."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from apply_service.photo_admission import PhotoAdmission
from facecloak.photos import DEFAULT_LIMITS
from facecloak_rpc.caller_limits import CallerLimits, CallerLimitSettings, SharedPlaces, ShareExceeded
from facecloak_rpc.identity import ANYBODY, Caller
from facecloak_rpc.identity.caller import calling
from facecloak_rpc.identity.callers_file import CallerRule, Callers
from tests.apply_service.test_photo_admission import small_file

FLOOD, CALM = Caller("flood"), Caller("calm")
CALLERS = Callers(
    tuple(CallerRule(name=one.name, uri=f"x:{one.name}", rights=["apply"]) for one in (FLOOD, CALM)),
)


def admission(*, places: int = 4, wait_seconds: float = 0.05) -> PhotoAdmission:
    limits = CallerLimits(CallerLimitSettings(caller_share=0.5), callers=lambda: CALLERS)
    return PhotoAdmission(
        places=places, memory_bytes=2**30, wait_seconds=wait_seconds, limits=DEFAULT_LIMITS,
        shares=SharedPlaces(places, limits, what="photos"),
    )  # fmt: skip


def test_a_caller_has_its_part_of_the_places() -> None:
    photos, photo = admission(), small_file(64, 64)
    with ExitStack() as held:
        with calling(FLOOD):
            for _ in range(2):
                held.enter_context(photos.place(photo, wait_seconds=0.05))
            started = time.monotonic()
            with pytest.raises(ShareExceeded), photos.place(photo, wait_seconds=0.05):
                pass
            assert time.monotonic() - started >= 0.05, "one of its own may end meanwhile"
        with calling(CALM), photos.place(photo, wait_seconds=0), photos.place(photo, wait_seconds=0):
            pass
    with calling(FLOOD), photos.place(photo, wait_seconds=0):
        pass


def test_a_caller_fills_the_line_for_itself_alone() -> None:
    photos = admission(wait_seconds=1.0)
    photos._mean_seconds = 1.0
    with ExitStack() as held:
        with calling(FLOOD):
            for _ in range(3):
                held.enter_context(photos.arriving("m"))
            for _ in range(50):
                with pytest.raises(ShareExceeded), photos.arriving("m"):
                    pass
        with calling(CALM), photos.arriving("m"):
            pass
    with calling(FLOOD), photos.arriving("m"):
        pass


def test_callers_who_prove_nothing_share_all_of_it() -> None:
    photos, photo = admission(), small_file(64, 64)
    with calling(ANYBODY), ExitStack() as held:
        for _ in range(4):
            held.enter_context(photos.place(photo, wait_seconds=0))
