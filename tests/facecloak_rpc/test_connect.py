"""The services over HTTP: the Connect protocol as any HTTP client speaks it, with gRPC's own limits and errors."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from facecloak.errors import InvalidInput
from facecloak.v1 import apply_pb2, apply_pb2_grpc, enroll_pb2, enroll_pb2_grpc
from facecloak_rpc.connect.request_handler import OPENAPI
from facecloak_rpc.errors import Overloaded
from facecloak_rpc.identity import current_caller
from facecloak_rpc.identity.errors import RightMissing
from facecloak_rpc.identity.settings import IdentitySettings
from facecloak_rpc.server import RpcServer, build_server
from facecloak_rpc.settings import RpcSettings
from facecloak_rpc.telemetry import Telemetry
from facecloak_rpc.tls import TlsSettings
from tests.certificates import Authority
from tests.tokens import AUDIENCE, ISSUER, Issuer
from tools.docs import openapi

APPLY, ENROLL = "/facecloak.v1.ApplyService/", "/facecloak.v1.EnrollService/"


class Apply(apply_pb2_grpc.ApplyServiceServicer):
    behavior: Callable[[apply_pb2.ApplyCloakRequest, grpc.ServicerContext], apply_pb2.ApplyCloakResponse]

    def ApplyCloak(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self.behavior(request, context)


class Enroll(enroll_pb2_grpc.EnrollServiceServicer):
    left: threading.Event
    failure: Exception | None = None

    def EnrollUser(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        context.add_callback(self.left.set)
        for step in range(3):
            progress = enroll_pb2.EnrollProgress(fraction=step / 3, detail=request.user_id)
            yield enroll_pb2.EnrollUserResponse(progress=progress)
        while request.user_id == "endless" and not self.left.wait(0.05):
            yield enroll_pb2.EnrollUserResponse(progress=enroll_pb2.EnrollProgress(fraction=0.9))
        if self.failure is not None:
            raise self.failure
        yield enroll_pb2.EnrollUserResponse(result=enroll_pb2.Enrollment(mask_id="m1"))


class Site:
    """Both servers, each with its port of HTTP."""

    def __init__(self, ports: tuple[int, int], **settings: Any) -> None:
        self.apply, self.enroll = Apply(), Enroll()
        self.apply.behavior = lambda request, _: apply_pb2.ApplyCloakResponse(photo=request.photo[::-1])
        self.enroll.left = threading.Event()
        adders = [
            ("facecloak.v1.ApplyService", lambda s: apply_pb2_grpc.add_ApplyServiceServicer_to_server(self.apply, s)),
            (
                "facecloak.v1.EnrollService",
                lambda s: enroll_pb2_grpc.add_EnrollServiceServicer_to_server(self.enroll, s),
            ),
        ]
        self.servers = [
            _serving(name, add, http_port=port, **settings) for (name, add), port in zip(adders, ports, strict=True)
        ]
        self.ports = ports

    def post(
        self, path: str, body: bytes, *, kind: str = "application/json", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = self.connection(path)
        connection.request("POST", path, body, {"Content-Type": kind, **(headers or {})})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, content

    def connection(self, path: str) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.ports[path.startswith(ENROLL)], timeout=30)


def _serving(service: str, add: Any, **settings: Any) -> RpcServer:
    server = build_server(
        settings=RpcSettings(port=0, grace_seconds=5, **settings), service=service, add_servicer=add,
        probe=lambda: None, telemetry=Telemetry(),
    )  # fmt: skip
    server.start()
    return server


@pytest.fixture
def make_site() -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(**settings: Any) -> Site:
        with socket.socket() as one, socket.socket() as other:
            for probe in (one, other):
                probe.bind(("127.0.0.1", 0))
            ports = (one.getsockname()[1], other.getsockname()[1])
        made.append(Site(ports, **settings))
        return made[-1]

    yield make
    for site in made:
        for server in site.servers:
            server.stop(grace_seconds=0)


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


def photo(data: bytes) -> bytes:
    return json.dumps({"photo": base64.b64encode(data).decode(), "unknownField": 1}).encode()


def test_a_call_in_json_and_in_protobuf(site: Site) -> None:
    status, headers, body = site.post(APPLY + "ApplyCloak", photo(b"abc"), headers={"X-Request-Id": "mine"})
    assert (status, headers["content-type"], headers["x-request-id"]) == (200, "application/json", "mine")
    assert json.loads(body) == {"photo": base64.b64encode(b"cba").decode()}
    assert headers["cache-control"] == "no-store"
    message = apply_pb2.ApplyCloakRequest(photo=b"xyz").SerializeToString()
    status, _, body = site.post(APPLY + "ApplyCloak", message, kind="application/proto")
    assert apply_pb2.ApplyCloakResponse.FromString(body).photo == b"zyx"


def test_a_connection_is_kept(site: Site) -> None:
    connection = site.connection(APPLY)
    for text in (b"one", b"two"):
        connection.request(
            "POST", APPLY + "ApplyCloak", photo(text), {"Content-Type": "application/json; charset=utf-8"}
        )
        assert base64.b64decode(json.loads(connection.getresponse().read())["photo"]) == text[::-1]
    # In chunks, too.
    connection.request(
        "POST", APPLY + "ApplyCloak", iter([photo(b"three")[:7], photo(b"three")[7:]]),
        {"Content-Type": "application/json"}, encode_chunked=True,
    )  # fmt: skip
    assert base64.b64decode(json.loads(connection.getresponse().read())["photo"]) == b"eerht"


def test_errors_are_gRPCs_own(site: Site) -> None:  # noqa: N802
    def refuse(*_: Any) -> Any:
        raise InvalidInput("give a photo", field="photo")

    site.apply.behavior = refuse
    status, headers, body = site.post(APPLY + "ApplyCloak", b"{}")
    error = json.loads(body)
    assert (status, error["code"], error["message"]) == (400, "invalid_argument", "give a photo")
    (detail,) = error["details"]
    assert detail["type"] == "google.rpc.ErrorInfo"
    assert detail["debug"]["reason"] == "INVALID_INPUT"
    assert detail["debug"]["metadata"]["field"] == "photo"
    assert headers["facecloak-reason"] == "INVALID_INPUT"

    def busy(*_: Any) -> Any:
        raise Overloaded("busy", retry_after_seconds="1.2")

    site.apply.behavior = busy
    status, headers, _ = site.post(APPLY + "ApplyCloak", b"{}")
    assert (status, headers["retry-after"], headers["facecloak-reason"]) == (429, "2", "OVERLOADED")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"photo": 7}', b"\xff", b'{"photo":' * 5000])
def test_what_is_no_message_is_refused(site: Site, body: bytes) -> None:
    status, headers, content = site.post(APPLY + "ApplyCloak", body)
    assert (status, json.loads(content)["code"]) == (400, "invalid_argument")
    assert headers["facecloak-reason"] == "INVALID_INPUT"


def test_what_is_no_call_is_refused(site: Site) -> None:
    assert site.post(APPLY + "Nothing", b"{}")[0] == 404
    assert site.post(APPLY + "ApplyCloakStream", b"{}")[0] == 404
    assert site.post(APPLY + "ApplyCloak", b"{}", kind="text/plain")[0] == 415
    assert site.post(ENROLL + "EnrollUser", b"{}")[0] == 415
    assert site.post(APPLY + "ApplyCloak", b"{}", headers={"Content-Encoding": "br"})[0] == 415
    assert site.post(APPLY + "ApplyCloak", b"{}", headers={"Connect-Timeout-Ms": "-1"})[0] == 400


def test_too_large_a_body_is_refused_before_it_is_read(make_site: Callable[..., Site]) -> None:
    site = make_site(message_mebibytes_limit=1)
    connection = site.connection(APPLY)
    connection.putrequest("POST", APPLY + "ApplyCloak")
    for name, value in (
        ("Content-Type", "application/json"),
        ("Content-Length", str(10**9)),
        ("Expect", "100-continue"),
    ):
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()  # and no 100 Continue
    assert answer.status == 413
    assert json.loads(answer.read())["code"] == "resource_exhausted"
    # A whole message of the limit fits, base64 and all.
    status, _, body = site.post(APPLY + "ApplyCloak", photo(b"x" * (2**20 - 100)))
    assert status == 200
    assert len(body) > 2**20


def test_length_and_chunks_at_once_are_refused(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.ports[0]), timeout=10) as connection:
        connection.sendall(
            f"POST {APPLY}ApplyCloak HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
            "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode()
        )
        assert connection.recv(64).startswith(b"HTTP/1.1 400 ")


def test_a_body_that_does_not_come_ends_the_call(make_site: Callable[..., Site]) -> None:
    site = make_site(message_seconds=0.5)
    connection = site.connection(APPLY)
    connection.putrequest("POST", APPLY + "ApplyCloak")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"{")
    began = time.monotonic()
    answer = connection.getresponse()
    assert (answer.status, answer.headers["facecloak-reason"]) in ((504, "REQUEST_INCOMPLETE"), (400, "INVALID_INPUT"))
    assert time.monotonic() - began < 5


def test_deadline(site: Site) -> None:
    def wait(_: Any, context: Any) -> Any:
        left = threading.Event()
        context.add_callback(left.set)
        assert left.wait(10)
        assert context.time_remaining() <= 0
        raise InvalidInput("nobody is told")

    site.apply.behavior = wait
    status, _, body = site.post(APPLY + "ApplyCloak", b"{}", headers={"Connect-Timeout-Ms": "300"})
    assert (status, json.loads(body)["code"]) == (504, "deadline_exceeded")


def test_rights_hold(site: Site) -> None:
    def refuse(*_: Any) -> Any:
        raise RightMissing("no")

    site.apply.behavior = refuse
    status, _, body = site.post(APPLY + "ApplyCloak", b"{}", headers={"Authorization": "Bearer x"})
    assert (status, json.loads(body)["code"]) == (403, "permission_denied")


def test_metadata_reaches_the_interceptor_and_gRPCs_own_names_do_not(site: Site) -> None:  # noqa: N802
    seen: dict[str, str] = {}

    def note(_: Any, context: Any) -> Any:
        seen.update(context.invocation_metadata())
        return apply_pb2.ApplyCloakResponse()

    site.apply.behavior = note
    site.post(
        APPLY + "ApplyCloak", b"{}", headers={"Authorization": "Bearer x", "Grpc-Timeout": "1n", "traceparent": "00-1"}
    )
    assert seen["authorization"] == "Bearer x"
    assert seen["traceparent"] == "00-1"
    assert "grpc-timeout" not in seen


def envelopes(body: bytes) -> list[tuple[int, Any]]:
    found = []
    while body:
        flags, length = struct.unpack_from(">BI", body)
        found.append((flags, json.loads(body[5 : 5 + length])))
        body = body[5 + length :]
    return found


def enveloped(document: dict[str, Any]) -> bytes:
    data = json.dumps(document).encode()
    return struct.pack(">BI", 0, len(data)) + data


def test_enrollment_streams_its_progress(site: Site) -> None:
    status, headers, body = site.post(
        ENROLL + "EnrollUser", enveloped({"userId": "alice"}), kind="application/connect+json"
    )
    assert (status, headers["content-type"]) == (200, "application/connect+json")
    *events, (flags, end) = envelopes(body)
    assert [event["progress"].get("detail") for _, event in events[:3]] == ["alice"] * 3
    assert events[3][1]["result"]["maskId"] == "m1"
    assert (flags, end) == (2, {})
    site.enroll.failure = InvalidInput("no", field="photos")
    _, _, body = site.post(ENROLL + "EnrollUser", enveloped({"userId": "a"}), kind="application/connect+json")
    assert envelopes(body)[-1][1]["error"]["code"] == "invalid_argument"
    _, _, body = site.post(ENROLL + "EnrollUser", b"{}", kind="application/connect+json")
    assert envelopes(body)[-1][1]["error"]["code"] == "invalid_argument"


def test_enrollment_that_nobody_waits_for_is_told(site: Site) -> None:
    connection = site.connection(ENROLL)
    connection.request(
        "POST", ENROLL + "EnrollUser", enveloped({"userId": "endless"}), {"Content-Type": "application/connect+json"}
    )
    answer = connection.getresponse()
    assert answer.read(20)
    assert not site.enroll.left.is_set()
    answer.close()
    connection.close()
    assert site.enroll.left.wait(10)


def test_connections_are_bounded(make_site: Callable[..., Site]) -> None:
    site = make_site(connections_limit=2)
    held = [socket.create_connection(("127.0.0.1", site.ports[0])) for _ in range(2)]
    time.sleep(0.5)
    with socket.create_connection(("127.0.0.1", site.ports[0]), timeout=10) as third:
        assert third.recv(1) == b""
    for connection in held:
        connection.close()


def test_description_is_served_and_current(site: Site) -> None:
    connection = site.connection(APPLY)
    connection.request("GET", "/openapi.json")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.read().decode() == OPENAPI.read_text() == openapi.write(), (
        "python -m tools.docs.openapi writes it anew"
    )


def test_description_describes_the_methods_that_are_served(site: Site) -> None:
    document = openapi.build()
    assert set(openapi.references(document)) <= set(document["components"]["schemas"])
    assert document["paths"]
    for path in document["paths"]:
        status, _, _ = site.post(path, b"{}", kind="text/plain")
        assert status == 415, path  # known, and asked in another type


def test_mutual_tls_tells_who_calls(make_site: Callable[..., Site], tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    pair, mine = authority.server(), authority.client("mine", "spiffe://example/upload")
    site = make_site(tls=TlsSettings(certificate=pair.certificate, key=pair.key, client_ca=authority.path))
    names: list[str] = []

    def note(*_: Any) -> Any:
        names.append(current_caller().name)
        return apply_pb2.ApplyCloakResponse()

    site.apply.behavior = note
    context = ssl.create_default_context(cafile=authority.path)

    def post() -> int:
        connection = http.client.HTTPSConnection("localhost", site.ports[0], timeout=30, context=context)
        connection.request("POST", APPLY + "ApplyCloak", b"{}", {"Content-Type": "application/json"})
        return connection.getresponse().status

    with pytest.raises(OSError):  # noqa: PT011 - by the moment at which the server hangs up
        post()
    context.load_cert_chain(mine.certificate, mine.key)
    assert post() == 200
    assert names == ["spiffe://example/upload"]
    # Nor does it speak in the clear.
    with pytest.raises(OSError):  # noqa: PT011
        site.post(APPLY + "ApplyCloak", b"{}")


def test_rights_are_asked_for_as_over_grpc(make_site: Callable[..., Site], tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    pair, mine = authority.server(), authority.client("mine", "spiffe://example/accounts")
    callers = tmp_path / "callers.toml"
    callers.write_text('[[caller]]\nname = "accounts"\nuri = "spiffe://example/accounts"\nrights = ["read"]\n')
    tls = TlsSettings(certificate=pair.certificate, key=pair.key, client_ca=authority.path)
    site = make_site(tls=tls, identity=IdentitySettings(callers=callers))
    context = ssl.create_default_context(cafile=authority.path)
    context.load_cert_chain(mine.certificate, mine.key)
    connection = http.client.HTTPSConnection("localhost", site.ports[0], timeout=30, context=context)
    connection.request("POST", APPLY + "ApplyCloak", b"{}", {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["facecloak-reason"]) == (403, "RIGHT_MISSING")


def raw_call(port: int, *headers: bytes) -> int:
    """The status of a call of ApplyCloak with these header lines."""
    lines = [
        b"POST " + APPLY.encode() + b"ApplyCloak HTTP/1.1", b"Host: x", b"Content-Type: application/json",
        b"Content-Length: 2", b"Connection: close", *headers,
    ]  # fmt: skip
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n{}")
        answer = b""
        while part := connection.recv(4096):
            answer += part
    return int(answer.split(b" ", 2)[1])


def test_headers_smuggle_no_identity(make_site: Callable[..., Site], tmp_path: Path) -> None:
    issuer, callers = Issuer(), tmp_path / "callers.toml"
    callers.write_text(
        '[[caller]]\nname = "upload"\nclaims = {sub = "upload"}\nrights = ["apply"]\n'
        '[[caller]]\nname = "reader"\nclaims = {sub = "reader"}\nrights = ["read"]\n'
    )
    identity = IdentitySettings(
        callers=callers, jwks=str(issuer.write_jwks(tmp_path / "jwks.json")), issuer=ISSUER, audience=AUDIENCE
    )
    port = make_site(identity=identity).ports[0]
    good, reader = (b"Authorization: Bearer " + issuer.token(one).encode() for one in ("upload", "reader"))
    assert raw_call(port, good) == 200
    assert raw_call(port, good.replace(b"Authorization: Bearer", b"AUTHORIZATION:bearer")) == 200
    assert raw_call(port, reader) == 403
    for headers in (
        (), (good, reader), (reader, good), (good, good), (good, "Authorization: Bearer é".encode()),
        ("Authorization: é".encode("latin-1"), good), (good + b", " + good[15:],),
        (good[:-10] + b"\r\n " + good[-10:],),
        (good.replace(b"Bearer", b"Basic"),), (good.replace(b"Authorization", b"Authorization_"),),
        (good.replace(b"Authorization", b"X-Authorization"),), (good.replace(b"Authorization", b"Grpc-Authorization"),),
        (good.replace(b"Authorization", b"Authorization-Bin"),), (b"X-Forwarded-Client-Cert: URI=spiffe://x/upload",),
        (b"Cookie: authorization=" + good[22:],), (b"X-User: upload", b"X-Tenant: ", b"X-Rights: apply"),
    ):  # fmt: skip
        assert raw_call(port, *headers) == 401, headers
