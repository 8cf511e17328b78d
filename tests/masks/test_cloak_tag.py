"""What a tag says, to whom, and what it does not say."""

from __future__ import annotations

import numpy as np
import pytest

from facecloak.masks.cloak_tag import contains, contains_any_of, payload_for
from facecloak.masks.mask import Mask

PICTURE = (b"a picture's data", b"in pieces")


def mask(seed: int) -> Mask:
    return Mask.new(np.random.default_rng(seed).integers(-12, 13, (112, 112, 3)).astype(np.int8), seed=seed)


ALICE, BOB, CAROL = mask(1), mask(2), mask(3)


def test_only_masks_that_the_picture_bears_are_named() -> None:
    payload = payload_for([ALICE, BOB], PICTURE)
    assert contains(payload, ALICE, PICTURE)
    assert contains(payload, BOB, PICTURE)
    assert not contains(payload, CAROL, PICTURE)


def test_the_cut_into_pieces_does_not_matter() -> None:
    assert contains(payload_for([ALICE], PICTURE), ALICE, [memoryview(b"a picture's datain "), b"", b"pieces"])


def test_a_users_photos_are_known_whatever_mask_they_have() -> None:
    payload = payload_for([ALICE], PICTURE, user_keys=[b"alice's key"])
    assert contains(payload, ALICE, PICTURE)
    assert contains_any_of(payload, b"alice's key", PICTURE)
    assert not contains_any_of(payload, b"bob's key", PICTURE)
    assert not contains_any_of(payload, b"alice's key", [b"another picture"])
    assert not contains_any_of(payload_for([ALICE], PICTURE), b"alice's key", PICTURE)
    # Of an older mask the user alone may be known.
    assert contains_any_of(payload_for([], PICTURE, user_keys=[b"alice's key"]), b"alice's key", PICTURE)


def test_a_new_version_of_a_mask_is_another_mask() -> None:
    renewed = Mask.new(ALICE.pixels, seed=1)
    assert renewed.mask_id != ALICE.mask_id
    assert not contains(payload_for([ALICE], PICTURE), renewed, PICTURE)


def test_what_moves_is_part_of_the_secret() -> None:
    """A mask's id is no secret, and one that only moves has no levels."""
    nothing = np.zeros((112, 112, 3), np.int8)
    moving = [
        Mask(nothing, ALICE.mask_id, ALICE.created_at, seed=1, displacement=np.full((28, 28, 2), units, np.int8))
        for units in (3, 4)
    ]
    assert contains(payload_for(moving[:1], PICTURE), moving[0], PICTURE)
    assert not contains(payload_for(moving[:1], PICTURE), moving[1], PICTURE)


def test_a_marker_is_of_no_use_in_another_picture() -> None:
    assert not contains(payload_for([ALICE], PICTURE), ALICE, [b"another picture's data"])
    assert not contains(payload_for([ALICE], PICTURE), ALICE, [PICTURE[0], PICTURE[1][:-1] + b"\0"])


def test_two_photos_of_one_person_have_nothing_in_common() -> None:
    one, other = (payload_for([ALICE], [bytes([number])]) for number in (1, 2))
    assert len(one) == len(other) == 17
    assert not {one[at : at + 4] for at in range(1, 14)} & {other[at : at + 4] for at in range(1, 14)}


def test_the_order_of_tags_does_not_tell_the_order_of_subjects() -> None:
    assert payload_for([ALICE, BOB], PICTURE) == payload_for([BOB, ALICE], PICTURE)


def test_nothing_of_the_mask_is_in_the_marker() -> None:
    payload = payload_for([ALICE], PICTURE)
    secret = ALICE.pixels.tobytes() + ALICE.mask_id.encode() + bytes.fromhex(ALICE.mask_id)
    assert all(payload[at : at + 4] not in secret for at in range(1, len(payload) - 3))


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x01short", b"\x02" + bytes(16), b"\x01" + bytes(16 * 1000)])
def test_a_strange_marker_names_nobody(payload: bytes) -> None:
    assert not contains(payload, ALICE, PICTURE)
