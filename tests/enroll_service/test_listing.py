"""ListEnrollments as callers meet it: over gRPC, over HTTP in JSON, by the client, and on the command line."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from facecloak.cli import build_cli
from facecloak.masks.mask import Mask
from facecloak.users import User
from facecloak.v1 import enroll_pb2
from facecloak_client import AsyncFaceCloakClient, FaceCloakClient
from facecloak_client.errors import InvalidInput, RightMissing
from facecloak_rpc.audit import AuditLog, entries
from facecloak_rpc.identity import IdentitySettings
from tests.tokens import AUDIENCE, ISSUER, Issuer

CALLERS = """
[[caller]]
name = "accounts"
claims = {sub = "accounts"}
tenant_claim = "org"
rights = ["read", "delete"]

[[caller]]
name = "upload"
claims = {sub = "upload"}
tenant_claim = "org"
rights = ["enroll", "apply", "delete"]
"""


def a_mask() -> Mask:
    pixels = np.random.default_rng(7).integers(-8, 9, (112, 112, 3)).astype(np.int8)
    return Mask.new(pixels, seed=7, report={"kind": "paint", "strength": "strong"})


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def issuer() -> Issuer:
    return Issuer("EdDSA")


@pytest.fixture
def service(make_service: Callable[..., Any], issuer: Issuer, tmp_path: Path, free_port: int) -> Any:
    """One with two tenants, of whom one has three users and the other one."""
    callers = tmp_path / "callers.toml"
    callers.write_text(CALLERS)
    jwks = issuer.write_jwks(tmp_path / "jwks.json")
    identity = IdentitySettings(callers=callers, jwks=str(jwks), issuer=ISSUER, audience=AUDIENCE)
    made = make_service(identity=identity, http_port=free_port)
    for user in (User("acme", "alice"), User("acme", "bob"), User("acme", "carol"), User("globex", "alice")):
        made.store.put(user, a_mask())
    return made


def client_of(service: Any, issuer: Issuer, tenant: str, subject: str = "accounts", kind: Any = FaceCloakClient) -> Any:
    token = issuer.token(subject, org=tenant)
    return kind(enroll=service.server.target, token=token, health_checks=False)


def test_each_tenant_lists_its_own(service: Any, issuer: Issuer) -> None:
    with client_of(service, issuer, "acme") as acme, client_of(service, issuer, "globex") as globex:
        assert sorted(one.user_id for one in acme.list_enrollments(page_size=2)) == ["alice", "bob", "carol"]
        assert [one.user_id for one in globex.list_enrollments()] == ["alice"]
        page = next(acme.enrollment_pages(page_size=2))
        assert len(page.users) == 2
        (rest,) = acme.enrollment_pages(page_size=2, page_token=page.next_page_token)
        assert len({one.user_id for one in (*page.users, *rest.users)}) == 3
        for token in (page.next_page_token[:-2] + "AA", "forged"):
            with pytest.raises(InvalidInput) as refused:
                next(acme.enrollment_pages(page_token=token))
            assert refused.value.metadata["field"] == "page_token"
        with pytest.raises(InvalidInput):
            next(globex.enrollment_pages(page_token=page.next_page_token))
        with pytest.raises(InvalidInput):
            next(acme.enrollment_pages(page_size=1001))
        acme.delete("bob")
        assert sorted(one.user_id for one in acme.list_enrollments()) == ["alice", "carol"]


def test_it_asks_for_the_right_to_read(service: Any, issuer: Issuer) -> None:
    with client_of(service, issuer, "acme", "upload") as upload, pytest.raises(RightMissing) as refused:
        next(upload.list_enrollments())
    assert refused.value.metadata["right"] == "read"


def test_the_answer_holds_what_the_mask_says_and_nothing_of_it(service: Any, issuer: Issuer) -> None:
    with client_of(service, issuer, "globex") as client:
        (page,) = client.enrollment_pages()
        (listed,) = page.users
        told = client.get_enrollment("alice")
    mask = service.store.get(User("globex", "alice"))
    assert (listed.mask_id, listed.created_at, listed.epoch) == (mask.mask_id, told.created_at, 1)
    assert (listed.kind, listed.strength) == (enroll_pb2.MASK_KIND_PAINT, enroll_pb2.STRENGTH_STRONG)
    assert not listed.HasField("expires_at")
    assert mask.pixels.tobytes()[:64] not in page.SerializeToString()
    assert len(page.SerializeToString()) < 200


def test_asyncio_too(service: Any, issuer: Issuer) -> None:
    async def listed() -> list[str]:
        async with client_of(service, issuer, "acme", kind=AsyncFaceCloakClient) as client:
            return [one.user_id async for one in client.list_enrollments(page_size=1)]

    assert sorted(asyncio.run(listed())) == ["alice", "bob", "carol"]


def test_over_http_in_json(service: Any, issuer: Issuer, free_port: int) -> None:
    def post(body: dict[str, object]) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", free_port, timeout=30)
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {issuer.token('accounts', org='acme')}",
        }
        connection.request("POST", "/facecloak.v1.EnrollService/ListEnrollments", json.dumps(body), headers)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        connection.close()
        return answer.status, content

    status, first = post({"pageSize": 2})
    assert (status, len(first["users"])) == (200, 2)
    status, last = post({"pageSize": 2, "pageToken": first["nextPageToken"]})
    assert (status, "nextPageToken" in last) == (200, False)
    assert {one["userId"] for one in (*first["users"], *last["users"])} == {"alice", "bob", "carol"}
    assert first["users"][0]["kind"] == "MASK_KIND_PAINT"
    assert post({"pageToken": "forged"})[0] == 400


def test_on_the_command_line(make_service: Callable[..., Any], tmp_path: Path) -> None:
    service = make_service()
    service.store.put(User("", "alice"), a_mask())
    service.store.put(User("", "bob"), a_mask())
    service.store.put(User("acme", "carol"), a_mask())
    for place in (["--target", service.server.target], ["--data", str(tmp_path)]):
        done = CliRunner().invoke(build_cli(), ["list", "--json", *place])
        assert done.exit_code == 0, done.stderr
        printed = {one["user_id"]: one for one in map(json.loads, done.stdout.splitlines())}
        assert sorted(printed) == ["alice", "bob"]
        mask = service.store.get(User("", "alice"))
        assert (printed["alice"]["mask_id"], printed["alice"]["created_at"]) == (mask.mask_id, mask.created_at)
        assert (printed["alice"]["kind"], printed["alice"]["consent_expired"]) == ("paint", False)
        done = CliRunner().invoke(build_cli(), ["list", *place])
        assert f"alice: paint strong {mask.mask_id} of {mask.created_at}\n" in done.stdout
    nothing = CliRunner().invoke(build_cli(), ["list", "--data", str(tmp_path / "none")])
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert not (tmp_path / "none").exists()


def test_it_is_told_only_where_it_can_be_noted(service: Any, tmp_path: Path) -> None:
    from enroll_service.audited import AuditedStore
    from facecloak_rpc.audit import AuditUnavailable

    folder = tmp_path / "audit"
    audit = AuditLog(folder, service.store.names)
    AuditedStore(service.store, audit).list_masks("acme", limit=2)
    audit.close()
    (line,) = [entry for entry in entries(folder) if entry["event"] == "list"]
    assert (line["outcome"], line["tenant"], line["users"]) == ("LISTED", "acme", 2)
    blocked = tmp_path / "a file"
    blocked.write_text("")
    with pytest.raises(AuditUnavailable):
        AuditedStore(service.store, AuditLog(blocked, service.store.names)).list_masks("acme", limit=2)
