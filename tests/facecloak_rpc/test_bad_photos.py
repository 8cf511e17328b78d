"""What both services answer to bad photos: a typed error, soon, and they go on serving."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image

from apply_service.server import build_apply_server
from apply_service.settings import ApplySettings
from enroll_service.server import build_enroll_server
from enroll_service.settings import EnrollSettings
from facecloak.errors import ErrorCode
from facecloak.v1 import apply_pb2, apply_pb2_grpc, enroll_pb2, enroll_pb2_grpc
from facecloak_rpc.client import RemoteError, open_channel, remote_errors
from facecloak_rpc.storage import StoreSettings

SECONDS_LIMIT = 5.0
PIXELS = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def hundred_megapixels_in_a_kibibyte() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


IMAGE = Image.fromarray(PIXELS)
BAD = {
    "zero bytes": (b"", "PHOTO_TRUNCATED"),
    "not an image": (b"#!/bin/sh\necho hello\n", "UNSUPPORTED_PHOTO"),
    "truncated JPEG": (saved(IMAGE, "JPEG")[:900], "PHOTO_TRUNCATED"),
    "truncated PNG": (saved(IMAGE, "PNG")[:-20], "PHOTO_TRUNCATED"),
    "100 megapixels": (hundred_megapixels_in_a_kibibyte(), "PHOTO_TOO_LARGE"),
    "animated WebP": (saved(IMAGE, "WEBP", save_all=True, append_images=[IMAGE.rotate(90)]), "ANIMATED_PHOTO"),
    "animated PNG": (saved(IMAGE, "PNG", save_all=True, append_images=[IMAGE.rotate(90)]), "ANIMATED_PHOTO"),
    "animated GIF": (saved(IMAGE, "GIF", save_all=True, append_images=[IMAGE.rotate(90)]), "ANIMATED_PHOTO"),
    "CMYK": (saved(IMAGE.convert("CMYK"), "JPEG"), "UNSUPPORTED_COLOR_MODE"),
}
ANIMATED = {"animated WebP", "animated PNG", "animated GIF"}
"""Cloaking takes them, enrollment does not."""
Send = Callable[[bytes], Any]


@pytest.fixture(scope="module", params=["enroll", "apply"])
def send(
    request: pytest.FixtureRequest, model_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Send]:
    """Sends one photo to a real service; returns the last message."""
    common: dict[str, Any] = {
        "port": 0,
        "model_repository": model_repository,
        "store": StoreSettings(data=tmp_path_factory.mktemp("data")),
    }
    if request.param == "enroll":
        server = build_enroll_server(EnrollSettings(**common, surrogates=("mobileface",), threads=1))
    else:
        server = build_apply_server(ApplySettings(**common))
    server.start()
    assert server.readiness.wait_ready(60)
    with open_channel(server.target) as channel:
        health = health_pb2_grpc.HealthStub(channel)

        def send_enroll(photo: bytes) -> Any:
            message = enroll_pb2.EnrollUserRequest(user_id="u", photos=[enroll_pb2.EnrollmentPhoto(data=photo)])
            return list(enroll_pb2_grpc.EnrollServiceStub(channel).EnrollUser(message, timeout=60))[-1]

        def send_apply(photo: bytes) -> Any:
            message = apply_pb2.ApplyCloakRequest(photo=photo, subjects=[apply_pb2.Subject(user_id="u")])
            return apply_pb2_grpc.ApplyServiceStub(channel).ApplyCloak(message, timeout=60)

        yield send_enroll if request.param == "enroll" else send_apply
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=5).status == health_pb2.HealthCheckResponse.SERVING
    server.stop(grace_seconds=0)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_photo_gets_a_typed_error_soon(send: Send, name: str) -> None:
    photo, reason = BAD[name]
    started = time.monotonic()
    if name in ANIMATED and send.__name__ == "send_apply":
        (subject,) = send(photo).subjects
        assert subject.outcome == apply_pb2.CLOAK_OUTCOME_NO_MASK
        assert time.monotonic() - started < SECONDS_LIMIT
        return
    with pytest.raises(RemoteError) as refused, remote_errors():
        send(photo)
    assert time.monotonic() - started < SECONDS_LIMIT
    assert (refused.value.code, refused.value.reason) == (ErrorCode.INVALID_ARGUMENT, reason)
    if reason == "PHOTO_TOO_LARGE":
        limit = refused.value.metadata["limit"]
        assert int(refused.value.metadata[limit]) < 10_000 * 10_000


def test_sixteen_bits_a_sample_are_read(send: Send) -> None:
    deep = Image.fromarray(np.full((64, 64), 30_000, np.uint16))
    try:
        with remote_errors():
            outcome = apply_pb2.CloakOutcome.Name(send(saved(deep, "PNG")).subjects[0].outcome)
    except RemoteError as refused:
        outcome = refused.reason
    # Enrollment reads it, and then finds nobody in it.
    assert outcome in {"CLOAK_OUTCOME_NO_MASK", "NO_FACE"}


def test_a_message_beyond_the_limit_is_refused_by_grpc(send: Send) -> None:
    with pytest.raises(RemoteError) as refused, remote_errors():
        send(bytes(64 * 2**20 + 1))
    assert refused.value.code is ErrorCode.RESOURCE_EXHAUSTED
