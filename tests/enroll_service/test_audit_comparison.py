"""What is found in a store that somebody put older masks back into, by the audit log."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from enroll_service.audit_comparison import compare
from enroll_service.audited import AuditedStore
from facecloak.cli import build_cli
from facecloak.masks.consent import Consent
from facecloak.masks.mask import Mask
from facecloak.stores.expiry import erase_expired
from facecloak.stores.names import tombstone_of
from facecloak.stores.sealed import SealedMaskStore
from facecloak.users import User
from facecloak_rpc.audit import AuditLog, entries
from facecloak_rpc.storage import StoreSettings, open_configured_store
from tests.users import ALICE, BOB

CAROL = User("acme", "carol")


class Watched:
    """A store with its audit log, and what somebody does who writes into the store's folder."""

    def __init__(self, folder: Path) -> None:
        self.data, self.folder = folder / "data", folder / "audit"
        self.store: SealedMaskStore = open_configured_store(StoreSettings(data=self.data))
        self.log = AuditLog(self.folder, self.store.names)
        self.audited = AuditedStore(self.store, self.log)

    def put(self, user: User, seed: int = 0, **options: Any) -> None:
        self.audited.put(user, Mask.new(np.zeros((112, 112, 3), np.int8), seed=seed, **options))

    def name(self, user: User) -> str:
        return self.store.names().mask(user)

    def copy(self, user: User) -> bytes:
        found = self.store.place.read(self.name(user))
        assert found is not None
        return found

    def found(self) -> list[tuple[str, str]]:
        result = compare(entries(self.folder), self.store)
        assert result.unreadable == 0
        return sorted((one.what, one.user) for one in result.findings)

    def pseudonym(self, user: User) -> str:
        return self.store.names().pseudonym(user)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_a_store_that_nobody_touched_agrees(watched: Watched) -> None:
    for seed in range(3):
        watched.put(ALICE, seed)
    watched.put(BOB)
    watched.audited.erase(BOB)
    watched.audited.erase(CAROL)
    over = Consent("v1", "2020-01-01T00:00:00+00:00", "p", "2020-01-02T00:00:00+00:00")
    mask = Mask.new(np.zeros((112, 112, 3), np.int8), seed=0)
    watched.audited.put(CAROL, replace(mask, consent=over))
    erase_expired(
        watched.store, erased=lambda name, why: watched.log.record("erase", outcome="ERASED", object=name, why=why)
    )
    watched.store.put(User("", "from before the log"), mask)
    assert watched.found() == []
    result = compare(entries(watched.folder), watched.store)
    assert (result.agree, result.unaccounted) == (2, 1)


def test_an_older_mask_of_a_user_is_found(watched: Watched) -> None:
    watched.put(ALICE, 1)
    older = watched.copy(ALICE)
    watched.put(ALICE, 2)
    watched.put(BOB)
    watched.store.place.write(watched.name(ALICE), older)
    assert watched.store.get(ALICE).seed == 1, "the store alone cannot tell"
    assert watched.found() == [("older or other mask", watched.pseudonym(ALICE))]


def test_a_deleted_users_mask_whose_tombstone_is_gone_is_found(watched: Watched) -> None:
    watched.put(ALICE, 1)
    older = watched.copy(ALICE)
    watched.audited.erase(ALICE)
    watched.store.place.write(watched.name(ALICE), older)
    assert watched.found() == [], "the tombstone refuses it"
    watched.store.place.remove(tombstone_of(watched.name(ALICE)))
    assert watched.store.get(ALICE).seed == 1
    assert watched.found() == [("mask after deletion", watched.pseudonym(ALICE))]


def test_a_mask_that_was_taken_away_is_found(watched: Watched) -> None:
    watched.put(ALICE)
    watched.put(CAROL)
    watched.store.place.remove(watched.name(CAROL))
    assert watched.found() == [("no mask", watched.pseudonym(CAROL))]


def line(event: str, outcome: str, mask_id: str = "") -> dict[str, str]:
    return {"event": event, "outcome": outcome, "object": "o", "user": "u", **({"mask_id": mask_id} if mask_id else {})}


@pytest.mark.parametrize(
    ("lines", "allowed"),
    [
        ([line("enroll", "STORING", "a")], {"a"}),
        ([line("enroll", "STORING", "a"), line("enroll", "STORED", "a"), line("enroll", "STORING", "b")], {"a", "b"}),
        # Two at once: either may be the last.
        ([line("enroll", "STORING", "a"), line("enroll", "STORING", "b"), line("enroll", "STORED", "b"),
          line("enroll", "STORED", "a")], {"a", "b"}),
        ([line("enroll", "STORING", "a"), line("delete", "ERASING"), line("delete", "ERASED"),
          line("enroll", "STORED", "a")], {"a", None}),
        ([line("enroll", "STORED", "a"), line("delete", "ERASING"), line("delete", "ERASED")], {None}),
        ([line("enroll", "STORED", "a"), line("refusal", "RATE_LIMITED"), line("enroll", "USER_DELETED")], {"a"}),
    ],
)  # fmt: skip
def test_what_may_be_there(lines: list[dict[str, str]], allowed: set[str | None]) -> None:
    from enroll_service.audit_comparison import _known

    assert _known(lines)["o"].allowed == allowed


def test_the_command(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> tuple[int, dict[str, Any]]:
        arguments = ["audit", "compare", str(watched.folder), "--data", str(watched.data), "--json"]
        done = CliRunner().invoke(build_cli(), arguments)
        return done.exit_code, json.loads(done.stdout)

    watched.put(ALICE, 1)
    older = watched.copy(ALICE)
    watched.put(ALICE, 2)
    assert run() == (0, {"agree": 1, "unaccounted": 0, "unreadable": 0, "findings": []})
    watched.store.place.write(watched.name(ALICE), older)
    code, told = run()
    finding = {"tenant": "", "user": watched.pseudonym(ALICE), "what": "older or other mask"}
    assert (code, told["findings"]) == (1, [finding])
    watched.store.place.write(watched.name(ALICE), b"damaged")
    assert run()[0] == 1
