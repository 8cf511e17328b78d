"""The operator's list of callers: who fits which entry, and what is no list."""

from __future__ import annotations

from pathlib import Path

import pytest

from facecloak_rpc.identity import Right
from facecloak_rpc.identity.callers_file import Callers
from facecloak_rpc.identity.errors import CallerUnknown
from facecloak_rpc.watched_files import FileUnusable

LIST = """
[[caller]]
name = "upload"
uri = "spiffe://example/upload"
tenant = "acme"
rights = ["apply"]

[[caller]]
name = "batch"
uri = "spiffe://example/batch/*"
rights = ["apply", "read"]
share = 0.25

[[caller]]
name = "accounts"
claims = {sub = "accounts", azp = "backend"}
tenant_claim = "org"
rights = ["enroll", "delete", "read"]
"""


@pytest.fixture
def callers(tmp_path: Path) -> Callers:
    path = tmp_path / "callers.toml"
    path.write_text(LIST)
    return Callers.load(path)


def test_uris_fit_whole_or_by_their_first_part(callers: Callers) -> None:
    upload = callers.by_uri("spiffe://example/upload")
    assert (upload.name, upload.tenant, upload.rights) == ("upload", "acme", {Right.APPLY})
    batch = callers.by_uri("spiffe://example/batch/one/two")
    assert (batch.name, batch.tenant, batch.share) == ("batch", "", 0.25)
    for other in (
        "", "spiffe://example/upload/", "spiffe://example/uploads", "spiffe://example/batch", "spiffe://example/batch/",
        "spiffe://example/batches/x", "spiffe://example.evil/upload", "SPIFFE://example/upload", "accounts", "*",
    ):  # fmt: skip
        with pytest.raises(CallerUnknown):
            callers.by_uri(other)


def test_claims_fit_all_together_and_name_the_tenant(callers: Callers) -> None:
    claims = {"sub": "accounts", "azp": "backend", "org": "globex", "other": 1}
    accounts = callers.by_claims(claims)
    assert (accounts.tenant, accounts.rights) == ("globex", {Right.ENROLL, Right.DELETE, Right.READ})
    assert accounts.user("alice") != callers.by_claims(claims | {"org": "acme"}).user("alice")
    for wrong in (
        {"azp": "x"}, {"azp": ["backend"]}, {"sub": None}, {"org": ""}, {"org": None}, {"org": 7}, {"org": ["globex"]},
        {"org": "a\0b"}, {"org": "x" * 65}, {"org": "../acme"},
    ):  # fmt: skip
        with pytest.raises(CallerUnknown):
            callers.by_claims(claims | wrong)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "entries"),
        ("caller = 1", "entries"),
        ("x = 1\n" + LIST, "entries"),
        ("[[caller]\n", "not TOML"),
        (LIST + LIST, "alike"),
        ('[[caller]]\nname = "a"\nuri = "x:y"\nrights = ["all"]', "no right"),
        ('[[caller]]\nname = "a"\nuri = "x:y"\nrights = []', "rights"),
        ('[[caller]]\nname = "a"\nrights = ["read"]', "one of both"),
        ('[[caller]]\nname = "a"\nuri = "x:y"\nclaims = {sub = "a"}\nrights = ["read"]', "one of both"),
        ('[[caller]]\nname = "a"\nuri = "x:*y"\nrights = ["read"]', "whole"),
        ('[[caller]]\nname = "a"\nuri = "x:y"\ntenant_claim = "org"\nrights = ["read"]', "of a token"),
        ('[[caller]]\nname = "a"\nuri = "x:y"\ntenant = "a/b"\nrights = ["read"]', "tenant"),
        ('[[caller]]\nname = "a"\nuri = "x:y"\nrights = ["read"]\nright = "all"', "Extra"),
        ('[[caller]]\nname = "a"\nclaims = {sub = 1}\nrights = ["read"]', "string"),
        ('[[caller]]\nname = "a"\nclaims = {}\nrights = ["read"]', "claims"),
    ],
)
def test_a_list_that_is_none_is_refused(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "callers.toml"
    path.write_text(text)
    with pytest.raises(FileUnusable, match=why):
        Callers.load(path)
