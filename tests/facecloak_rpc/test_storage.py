"""Which key a store is opened with, when one is made, and what is noticed while it is open."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facecloak.masks.mask import Mask
from facecloak.stores import KeyUnusable, MaskNotFound, StoreUnavailable, WrongKey
from facecloak_rpc.storage import StoreSettings, open_configured_store
from tests.users import ALICE

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.b64encode(bytes(32)).decode()


def a_mask() -> Mask:
    return Mask.new(np.ones((112, 112, 3), np.int8), seed=1)


def write_key(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)


@pytest.mark.parametrize("begins", [True, False])
def test_an_untouched_default_folder_gets_a_key_and_a_store(tmp_path: Path, *, begins: bool) -> None:
    settings = StoreSettings(data=tmp_path / "data")
    assert settings.is_untouched
    with pytest.raises(MaskNotFound):
        open_configured_store(settings, begins=begins).get(ALICE)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [
        "data/mask.key", "data/masks/key-check"
    ]  # fmt: skip
    assert not settings.is_untouched
    open_configured_store(settings).put(ALICE, a_mask())
    assert open_configured_store(settings, begins=False).get(ALICE).seed == 1


def test_a_key_file_elsewhere_is_made_for_the_default_folder_too(tmp_path: Path) -> None:
    settings = StoreSettings(data=tmp_path / "data", key_file=tmp_path / "secrets" / "key")
    open_configured_store(settings).put(ALICE, a_mask())
    assert (tmp_path / "secrets" / "key").exists()
    assert not (tmp_path / "data" / "mask.key").exists()


def settings_without_key(tmp_path: Path, place: str) -> StoreSettings:
    if place == "s3":
        return StoreSettings(url="s3://bucket/masks", s3_endpoint="127.0.0.1:9", data=tmp_path / "data")
    if place == "another folder":
        return StoreSettings(url=(tmp_path / "masks").as_uri(), data=tmp_path / "data")
    if place == "s3, with a key file that is missing":
        return StoreSettings(url="s3://bucket/masks", s3_endpoint="127.0.0.1:9", key_file=tmp_path / "data" / "key")
    settings = StoreSettings(data=tmp_path / "data")
    store = open_configured_store(settings)
    store.put(ALICE, a_mask())
    if place == "a folder whose masks are gone":
        store.delete(ALICE)
    settings.key_path.unlink()
    if place == "a folder with masks and no key check":
        (tmp_path / "data" / "masks" / "key-check").unlink()
    return settings


@pytest.mark.parametrize(
    "place",
    [
        "s3", "s3, with a key file that is missing", "another folder", "a folder with masks",
        "a folder with masks and no key check", "a folder whose masks are gone",
    ],
)  # fmt: skip
def test_no_key_is_made_where_one_must_have_been(tmp_path: Path, place: str) -> None:
    settings = settings_without_key(tmp_path, place)
    before = sorted(tmp_path.rglob("*"))
    for begins in (True, False):
        with pytest.raises(KeyUnusable, match="none is made"):
            open_configured_store(settings, begins=begins)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_key_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    write_key(tmp_path / "data" / "mask.key", KEY)
    open_configured_store(StoreSettings(data=tmp_path / "data")).put(ALICE, a_mask())
    assert (tmp_path / "data" / "mask.key").read_text() == KEY
    again = StoreSettings(url=(tmp_path / "data" / "masks").as_uri(), key=KEY)
    assert open_configured_store(again).get(ALICE).seed == 1


def test_with_a_key_but_no_store_nobody_is_said_to_have_no_mask(tmp_path: Path) -> None:
    write_key(tmp_path / "data" / "mask.key", KEY)
    reader = open_configured_store(StoreSettings(data=tmp_path / "data"), begins=False)
    with pytest.raises(StoreUnavailable) as refusal:
        reader.get(ALICE)
    assert refusal.value.fault == "FolderMissing"
    # It becomes one as soon as the one who writes has begun it.
    open_configured_store(StoreSettings(data=tmp_path / "data")).probe()
    with pytest.raises(MaskNotFound):
        reader.get(ALICE)


def replace_key(settings: StoreSettings) -> None:
    write_key(settings.key_path, OTHER_KEY)


def remove_key(settings: StoreSettings) -> None:
    settings.key_path.unlink()


def replace_store(settings: StoreSettings) -> None:
    os.rename(settings.folder, settings.data / "old")
    open_configured_store(StoreSettings(data=settings.data, key=OTHER_KEY)).probe()


@pytest.mark.parametrize(
    ("change", "error"), [(replace_key, WrongKey), (remove_key, KeyUnusable), (replace_store, WrongKey)]
)
def test_what_changes_while_a_store_is_open_is_noticed_by_its_probes(
    tmp_path: Path, change: Callable[[StoreSettings], None], error: type[Exception]
) -> None:
    settings = StoreSettings(data=tmp_path / "data")
    writer, reader = open_configured_store(settings), open_configured_store(settings, begins=False)
    writer.put(ALICE, a_mask())
    reader.probe_reading()
    change(settings)
    for probe in (writer.probe, writer.probe_reading, reader.probe_reading):
        with pytest.raises(error):
            probe()
