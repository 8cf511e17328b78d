"""Whose photo is whose."""

from __future__ import annotations

from pathlib import Path

import pytest

from facecloak_backfill.errors import InvalidManifest
from facecloak_backfill.people import PersonInPhoto, PhotoTask, from_manifest, from_names, user_by_pattern


@pytest.mark.parametrize(
    ("pattern", "name", "user"),
    [
        ("{user}/**", "alice/1.jpg", "alice"),
        ("{user}/**", "alice/2024/may/1.jpg", "alice"),
        ("{user}/**", "1.jpg", None),
        ("photos/{user}/*", "photos/bob/1.jpg", "bob"),
        ("photos/{user}/*", "photos/bob/old/1.jpg", None),
        ("photos/{user}/*", "other/bob/1.jpg", None),
        ("**/{user}-*.jpg", "a/b/carol-1.jpg", "carol"),
        ("**/{user}-*.jpg", "carol-1.jpg", "carol"),
        ("u?/{user}/**", "u1/d.e+f/x.jpg", "d.e+f"),
        ("{user}.jpg", "axjpg", None),
    ],
)
def test_the_user_is_found_in_the_name(pattern: str, name: str, user: str | None) -> None:
    assert user_by_pattern(pattern)(name) == user


@pytest.mark.parametrize("pattern", ["**", "{user}/{user}/*", ""])
def test_a_pattern_needs_one_user(pattern: str) -> None:
    with pytest.raises(InvalidManifest):
        user_by_pattern(pattern)


def test_names_without_a_user_are_left_out() -> None:
    tasks = list(from_names(["alice/1.jpg", "1.jpg"], user_by_pattern("{user}/*")))
    assert tasks == [PhotoTask("alice/1.jpg", (PersonInPhoto("alice"),))]


EXPECTED = [
    PhotoTask("a/1.jpg", (PersonInPhoto("alice", (1.0, 2.0, 30.0, 40.5)), PersonInPhoto("bob"))),
    PhotoTask("ü, 2.jpg", (PersonInPhoto("carol"),)),
]
CSV = 'path,user_id,face\na/1.jpg,alice,"1,2,30,40.5"\na/1.jpg,bob,\n"ü, 2.jpg",carol,\n'
JSON = (
    '{"path": "a/1.jpg", "user_id": "alice", "face": [1, 2, 30, 40.5]}\n{"path": "a/1.jpg", "user_id": "bob"}\n\n'
    '{"path": "ü, 2.jpg", "user_id": "carol", "face": null}\n'
)


@pytest.mark.parametrize(("name", "text"), [("m.csv", CSV), ("m.CSV", "\ufeff" + CSV), ("m.jsonl", JSON)])
def test_manifests(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert list(from_manifest(tmp_path / name)) == EXPECTED


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("m.csv", "name,user\na.jpg,b\n", "path,user_id"),
        ("m.csv", "", "path,user_id"),
        ("m.csv", "path,user_id\n../a.jpg,b\n", "line 2"),
        ("m.csv", "path,user_id\n/etc/passwd,b\n", "line 2"),
        ("m.csv", "path,user_id\na/.facecloak/b,b\n", "line 2"),
        ("m.csv", "path,user_id\na.jpg,\n", "line 2"),
        ("m.csv", 'path,user_id,face\na.jpg,b,"1,2,3"\n', "line 2"),
        ("m.csv", 'path,user_id,face\na.jpg,b,"1,2,3,x"\n', "line 2"),
        ("m.csv", "path,user_id\na.jpg,b\na.jpg,b\n", "a user twice"),
        ("m.csv", "path,user_id\na.jpg," + "b" * 20_000 + "\n", "longer than"),
        ("m.jsonl", '{"path": "a.jpg", "user_id": "b"}\nnot json\n', "line 2"),
        ("m.jsonl", '["a.jpg", "b"]\n', "line 1"),
        ("m.jsonl", '{"path": 3, "user_id": "b"}\n', "line 1"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidManifest, match=words):
        list(from_manifest(tmp_path / name))
