"""Consent, receipts and the audit log, as a caller and an operator meet them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from enroll_service.audited import AuditedStore
from facecloak.cli import build_cli
from facecloak.stores import MaskNotFound
from facecloak.stores.receipts import DeletionReceipt, public_key_of
from facecloak.v1 import enroll_pb2
from facecloak_rpc.audit import AuditLog, AuditUnavailable, entries
from facecloak_rpc.client import RemoteError, remote_errors
from tests.users import ALICE

PHOTOS = [enroll_pb2.EnrollmentPhoto(data=b"a photo")]


def enroll(service: Any, **consent: Any) -> enroll_pb2.Enrollment:
    request = enroll_pb2.EnrollUserRequest(user_id="alice", photos=PHOTOS)
    if consent:
        request.consent.text_version = consent.get("text_version", "v1")
        request.consent.purpose = consent.get("purpose", "cloaking")
        request.consent.given_at.FromDatetime(consent.get("given_at", datetime.now(UTC)))
        if "expires_at" in consent:
            request.consent.expires_at.FromDatetime(consent["expires_at"])
    with remote_errors():
        return list(service.stub.EnrollUser(request, timeout=30))[-1].result


def reason_of(call: Callable[[], object]) -> str:
    with pytest.raises(RemoteError) as refusal:
        call()
    return refusal.value.reason


def test_consent_is_kept_with_the_mask_and_required_where_the_operator_says_so(
    make_service: Callable[..., Any],
) -> None:
    service = make_service(consent_required=True)
    service.gate.open()
    assert reason_of(lambda: enroll(service)) == "CONSENT_REQUIRED"
    yesterday = datetime.now(UTC) - timedelta(days=1)
    for wrong in (
        {"text_version": "x" * 65}, {"purpose": "p" * 257}, {"given_at": datetime(2200, 1, 1, tzinfo=UTC)},
        {"given_at": yesterday - timedelta(days=1), "expires_at": yesterday}, {"expires_at": yesterday},
    ):  # fmt: skip
        assert reason_of(lambda wrong=wrong: enroll(service, **wrong)) == "CONSENT_INVALID"
    ends = datetime.now(UTC) + timedelta(days=30)
    told = enroll(service, text_version="v7", expires_at=ends).consent
    assert (told.text_version, told.purpose) == ("v7", "cloaking")
    with remote_errors():
        again = service.stub.GetEnrollment(enroll_pb2.GetEnrollmentRequest(user_id="alice"), timeout=10)
    assert again.enrollment.consent == told


def test_a_deletion_is_receipted(service: Any) -> None:
    service.gate.open()
    enroll(service)
    request = enroll_pb2.DeleteUserRequest(user_id="alice")
    for found in (True, False):
        response = service.stub.DeleteUser(request, timeout=10)
        receipt = DeletionReceipt.from_bytes(response.receipt)
        receipt.verify(public_key_of(service.store.names()))
        assert (receipt.user_id, receipt.found, response.deleted) == ("alice", found, found)


def test_what_is_done_is_noted_and_what_cannot_be_noted_is_not_done(
    tmp_path: Path, make_service: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service()
    audit = AuditLog(tmp_path / "audit", service.store.names)
    store = AuditedStore(service.store, audit)
    monkeypatch.setattr(service.domain.jobs, "_masks", store)
    monkeypatch.setattr(service.domain.enrollments, "_store", store)
    service.gate.open()
    mask_id = enroll(service).mask_id
    service.stub.DeleteUser(enroll_pb2.DeleteUserRequest(user_id="alice"), timeout=10)
    found = [(one["event"], one["outcome"]) for one in entries(tmp_path / "audit")]
    assert found == [("enroll", "STORING"), ("enroll", "STORED"), ("delete", "ERASING"), ("delete", "ERASED")]
    text = "".join(path.read_text() for path in (tmp_path / "audit").iterdir())
    assert "alice" not in text
    assert mask_id in text

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(audit, "_append", full)
    assert reason_of(lambda: enroll(service)) == "AUDIT_UNAVAILABLE"
    with pytest.raises(MaskNotFound):
        service.store.get(ALICE)
    with pytest.raises(AuditUnavailable):  # the deletion is done even so
        store.erase(ALICE)
    with pytest.raises(MaskNotFound):
        service.store.get(ALICE)


def run(*arguments: str) -> tuple[int, str]:
    from click.testing import CliRunner

    done = CliRunner().invoke(build_cli(), list(arguments))
    return done.exit_code, done.output


def test_the_operators_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    from facecloak.masks.mask import Mask
    from facecloak_rpc.storage import StoreSettings, open_configured_store

    data, log = tmp_path / "data", tmp_path / "audit"
    monkeypatch.setenv("FACECLOAK_ENROLL_AUDIT__FOLDER", str(log))
    at = ("--data", str(data))
    store = open_configured_store(StoreSettings(data=data))
    store.put(ALICE, Mask.new(np.zeros((112, 112, 3), np.int8), seed=0))
    old = store.keyring.writing_key_id()
    code, new = run("keys", "add", *at)
    assert code == 0
    new = new.strip()
    assert run("keys", "promote", new, *at)[0] == 0
    assert run("keys", "retire", old, *at)[0] == 1
    code, told = run("keys", "rotate", "--json", *at)
    assert (code, json.loads(told)["rewrapped"]) == (0, 2)
    code, told = run("keys", "list", "--json", *at)
    assert json.loads(told)["keys"] == [
        {"key": new, "use": "writes", "objects": 2}, {"key": old, "use": "reads", "objects": 0}
    ]  # fmt: skip
    assert run("keys", "retire", old, *at)[0] == 0
    assert run("keys", "retire", new, *at)[0] == 1
    assert run("erase-expired", *at) == (0, "0 erased, 0 of deleted users, 1 kept\n")
    receipt = tmp_path / "receipt.json"
    assert run("delete", "--user", "alice", "--receipt", str(receipt), *at) == (0, "deleted\n")
    code, told = run("receipt", "verify", str(receipt), *at)
    assert code == 0
    assert "'alice'" in told
    key = run("receipt", "public-key", *at)[1].strip()
    assert run("receipt", "verify", str(receipt), "--public-key", key)[0] == 0
    receipt.write_bytes(receipt.read_bytes().replace(b"alice", b"alicf"))
    assert run("receipt", "verify", str(receipt), *at)[0] == 1
    assert run("audit", "verify", str(log), *at)[0] == 0
    events = [json.loads(line)["event"] for line in run("audit", "show", str(log))[1].splitlines()]
    assert events[:3] == ["key.add", "key.promote", "key.retire"]
    mine = run("audit", "show", str(log), "--user", "alice", *at)[1].splitlines()
    assert [json.loads(line)["outcome"] for line in mine] == ["ERASING", "ERASED"]
