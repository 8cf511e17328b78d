"""The soak's own judgment: it must see a wrong photo, one that is uncloaked, and a service that does not answer."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from benchmarks.service import running_service
from benchmarks.soak import Clients, Tally, _judged
from benchmarks.traffic import Upload, open_loop
from facecloak.photos.file_tag import with_tag
from facecloak.v1 import apply_pb2

CLOAKED, NO_MASK = apply_pb2.CLOAK_OUTCOME_CLOAKED, apply_pb2.CLOAK_OUTCOME_NO_MASK


def answer(photo: bytes, *outcomes: int) -> apply_pb2.ApplyCloakResponse:
    subjects = [apply_pb2.SubjectResult(user_id="user", outcome=outcome) for outcome in outcomes]
    return apply_pb2.ApplyCloakResponse(photo=photo, subjects=subjects)


def test_photos_are_judged_by_what_has_to_come_back(astronaut_photo: bytes) -> None:
    right = with_tag(astronaut_photo, bytes(40))
    upload = Upload(apply_pb2.ApplyCloakRequest(), astronaut_photo, "photo")
    assert _judged(upload, answer(right, CLOAKED)) == "cloaked"
    changed = right[:-100] + bytes(50) + right[-50:]
    assert _judged(upload, answer(changed, CLOAKED)) == "wrong"
    assert _judged(upload, answer(right, CLOAKED, NO_MASK)) == "uncloaked with OK"
    hostile = Upload(apply_pb2.ApplyCloakRequest(), None, "hostile")
    assert _judged(hostile, answer(right, NO_MASK)) == "hostile answered"


def test_calls_begin_when_they_are_due_however_long_others_take() -> None:
    lock, at_once, most = threading.Lock(), 0, 0

    def call(_number: int) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.5)
        with lock:
            at_once -= 1

    count, _ = open_loop(call, rate=50.0, seconds=1.0, threads=64)
    assert 25 <= count <= 80
    assert most >= 8


@pytest.mark.slow
def test_an_uncloaked_photo_of_a_running_service_is_seen(
    tmp_path: Path, model_repository: Path, astronaut_photo: bytes
) -> None:
    from contextlib import ExitStack

    with ExitStack() as stack:
        service = stack.enter_context(running_service(tmp_path, model_repository, processes=1))
        tally = Tally()
        clients = Clients(service, stack, tally)
        nobody = apply_pb2.ApplyCloakRequest(photo=astronaut_photo, subjects=[apply_pb2.Subject(user_id="nobody")])
        clients.send(Upload(nobody, astronaut_photo, "nobody's"), client=0)
        clients.send(Upload(apply_pb2.ApplyCloakRequest(photo=b"x"), None, "no photo"), client=1)
    assert tally.outcomes == {"uncloaked with OK": 1, "hostile refused": 1}
    assert tally.faults[0].endswith("uncloaked with OK: nobody's")
