"""A client of the Connect protocol that is not ours (the distribution connectrpc), as it is by default."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from facecloak.v1 import apply_pb2, enroll_pb2
from facecloak_rpc.errors import Overloaded
from tests.facecloak_rpc.test_connect import APPLY, ENROLL, Site
from tests.facecloak_rpc.test_connect import make_site as make_site
from tests.facecloak_rpc.test_connect import site as site

connect = pytest.importorskip("connectrpc.client", reason="needs the Connect client: pip install connectrpc")
method = pytest.importorskip("connectrpc.method")
compat = pytest.importorskip("connectrpc.compat")
connect_errors = pytest.importorskip("connectrpc.errors")

CODECS = {"proto": compat.google_protobuf_binary_codec, "json": compat.google_protobuf_json_codec}


def info(path: str, name: str, request: Any, response: Any, *, streams: bool = False) -> Any:
    return method.MethodInfo(
        name=name, service_name=path.strip("/"), input=request, output=response,
        idempotency_level=method.IdempotencyLevel.UNKNOWN,
        stream_type=method.StreamType.SERVER_STREAM if streams else method.StreamType.UNARY,
    )  # fmt: skip


APPLY_CLOAK = info(APPLY, "ApplyCloak", apply_pb2.ApplyCloakRequest, apply_pb2.ApplyCloakResponse)
ENROLL_USER = info(ENROLL, "EnrollUser", enroll_pb2.EnrollUserRequest, enroll_pb2.EnrollUserResponse, streams=True)


@pytest.fixture(params=["proto", "json"])
def open_client(site: Site, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Any]]:
    made: list[Any] = []

    def make(path: str) -> Any:
        port = site.ports[path == ENROLL]
        made.append(connect.ConnectClientSync(f"http://127.0.0.1:{port}", codec=CODECS[request.param]()))
        return made[-1]

    yield make
    for client in made:
        client.close()


def test_a_photo_is_cloaked(open_client: Callable[[str], Any]) -> None:
    request = apply_pb2.ApplyCloakRequest(photo=bytes(range(256)) * 100)
    response = open_client(APPLY).execute_unary(request=request, method=APPLY_CLOAK)
    assert response.photo == request.photo[::-1]


def test_errors_have_their_code_and_details(site: Site, open_client: Callable[[str], Any]) -> None:
    def refuse(_request: Any, _context: grpc.ServicerContext) -> Any:
        raise Overloaded("come back later", retry_after_seconds="3.0")

    site.apply.behavior = refuse
    with pytest.raises(connect_errors.ConnectError, match="come back later") as refused:
        open_client(APPLY).execute_unary(request=apply_pb2.ApplyCloakRequest(photo=b"x"), method=APPLY_CLOAK)
    assert refused.value.code.value == "resource_exhausted"
    details = {detail.type_name: detail.message_bytes for detail in refused.value.details}
    told = error_details_pb2.ErrorInfo.FromString(details["google.rpc.ErrorInfo"])
    assert (told.domain, told.reason) == ("facecloak", "OVERLOADED")
    retry = error_details_pb2.RetryInfo.FromString(details["google.rpc.RetryInfo"])
    assert retry.retry_delay.seconds == 3


def test_an_enrollment_streams(site: Site, open_client: Callable[[str], Any]) -> None:
    request = enroll_pb2.EnrollUserRequest(user_id="alice")
    messages = list(open_client(ENROLL).execute_server_stream(request=request, method=ENROLL_USER))
    assert [message.WhichOneof("event") for message in messages] == ["progress"] * 3 + ["result"]
    assert messages[0].progress.detail == "alice"
    site.enroll.failure = Overloaded("too many enrollments are waiting", retry_after_seconds="3.0")
    with pytest.raises(connect_errors.ConnectError, match="too many") as refused:
        list(open_client(ENROLL).execute_server_stream(request=request, method=ENROLL_USER))
    assert refused.value.code.value == "resource_exhausted"


ZIPPED = gzip.compress(json.dumps({"photo": "YWJj"}).encode())
BOMB = gzip.compress(b"{" + b" " * (200 * 2**20) + b"}", 9)


@pytest.mark.parametrize(
    ("body", "status"),
    [(ZIPPED, 200), (ZIPPED[:-1], 400), (ZIPPED + b"x", 400), (ZIPPED + ZIPPED, 400), (b"{}", 400), (BOMB, 400)],
    ids=["whole", "cut", "followed", "twice", "plain", "bomb"],
)
def test_what_comes_in_gzip_is_bounded(site: Site, body: bytes, status: int) -> None:
    answer, _, content = site.post(APPLY + "ApplyCloak", body, headers={"Content-Encoding": "gzip"})
    assert answer == status, content
    assert (json.loads(content).get("code") == "invalid_argument") is (status == 400)


@pytest.mark.parametrize(
    ("flags", "headers", "works"),
    [
        (1, {"Connect-Content-Encoding": "gzip"}, True),
        (0, {"Connect-Content-Encoding": "gzip"}, False),
        (1, {}, False),
        (3, {"Connect-Content-Encoding": "gzip"}, False),
    ],
)
def test_a_streams_message_says_whether_it_is_compressed(
    site: Site, flags: int, headers: dict[str, str], works: bool
) -> None:
    message = gzip.compress(json.dumps({"userId": "alice"}).encode())
    body = struct.pack(">BI", flags, len(message)) + message
    status, _, content = site.post(ENROLL + "EnrollUser", body, kind="application/connect+json", headers=headers)
    assert (status, b'"result"' in content, b"invalid_argument" in content) == (200, works, not works)


def test_a_body_is_not_compressed_twice(site: Site) -> None:
    kind = "application/connect+json"
    assert site.post(ENROLL + "EnrollUser", b"x", kind=kind, headers={"Content-Encoding": "gzip"})[0] == 415
    assert site.post(APPLY + "ApplyCloak", ZIPPED, headers={"Connect-Content-Encoding": "gzip"})[0] == 415
