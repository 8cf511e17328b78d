from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from facecloak.masks.mask import (
    FORMAT_NAME,
    MASK_SIZE,
    MAX_MASK_BYTES,
    Mask,
    MaskCorrupt,
    MaskFormatUnsupported,
    MaskInvalid,
    write_container,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
DISPLACEMENTS = hnp.arrays(np.int8, (28, 28, 2), elements=st.integers(-128, 127), fill=st.integers(-128, 127))
PIXELS = hnp.arrays(np.int8, (MASK_SIZE, MASK_SIZE, 3), elements=st.integers(-128, 127), fill=st.integers(-128, 127))


def some_mask(**changes: object) -> Mask:
    rng = np.random.default_rng(5)
    fields: dict = {
        "pixels": rng.integers(-12, 13, (MASK_SIZE, MASK_SIZE, 3)).astype(np.int8),
        "mask_id": "00112233445566778899aabbccddeeff",
        "created_at": "2026-11-22T10:00:00+00:00",
        "seed": 7,
        "versions": {"facecloak": "0.1.0", "fr_feature": "abc"},
        "report": {"ssim": 0.86, "steps": 100, "recognizers": ["fr_feature"]},
    }
    return Mask(**(fields | changes))


@settings(max_examples=50, deadline=None)
@given(
    pixels=PIXELS,
    seed=st.integers(0, 2**63 - 1),
    versions=st.dictionaries(st.text(max_size=20), st.text(max_size=40), max_size=6),
    report=st.dictionaries(st.text(max_size=20), JSON, max_size=6),
)
def test_round_trip(pixels: np.ndarray, seed: int, versions: dict, report: dict) -> None:
    mask = Mask.new(pixels, seed=seed, versions=versions, report=report)
    data = mask.to_bytes()
    back = Mask.from_bytes(data)
    assert len(data) <= MAX_MASK_BYTES
    assert back == mask
    assert np.array_equal(back.pixels, pixels)
    assert (back.seed, back.versions, back.report) == (seed, versions, report)
    assert back.to_bytes() == data


@settings(max_examples=50, deadline=None)
@given(
    pixels=st.just(np.zeros((MASK_SIZE, MASK_SIZE, 3), np.int8)) | PIXELS,
    displacement=st.none() | DISPLACEMENTS,
    target_jod=st.none() | st.floats(0, 10, exclude_min=True, exclude_max=True),
    target_ssimulacra2=st.none() | st.floats(0, 100, exclude_min=True, exclude_max=True),
)
def test_round_trip_of_what_moves(
    pixels: np.ndarray, displacement: np.ndarray | None, target_jod: float | None, target_ssimulacra2: float | None
) -> None:
    mask = Mask.new(
        pixels, seed=0, displacement=displacement, target_jod=target_jod, target_ssimulacra2=target_ssimulacra2
    )
    data = mask.to_bytes()
    back = Mask.from_bytes(data)
    assert len(data) <= MAX_MASK_BYTES
    assert back == mask
    assert back.to_bytes() == data
    assert (back.target_jod, back.target_ssimulacra2) == (target_jod, target_ssimulacra2)
    assert (back.paints, back.moves) == (pixels.any(), displacement is not None and displacement.any())
    if displacement is None:
        assert back.displacement is None
    else:
        assert np.array_equal(back.displacement, displacement)
        assert not back.displacement.flags.writeable
    assert (b"displacement" in data) == (displacement is not None)


def test_a_mask_that_only_paints_is_the_file_that_it_was() -> None:
    """So that releases that know no displacement read it, and kept ones stay valid."""
    assert b"displacement" not in DATA
    assert b"target" not in DATA
    assert hashlib.sha256(DATA).hexdigest() == "eff4e37a5adfb0b8ecb9bd1ead1c3480f0b01e6af0102775acfd1ed338ce0882"


DATA = some_mask().to_bytes()
MOVING = some_mask(
    displacement=np.random.default_rng(6).integers(-30, 31, (28, 28, 2)).astype(np.int8), target_jod=9.0
).to_bytes()


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(DATA) - 1) | st.integers(0, 900), flip=st.integers(1, 255))
def test_any_changed_byte_is_found(at: int, flip: int) -> None:
    damaged = bytearray(DATA)
    damaged[at] ^= flip
    with pytest.raises(MaskCorrupt):
        Mask.from_bytes(bytes(damaged))


def test_every_header_byte_is_covered() -> None:
    header_end = 8 + int.from_bytes(DATA[:8], "little")
    for at in range(header_end):
        damaged = bytearray(DATA)
        damaged[at] ^= 1
        with pytest.raises(MaskCorrupt):
            Mask.from_bytes(bytes(damaged))


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(MOVING) - 1) | st.integers(0, 900), flip=st.integers(1, 255))
def test_any_changed_byte_of_what_moves_is_found(at: int, flip: int) -> None:
    damaged = bytearray(MOVING)
    damaged[at] ^= flip
    with pytest.raises(MaskCorrupt):
        Mask.from_bytes(bytes(damaged))


@pytest.mark.parametrize(
    ("tensors", "fields"),
    [
        ({"displacement": np.zeros((28, 28, 2), np.int8)}, {"format_version": 1}),
        ({}, {"format_version": 3}),
        ({"displacement": np.zeros((28, 28, 3), np.int8)}, {"format_version": 3}),
        ({"displacement": np.zeros((28, 28, 2), np.uint8)}, {"format_version": 3}),
        ({"warp": np.zeros((28, 28, 2), np.int8)}, {"format_version": 3}),
        ({}, {"format_version": 3, "target_jod": 10.0}),
        ({}, {"format_version": 3, "target_jod": "9"}),
        ({}, {"format_version": 1, "target_jod": 9.0}),
    ],
)
def test_a_container_that_is_no_mask_is_damage(tensors: dict, fields: dict) -> None:
    mask = some_mask()
    with pytest.raises(MaskCorrupt):
        Mask.from_bytes(write_container({"pixels": mask.pixels} | tensors, mask._fields() | fields))


@settings(max_examples=200, deadline=None)
@given(length=st.integers(0, len(DATA) - 1), tail=st.binary(max_size=20))
def test_cut_or_overwritten_end_is_found(length: int, tail: bytes) -> None:
    damaged = DATA[:length] + tail
    if damaged != DATA:
        with pytest.raises(MaskCorrupt):
            Mask.from_bytes(damaged)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=2000))
def test_noise_is_no_mask(data: bytes) -> None:
    with pytest.raises(MaskCorrupt):
        Mask.from_bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        DATA + b"x",
        b"\xff" * 8 + DATA[8:],
        (20_000).to_bytes(8, "little") + b"[" * 20_000,
        b"\0" * (MAX_MASK_BYTES + 1),
        safetensors.numpy.save({"pixels": np.zeros((2, 2), np.int8)}),
        safetensors.numpy.save({"pixels": np.zeros((2, 2), np.int8)}, metadata={FORMAT_NAME: '{"format_version":1}'}),
    ],
    ids=["empty", "longer", "header-length", "deep-json", "too-large", "other-tensors", "no-digest"],
)
def test_not_a_mask(data: bytes) -> None:
    with pytest.raises(MaskCorrupt):
        Mask.from_bytes(data)


def test_a_later_format_is_refused_by_name() -> None:
    later = DATA.replace(rb"\"format_version\":1", rb"\"format_version\":4")
    with pytest.raises(MaskFormatUnsupported) as refusal:
        Mask.from_bytes(later)
    assert refusal.value.reason == "MASK_FORMAT_UNSUPPORTED"


def test_other_tools_can_read_the_file() -> None:
    header = json.loads(DATA[8 : 8 + int.from_bytes(DATA[:8], "little")])
    assert header["pixels"]["dtype"] == "I8"
    assert np.array_equal(safetensors.numpy.load(DATA)["pixels"], some_mask().pixels)


@pytest.mark.parametrize(
    "changes",
    [
        {"pixels": np.zeros((112, 112), np.int8)},
        {"pixels": np.zeros((112, 112, 3), np.float32)},
        {"pixels": None},
        {"mask_id": "alice"},
        {"created_at": "yesterday"},
        {"created_at": "2026-11-22T10:00:00"},
        {"seed": -1},
        {"seed": True},
        {"geometry": "mesh"},
        {"versions": {"a": 1}},
        {"report": {"psr": float("nan")}},
        {"report": {"array": np.zeros(3)}},
        {"displacement": np.zeros((28, 28), np.int8)},
        {"displacement": np.zeros((112, 112, 2), np.int8)},
        {"displacement": np.zeros((28, 28, 2), np.float32)},
        {"target_jod": 0.0},
        {"target_jod": 10.0},
        {"target_jod": float("nan")},
        {"target_jod": True},
        {"target_ssimulacra2": -3.0},
        {"target_ssimulacra2": 100.0},
    ],
)
def test_wrong_fields_are_refused(changes: dict) -> None:
    with pytest.raises(MaskInvalid):
        some_mask(**changes)


def test_too_much_report_is_refused() -> None:
    with pytest.raises(MaskInvalid) as refusal:
        some_mask(report={"log": "x" * 40_000}).to_bytes()
    assert refusal.value.metadata["max_bytes"] == str(MAX_MASK_BYTES)


def test_a_mask_is_its_own_copy_and_read_only() -> None:
    pixels = np.zeros((112, 112, 3), np.int8)
    mask = Mask.new(pixels, seed=0)
    pixels[:] = 9
    assert not mask.pixels.any()
    moving = np.zeros((28, 28, 2), np.int8)
    moved = Mask.new(pixels, seed=0, displacement=moving)
    moving[:] = 9
    assert not moved.moves
    assert moved != mask
    with pytest.raises(ValueError, match="read-only"):
        mask.pixels[0, 0, 0] = 1


def test_nothing_secret_in_the_repr() -> None:
    assert repr(some_mask()) == "Mask(00112233445566778899aabbccddeeff, created_at=2026-11-22T10:00:00+00:00)"
