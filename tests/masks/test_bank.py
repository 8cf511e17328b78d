"""A user's bank of masks: its file, and which photo gets which mask."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facecloak.masks.bank import MAX_BANK_BYTES, MAX_MASKS, MaskBank, mask_from_bytes
from facecloak.masks.mask import MAX_MASK_BYTES, Mask, MaskCorrupt, MaskFormatUnsupported, MaskInvalid, write_container


def a_mask(seed: int, report: dict[str, str] | None = None) -> Mask:
    pixels = np.random.default_rng(seed).integers(-20, 21, (112, 112, 3)).astype(np.int8)
    return Mask.new(pixels, seed=seed, versions={"facecloak": "test"}, report=report)


def a_bank(count: int = 4) -> MaskBank:
    bank = MaskBank.of([a_mask(seed) for seed in range(count)])
    assert isinstance(bank, MaskBank)
    return bank


def digests(count: int) -> list[bytes]:
    return [hashlib.sha256(str(number).encode()).digest() for number in range(count)]


@pytest.mark.parametrize("count", [2, 8, MAX_MASKS])
def test_a_bank_comes_back_whole_and_within_its_bound(count: int) -> None:
    bank = a_bank(count)
    data = bank.to_bytes()
    assert mask_from_bytes(data) == bank
    assert len(data) <= count * MAX_MASK_BYTES <= MAX_BANK_BYTES
    assert bank.to_bytes() == data


def test_masks_that_move_come_back_in_a_bank() -> None:
    moving = [
        Mask.new(mask.pixels, seed=1, displacement=np.full((28, 28, 2), at, np.int8), target_jod=9.0)
        for at, mask in enumerate(a_bank(3).masks)
    ]
    bank = MaskBank.of([*moving, a_mask(9)])
    data = bank.to_bytes()
    assert mask_from_bytes(data) == bank
    assert len(data) <= 4 * MAX_MASK_BYTES
    assert mask_from_bytes(moving[2].to_bytes()) == moving[2]


def test_a_single_mask_is_its_own_bank_in_its_own_format() -> None:
    mask = a_mask(1)
    assert MaskBank.of([mask]) is mask
    assert mask_from_bytes(mask.to_bytes()) == mask
    assert mask.masks == (mask,)


def test_a_photo_always_gets_the_same_mask() -> None:
    bank = a_bank()
    again = mask_from_bytes(bank.to_bytes())
    assert isinstance(again, MaskBank)
    assert [bank.pick(digest) for digest in digests(50)] == [again.pick(digest) for digest in digests(50)]


def test_photos_are_spread_evenly_over_the_masks() -> None:
    bank = MaskBank(a_bank(8).masks, bytes(32))
    counts = Counter(bank.pick(digest).mask_id for digest in digests(8000))
    # Binomial with a standard deviation of 30: six of them, and the secret is fixed.
    assert len(counts) == 8
    assert all(abs(count - 1000) < 180 for count in counts.values())


def test_without_the_secret_the_choice_tells_nothing() -> None:
    masks = a_bank(2).masks
    one, other = MaskBank(masks, bytes(32)), MaskBank(masks, b"\1" * 32)
    same = [one.pick(digest) is other.pick(digest) for digest in digests(2000)]
    assert 0.4 < np.mean(same) < 0.6


def test_two_banks_of_the_same_masks_have_secrets_of_their_own() -> None:
    masks = a_bank(2).masks
    one, other = MaskBank.of(masks), MaskBank.of(masks)
    assert one != other
    assert one.masks == other.masks


def test_the_secret_shows_in_no_text() -> None:
    bank = a_bank()
    assert bank.secret.hex() not in repr(bank)
    assert str(bank.secret) not in repr(bank)


@pytest.mark.parametrize("count", [0, 1, MAX_MASKS + 1])
def test_too_few_or_too_many_masks_are_refused(count: int) -> None:
    with pytest.raises(MaskInvalid):
        MaskBank((a_mask(1),) * count, bytes(32))


def test_a_secret_of_another_length_is_refused() -> None:
    with pytest.raises(MaskInvalid):
        MaskBank(a_bank(2).masks, b"short")


BANK = a_bank(2)
DATA = BANK.to_bytes()


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, len(DATA) - 1), change=st.integers(1, 255))
def test_any_changed_byte_is_found(position: int, change: int) -> None:
    damaged = bytearray(DATA)
    damaged[position] ^= change
    with pytest.raises(MaskCorrupt):
        mask_from_bytes(bytes(damaged))


@pytest.mark.parametrize("length", [0, 7, 100, len(DATA) // 2, len(DATA) - 1])
def test_a_cut_bank_is_found(length: int) -> None:
    with pytest.raises(MaskCorrupt):
        mask_from_bytes(DATA[:length])


def test_more_than_may_be_is_not_parsed() -> None:
    with pytest.raises(MaskCorrupt, match="too large"):
        mask_from_bytes(bytes(MAX_BANK_BYTES + 1))


def files_of(bank: MaskBank) -> dict[str, np.ndarray]:
    return {f"mask_{index:02d}": np.frombuffer(mask.to_bytes(), np.uint8) for index, mask in enumerate(bank.masks)}


FIELDS = {"format_version": 2, "secret": BANK.secret.hex()}


@pytest.mark.parametrize(
    "fields",
    [
        {"format_version": 2},
        FIELDS | {"secret": "zz"},
        FIELDS | {"secret": 5},
        FIELDS | {"secret": "00"},
    ],
)
def test_a_container_that_is_no_bank_is_damage(fields: dict[str, object]) -> None:
    with pytest.raises(MaskCorrupt):
        mask_from_bytes(write_container(files_of(BANK), fields))


def test_a_missing_or_broken_mask_is_damage() -> None:
    files = files_of(BANK)
    for broken in ({"mask_00": files["mask_00"]}, {"mask_00": files["mask_00"], "mask_05": files["mask_01"]}, {},
                   files | {"mask_01": files["mask_01"][:-1]}):  # fmt: skip
        with pytest.raises(MaskCorrupt):
            mask_from_bytes(write_container(broken, FIELDS))
    # Put together rightly, the same is a bank.
    assert mask_from_bytes(write_container(files, FIELDS)) == BANK


def test_a_later_format_is_named_as_such() -> None:
    with pytest.raises(MaskFormatUnsupported):
        mask_from_bytes(write_container(files_of(BANK), FIELDS | {"format_version": 4}))


def test_masks_that_do_not_fit_are_refused() -> None:
    # Each fits by itself, and the container's own header takes what is left.
    filler = (MAX_MASK_BYTES - len(a_mask(0).to_bytes())) // 8 * 8 - 16
    masks = [a_mask(seed, {"filler": "x" * filler}) for seed in range(2)]
    assert all(len(mask.to_bytes()) <= MAX_MASK_BYTES for mask in masks)
    with pytest.raises(MaskInvalid, match="too large"):
        MaskBank.of(masks).to_bytes()


def test_the_document_is_readable_json() -> None:
    header = json.loads(DATA[8 : 8 + int.from_bytes(DATA[:8], "little")])
    assert json.loads(header["__metadata__"]["facecloak-mask"])["format_version"] == 2
