from __future__ import annotations

import base64
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facecloak.stores import KeyUnusable, SealBroken, Sealer, WrongKey
from facecloak.stores.keys import key_from_file
from facecloak.stores.sealing import OVERHEAD_BYTES
from tests.users import ALICE, BOB

KEY = bytes(range(32))


@given(data=st.binary(max_size=500), name=st.text(alphabet="0123456789abcdef", min_size=1))
def test_round_trip(data: bytes, name: str) -> None:
    sealed = Sealer(KEY).seal(data, name=name)
    assert len(sealed) == len(data) + OVERHEAD_BYTES
    assert Sealer(KEY).open(sealed, name=name) == data


@given(at=st.integers(0, 139), flip=st.integers(1, 255))
def test_any_changed_byte_is_found(at: int, flip: int) -> None:
    sealed = bytearray(Sealer(KEY).seal(bytes(100), name="a"))
    sealed[at] ^= flip
    # The key's id names the key, so a change to it is told as another key.
    with pytest.raises(WrongKey if 4 <= at < 12 else SealBroken):
        Sealer(KEY).open(bytes(sealed), name="a")


def test_the_name_is_sealed_too() -> None:
    with pytest.raises(SealBroken):
        Sealer(KEY).open(Sealer(KEY).seal(b"x", name="a"), name="b")


def test_equal_data_is_sealed_differently_each_time() -> None:
    assert Sealer(KEY).seal(b"x", name="a") != Sealer(KEY).seal(b"x", name="a")


def test_derivations_do_not_change() -> None:
    """Stored masks depend on these; made once with this code."""
    sealer = Sealer(KEY)
    assert sealer.key_id == "d416a66da579b4e0"
    assert sealer.object_name(ALICE) == "7539bc8520919cac2aafd7019626b790650f345b180cc2010bb9c47af6c698bd"


def test_nothing_of_the_key_in_the_repr() -> None:
    assert repr(Sealer(KEY)) == f"Sealer({Sealer(KEY).key_id})"
    assert Sealer(KEY).key_id not in KEY.hex()


def test_a_key_from_a_setting() -> None:
    assert Sealer.from_base64(base64.b64encode(KEY).decode()).key_id == Sealer(KEY).key_id


@pytest.mark.parametrize("text", ["", "short", "not base64 at all!", base64.b64encode(bytes(31)).decode(), "é" * 44])
def test_a_malformed_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(KeyUnusable) as refusal:
        Sealer.from_base64(text)
    assert not text or text not in refusal.value.public_message


def test_a_key_file_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "data" / "key"
    with ThreadPoolExecutor(8) as pool:
        ids = {sealer.key_id for sealer in pool.map(lambda _: Sealer.from_key_file(path), range(16))}
    assert len(ids) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["key"]
    assert Sealer.from_key_file(path).key_id in ids


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key_from_file(path)
    path.chmod(0o644)
    with pytest.raises(KeyUnusable):
        key_from_file(path)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 44])
def test_a_damaged_key_file_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyUnusable):
        key_from_file(path)
    assert path.read_bytes() == content


def test_a_key_file_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyUnusable):
        key_from_file(tmp_path / "file" / "key")


def test_user_keys_are_each_users_and_each_stores() -> None:
    one, other = Sealer(bytes(32)), Sealer(bytes(31) + b"\1")
    keys = [one.user_key(ALICE), one.user_key(BOB), other.user_key(ALICE)]
    assert [len(key) for key in keys] == [32, 32, 32]
    assert len(set(keys)) == 3
    assert Sealer(bytes(32)).user_key(ALICE) == keys[0]
    # The object's name is public.
    assert keys[0].hex() != one.object_name(ALICE)
