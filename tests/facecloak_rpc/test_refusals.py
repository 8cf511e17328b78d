"""Refused calls in the audit log: what is told of each, and that a flood of them stays small."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from facecloak.errors import InvalidInput
from facecloak.stores.names import StoreNames
from facecloak.users import User
from facecloak_rpc.audit import AuditLog, AuditUnavailable, NoAudit, entries, verify_folder
from facecloak_rpc.caller_limits import RateLimited
from facecloak_rpc.identity import ANYBODY, Caller, IdentitySettings, Right
from facecloak_rpc.identity.errors import CredentialsInvalid, CredentialsMissing, RightMissing
from facecloak_rpc.refusals import Refusals, mark_audited
from facecloak_rpc.settings import RpcSettings
from tests.tokens import AUDIENCE, ISSUER, Issuer, bearer
from tests.users import ALICE

NAMES = StoreNames(bytes(range(32)))
UPLOAD = Caller("upload", tenant="acme")


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "audit", lambda: NAMES)


def lines_of(log: AuditLog) -> list[dict[str, Any]]:
    folder = log.folder
    return entries(folder) if folder.exists() else []


def test_refusals_of_one_kind_are_one_line(log: AuditLog) -> None:
    refusals = Refusals(log)
    for _ in range(1000):
        refusals.note(CredentialsMissing("no"), method="ApplyCloak", caller=None)
        refusals.note(RightMissing("no"), method="DeleteUser", caller=UPLOAD)
    refusals.note(RateLimited("no"), method="ApplyCloak", caller=ANYBODY)
    assert lines_of(log) == [], "no call waits for the log"
    refusals.close()
    told = {(one["outcome"], one["method"]): one for one in lines_of(log)}
    assert {key: one["count"] for key, one in told.items()} == {
        ("CREDENTIALS_MISSING", "ApplyCloak"): 1000, ("RIGHT_MISSING", "DeleteUser"): 1000,
        ("RATE_LIMITED", "ApplyCloak"): 1,
    }  # fmt: skip
    right = told["RIGHT_MISSING", "DeleteUser"]
    assert (right["event"], right["tenant"], right["caller"]) == ("refusal", "acme", "upload")
    assert right["first"] <= right["last"]
    assert "caller" not in told["CREDENTIALS_MISSING", "ApplyCloak"]
    assert [one.lines for one in verify_folder(log.folder, NAMES)] == [3]


def test_only_policy_is_told_and_nothing_twice(log: AuditLog) -> None:
    refusals = Refusals(log)
    refusals.note(InvalidInput("no", field="x"), method="EnrollUser", caller=UPLOAD)
    refusals.note(ValueError("a defect"), method="EnrollUser", caller=UPLOAD)
    known = RightMissing("no")
    mark_audited(known)
    refusals.note(known, method="EnrollUser", caller=UPLOAD)
    error = RateLimited("no")
    with pytest.raises(RateLimited), refusals.counted("EnrollUser", UPLOAD, ALICE):
        raise error
    refusals.note(error, method="EnrollUser", caller=UPLOAD)
    refusals.close()
    (line,) = lines_of(log)
    assert (line["outcome"], line["count"], line["user"]) == ("RATE_LIMITED", 1, NAMES.pseudonym(ALICE))


def test_a_flood_of_users_and_callers_stays_small_and_is_counted_whole(log: AuditLog) -> None:
    refusals = Refusals(log)
    for number in range(20_000):
        caller = Caller(f"caller-{number}" + "x" * 5000, tenant="acme")
        refusals.count(RateLimited("no"), method="ApplyCloak", caller=caller, user=User("acme", f"user-{number}"))
    refusals.close()
    lines = lines_of(log)
    assert sum(one["count"] for one in lines) == 20_000
    assert len(lines) < 120
    assert sum(path.stat().st_size for path in log.folder.iterdir()) < 200_000
    assert any("user" not in one and "caller" not in one for one in lines)


def test_what_cannot_be_written_is_kept(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = Refusals(log, seconds=3600)
    append, written = log._append, []

    def full(*given: Any) -> None:
        if len(written) == 1:
            raise OSError(28, "No space left on device")
        written.append(given)
        append(*given)

    monkeypatch.setattr(log, "_append", full)
    for method in ("ApplyCloak", "FindFaces"):
        refusals.note(CredentialsMissing("no"), method=method, caller=None)
    refusals.flush()
    assert [one["method"] for one in lines_of(log)] == ["ApplyCloak"]
    refusals.note(CredentialsMissing("no"), method="FindFaces", caller=None)
    monkeypatch.undo()
    refusals.close()
    assert [(one["method"], one["count"]) for one in lines_of(log)] == [("ApplyCloak", 1), ("FindFaces", 2)]
    refusals.note(CredentialsMissing("no"), method="FindFaces", caller=None)
    refusals.flush()
    assert len(lines_of(log)) == 2


def test_lines_come_by_themselves_and_threads_lose_none(log: AuditLog) -> None:
    refusals = Refusals(log, seconds=0.05)

    def many() -> None:
        for _ in range(500):
            refusals.note(CredentialsInvalid("x"), method="ApplyCloak", caller=None)

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    end = time.monotonic() + 20
    while sum(one["count"] for one in lines_of(log)) < 2000 and time.monotonic() < end:
        time.sleep(0.02)
    assert sum(one["count"] for one in lines_of(log)) == 2000
    refusals.close()


def test_without_an_audit_log_nothing_is_held() -> None:
    refusals = Refusals(NoAudit())
    refusals.note(CredentialsMissing("no"), method="ApplyCloak", caller=None)
    assert not refusals._counts
    refusals.close()


def test_a_log_whose_store_is_away_keeps_its_refusals(tmp_path: Path) -> None:
    away = [True]

    def names() -> StoreNames:
        if away:
            raise AuditUnavailable("the store is away")
        return NAMES

    log = AuditLog(tmp_path / "audit", names)
    refusals = Refusals(log, seconds=3600)
    refusals.note(CredentialsMissing("no"), method="ApplyCloak", caller=None)
    refusals.flush()
    away.clear()
    refusals.close()
    assert [one["count"] for one in lines_of(log)] == [1]


def test_a_servers_refusals_are_told(log: AuditLog, tmp_path: Path, make_echo: Any) -> None:
    issuer = Issuer()
    callers = tmp_path / "callers.toml"
    callers.write_text('[[caller]]\nname = "reader"\nclaims = {sub = "accounts"}\ntenant = "acme"\nrights = ["read"]\n')
    identity = IdentitySettings(
        callers=callers, jwks=str(issuer.write_jwks(tmp_path / "jwks.json")), issuer=ISSUER, audience=AUDIENCE
    )
    refusals, echo = Refusals(log), make_echo()
    rights = {f"{echo.name}/Say": Right.APPLY, f"{echo.name}/SayEach": Right.READ}
    echo.start(RpcSettings(port=0, identity=identity), rights=rights, refusals=refusals)
    try:
        assert [one.value for one in echo.stream("hi", metadata=bearer(issuer.token()))] == ["h", "i"]
        for metadata in ([], [], bearer("x.y.z"), bearer(issuer.token("nobody")), bearer(issuer.token())):
            with pytest.raises(grpc.RpcError):
                echo.call(metadata=metadata)
        with pytest.raises(grpc.RpcError):
            list(echo.stream())
    finally:
        echo.channel.close()
        echo.server.stop(grace_seconds=0)
        refusals.close()
    told = {(one["outcome"], one["method"], one.get("caller", ""), one["count"]) for one in lines_of(log)}
    assert told == {
        ("CREDENTIALS_MISSING", "Say", "", 2), ("CREDENTIALS_MISSING", "SayEach", "", 1),
        ("CREDENTIALS_INVALID", "Say", "", 1), ("CALLER_UNKNOWN", "Say", "", 1), ("RIGHT_MISSING", "Say", "reader", 1),
    }  # fmt: skip
