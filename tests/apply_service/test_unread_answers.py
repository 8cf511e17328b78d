"""An answer takes memory until its caller has it, and a caller that does not take it loses it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from benchmarks.message_load import padded
from facecloak.v1 import apply_pb2
from tests.apply_service.test_service import _servicer, request

METHOD = "/facecloak.v1.ApplyService/ApplyCloak"
MEBIBYTE = 2**20


def not_read(service: Any, photo: bytes) -> tuple[Any, Any]:
    """A call whose answer waits until it is asked for; and its channel."""
    # Without probing, the client's window stays small: it would take all of an answer into its own memory otherwise.
    options = [
        ("grpc.http2.bdp_probe", 0),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", -1),
    ]
    channel = grpc.insecure_channel(service.server.target, options=options)
    message = request(photo, "alice").SerializeToString()
    return channel.unary_stream(METHOD)(message, timeout=60), channel


def wait_for(condition: Callable[[], bool], *, seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def metric(service: Any, name: str) -> float:
    return service.server.telemetry.registry.get_sample_value(name) or 0.0


def test_an_answer_is_in_the_budget_until_it_is_taken(make_service: Callable[..., Any], astronaut_photo: bytes) -> None:
    service = make_service()
    photos = _servicer(service)._photos
    photo = padded(astronaut_photo, size=8 * MEBIBYTE)
    call, channel = not_read(service, photo)
    wait_for(lambda: metric(service, "facecloak_rpc_unread_bytes") > 0)
    wait_for(lambda: photos.memory_out < 3 * len(photo))
    assert 2 * len(photo) * 0.99 < photos.memory_out < 2.1 * len(photo)
    answer = apply_pb2.ApplyCloakResponse.FromString(next(call))
    assert answer.subjects[0].outcome == apply_pb2.CLOAK_OUTCOME_CLOAKED
    assert call.code() is grpc.StatusCode.OK
    wait_for(lambda: photos.memory_out == 0)
    assert metric(service, "facecloak_rpc_unread_bytes") == 0
    channel.close()


def test_a_caller_that_goes_away_gives_its_memory_back(
    make_service: Callable[..., Any], astronaut_photo: bytes
) -> None:
    service = make_service()
    photos = _servicer(service)._photos
    call, channel = not_read(service, padded(astronaut_photo, size=8 * MEBIBYTE))
    wait_for(lambda: metric(service, "facecloak_rpc_unread_bytes") > 0)
    call.cancel()
    wait_for(lambda: photos.memory_out == 0 and metric(service, "facecloak_rpc_unread_bytes") == 0)
    channel.close()


def test_a_caller_that_does_not_read_loses_its_answer(make_service: Callable[..., Any], astronaut_photo: bytes) -> None:
    service = make_service(answer_seconds=1.0)
    photos = _servicer(service)._photos
    call, channel = not_read(service, padded(astronaut_photo, size=8 * MEBIBYTE))
    wait_for(lambda: metric(service, "facecloak_rpc_answers_given_up_total") == 1)
    wait_for(lambda: photos.memory_out == 0 and metric(service, "facecloak_rpc_unread_bytes") == 0)
    with pytest.raises(grpc.RpcError):
        next(call)
    channel.close()
