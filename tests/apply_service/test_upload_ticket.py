"""Upload tickets: what binds a call to one user and one photo, and what does not."""

from __future__ import annotations

import base64
import hashlib
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from pydantic import SecretStr, ValidationError

from apply_service.upload_ticket import TICKET_HEADER, TicketInvalid, TicketMissing, TicketSettings, UploadTickets
from facecloak.errors import ErrorCode
from facecloak.users import User
from facecloak.v1 import apply_pb2
from facecloak_rpc.audit import AuditSettings, entries, verify_folder
from facecloak_rpc.client import RemoteError, remote_errors
from tests.tokens import Issuer

SECRET = bytes(range(32))
KEY = SecretStr(base64.b64encode(SECRET).decode())
PHOTO, OTHER = b"one photo", b"another photo"
ALICE, BOB = User("", "alice"), User("", "bob")


def minted(
    user: User = ALICE, photo: bytes = PHOTO, *, key: Any = SECRET, algorithm: str = "HS256", **changes: Any
) -> str:
    claims = {
        "aud": "facecloak-upload", "exp": int(time.time()) + 60, "sub": user.user_id,
        "photo_sha256": hashlib.sha256(photo).hexdigest(), "tenant": user.tenant,
    }  # fmt: skip
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(claims, key, algorithm)


def headers(*tickets: str) -> list[tuple[str, str]]:
    return [(TICKET_HEADER, ticket) for ticket in tickets]


@pytest.fixture
def tickets() -> UploadTickets:
    return UploadTickets(TicketSettings(required=True, key=KEY))


def test_a_ticket_is_for_one_user_and_one_photo(tickets: UploadTickets) -> None:
    tickets.of(headers(minted())).check([ALICE], PHOTO)
    tickets.of(headers(minted(), minted(BOB), minted(BOB, OTHER))).check([ALICE, BOB], PHOTO)
    tickets.of(headers(minted(tenant=None))).check([ALICE], PHOTO)
    tickets.of(headers(minted(photo_sha256=hashlib.sha256(PHOTO).hexdigest().upper()))).check([ALICE], PHOTO)
    for given, users, photo in (
        ((), [ALICE], PHOTO),
        ((minted(),), [ALICE], OTHER),
        ((minted(),), [BOB], PHOTO),
        ((minted(),), [ALICE, BOB], PHOTO),
        ((minted(BOB), minted(ALICE, OTHER)), [ALICE], PHOTO),
        ((minted(),), [User("acme", "alice")], PHOTO),
        ((minted(User("acme", "alice")),), [ALICE], PHOTO),
    ):
        with pytest.raises(TicketMissing):
            tickets.of(headers(*given)).check(users, photo)


def test_what_is_no_ticket_is_refused(tickets: UploadTickets) -> None:
    now = int(time.time())
    wrong = [
        "", "x", "a.b.c", minted()[:-3] + "AAA", minted(key=b"x" * 32), minted(exp=now - 60), minted(exp=None),
        minted(exp=now + 3600), minted(aud="facecloak"), minted(aud=None), minted(sub=None), minted(sub=7),
        minted(sub=""), minted(photo_sha256=None), minted(photo_sha256="abc"), minted(photo_sha256=7),
        minted(photo_sha256="é" * 64), minted(tenant=7), minted(tenant="a/b"), minted(algorithm="HS512"),
        jwt.encode({"sub": "alice"}, None, "none"), minted(sub="a\0b"), "x" * 20_000,
    ]  # fmt: skip
    for ticket in wrong:
        with pytest.raises(TicketInvalid):
            tickets.of(headers(minted(), ticket))
    with pytest.raises(TicketInvalid):
        tickets.of(headers(*[minted()] * 65))


def test_a_ticket_that_ends_in_a_stream_ends(tickets: UploadTickets, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tickets.of(headers(minted()))
    given.check([ALICE], PHOTO)
    later = time.time() + 120
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(TicketMissing):
        given.check([ALICE], PHOTO)


def test_public_keys_check_and_cannot_sign(tmp_path: Path) -> None:
    issuer = Issuer()
    path = issuer.write_jwks(tmp_path / "jwks.json")
    tickets = UploadTickets(TicketSettings(required=True, jwks=path))
    good = minted(key=issuer.key, algorithm="ES256")
    tickets.of(headers(good)).check([ALICE], PHOTO)
    for wrong in (minted(), minted(key=issuer.jwk()["x"].encode()), minted(key=Issuer().key, algorithm="ES256")):
        with pytest.raises(TicketInvalid):
            tickets.of(headers(wrong))


def test_tickets_that_are_not_required_are_checked_where_they_come() -> None:
    tickets = UploadTickets(TicketSettings(key=KEY))
    tickets.of([]).check([ALICE], PHOTO)
    with pytest.raises(TicketMissing):
        tickets.of(headers(minted())).check([ALICE], OTHER)
    UploadTickets(TicketSettings()).of(headers("x")).check([ALICE], PHOTO)


def test_settings_that_check_nothing_are_refused(tmp_path: Path) -> None:
    for wrong in (
        {"required": True}, {"key": "AAAA"}, {"key": "not base64!"}, {"key": KEY, "jwks": tmp_path / "x"},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            TicketSettings(**wrong)


def test_the_service_asks_for_tickets(make_service: Any, astronaut_photo: bytes, tmp_path: Path) -> None:
    service = make_service(ticket=TicketSettings(required=True, key=KEY), audit=AuditSettings(folder=tmp_path))
    request = apply_pb2.ApplyCloakRequest(photo=astronaut_photo, subjects=[apply_pb2.Subject(user_id="alice")])
    good = headers(minted(photo=astronaut_photo))
    assert service.stub.ApplyCloak(request, timeout=60, metadata=good).photo != astronaut_photo
    for metadata, reason in (
        ((), "TICKET_MISSING"),
        (headers(minted()), "TICKET_MISSING"),
        (headers("x"), "TICKET_INVALID"),
    ):
        with pytest.raises(RemoteError) as caught, remote_errors():
            service.stub.ApplyCloak(request, timeout=60, metadata=metadata)
        assert (caught.value.code, caught.value.reason) == (ErrorCode.PERMISSION_DENIED, reason)
    bob = apply_pb2.ApplyCloakRequest(photo=astronaut_photo, subjects=[apply_pb2.Subject(user_id="bob")])
    messages = [apply_pb2.ApplyCloakStreamRequest(sequence=n, request=one) for n, one in enumerate((request, bob))]
    answers = {one.sequence: one for one in service.stub.ApplyCloakStream(iter(messages), timeout=60, metadata=good)}
    assert answers[0].response.subjects[0].outcome == apply_pb2.CLOAK_OUTCOME_CLOAKED
    assert answers[1].error.code == 7
    found = service.stub.FindFaces(apply_pb2.FindFacesRequest(photo=astronaut_photo), timeout=60)
    assert len(found.faces) == 1, "names no user, and needs no ticket"
    service.server.stop(grace_seconds=5)
    names = service.store.names()
    told = {(one["outcome"], one["method"], one.get("user"), one["count"]) for one in entries(tmp_path)}
    assert told == {
        ("TICKET_MISSING", "ApplyCloak", names.pseudonym(ALICE), 2), ("TICKET_INVALID", "ApplyCloak", None, 1),
        ("TICKET_MISSING", "ApplyCloakStream", names.pseudonym(BOB), 1),
    }  # fmt: skip
    assert [one.lines for one in verify_folder(tmp_path, names)] == [3]
