"""While calls are refused, as many photos are worked on at once as leave refusals their turn, and never none."""

from __future__ import annotations

import threading
import time
from collections import deque

from apply_service.photo_admission import PhotoAdmission
from apply_service.refusal_room import RefusalRoom
from facecloak.photos import DEFAULT_LIMITS
from facecloak_rpc.budget import Budget
from tests.apply_service.test_photo_admission import small_file
from tests.facecloak_rpc.test_server import wait_for

LATE, FAIR, IN_TIME = 0.005, 0.0007, 0.0001


def test_places_follow_how_late_threads_come() -> None:
    places, lateness = Budget(4), deque([LATE, LATE, FAIR, LATE, LATE, IN_TIME, IN_TIME, IN_TIME, IN_TIME])
    room = RefusalRoom(places, lateness=lateness.popleft)
    seen = []
    while lateness:
        room.step()
        seen.append(places.limit)
    assert seen == [3, 2, 2, 1, 1, 2, 3, 4, 4]


def test_who_works_goes_on_and_who_waits_begins_when_there_is_room_again() -> None:
    places = Budget(3)
    assert places.take(1)
    assert places.take(1)
    places.limit_to(1)
    assert not places.take(1)
    places.give_back(1)
    assert not places.take(1)  # one is out still
    taken = threading.Event()
    waiter = threading.Thread(target=lambda: places.take(1, wait_seconds=60) and taken.set())
    waiter.start()
    wait_for(lambda: places.waiting == 1)
    places.limit_to(2)
    waiter.join(60)
    assert taken.is_set()
    places.limit_to(0)
    assert places.limit == 1


def always_late() -> float:
    time.sleep(0.01)
    return LATE


def test_a_long_line_narrows_at_once_and_its_end_widens_again() -> None:
    places = Budget(3)
    room = RefusalRoom(places, lateness=always_late)
    try:
        for _ in range(2):
            room.crowded()
            assert places.limit == 1
            wait_for(lambda: places.limit == 3, seconds=60)  # nobody comes any more
            wait_for(lambda: not room._is_crowded.is_set(), seconds=60)
    finally:
        room.close()


def test_the_line_s_length_is_what_counts() -> None:
    photos = PhotoAdmission(places=4, memory_bytes=2**30, wait_seconds=1.0, limits=DEFAULT_LIMITS)
    photos._room = RefusalRoom(photos._places, lateness=always_late)
    try:
        with photos.place(small_file(300, 200), wait_seconds=0):
            pass
        photos._turn_seconds = 0.1
        assert photos.refusal(2) is None
        assert photos._places.limit == 4
        assert photos.refusal(3) is None
        assert photos._places.limit == 1
        refused = photos.refusal(11)
        assert refused is not None
        assert float(refused.metadata["retry_after_seconds"]) >= 0.5
    finally:
        photos.close()
