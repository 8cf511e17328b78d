"""A photo whose decoder hangs: it is ended with the call that waits for it, and its place is free for others."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from facecloak.photos import decode_photo
from facecloak.photos.decoding import DecoderPool, can_isolate, runner
from facecloak.v1 import enroll_pb2

pytestmark = pytest.mark.skipif(not can_isolate(), reason="decoders of their own need Linux 5.3 or later")
# Far less than a decoder that hangs is given by itself.
SECONDS = 15.0


def wait_for(condition: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < SECONDS, "waited too long"
        time.sleep(0.01)


@pytest.mark.parametrize("validate_only", [False, True])
@pytest.mark.parametrize("end", ["cancel", "deadline"])
def test_the_decoder_of_a_call_that_ended_is_ended(
    real_service: Any, astronaut_photo: bytes, end: str, *, validate_only: bool
) -> None:
    pool = runner._runner
    assert isinstance(pool, DecoderPool)
    pool._end_idle()
    decode_photo(astronaut_photo)
    (decoder,) = pool._idle
    signal.pidfd_send_signal(decoder.handle, signal.SIGSTOP)
    killed = pool.killed
    request = enroll_pb2.EnrollUserRequest(
        user_id="gone", photos=[enroll_pb2.EnrollmentPhoto(data=astronaut_photo)], validate_only=validate_only
    )
    call = real_service.stub.EnrollUser(request, timeout=60 if end == "cancel" else 2)
    wait_for(lambda: not pool._idle)
    assert pool.killed == killed
    if end == "cancel":
        call.cancel()
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    expected = grpc.StatusCode.CANCELLED if end == "cancel" else grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught.value.code() is expected
    wait_for(lambda: pool.killed == killed + 1)
    wait_for(lambda: real_service.domain.jobs.running == 0)
    again = enroll_pb2.EnrollUserRequest(
        user_id="next", photos=[enroll_pb2.EnrollmentPhoto(data=astronaut_photo)], validate_only=True
    )
    *_, last = real_service.stub.EnrollUser(again, timeout=60)
    assert last.WhichOneof("event") == "validation"
