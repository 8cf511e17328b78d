"""Blending on pixels: what is displaced, what is added, and what stays."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facecloak.cloaking import blend
from facecloak.cloaking.blend import add_in_place, add_mask
from facecloak.cloaking.placement import place_mask
from facecloak.faces import ARCFACE_TEMPLATE, Box, Face
from facecloak.masks.displacement import quantize_displacement
from facecloak.masks.mask import Mask, MaskGeometry


def face_at(x: float, y: float, *, scale: float) -> Face:
    return Face(Box(x, y, 112 * scale, 112 * scale), ARCFACE_TEMPLATE * np.float32(scale) + np.float32([x, y]), 1.0)


def moving(units: tuple[int, int] | None = None, *, seed: int = 0, levels: int = 0) -> Mask:
    """Everywhere by the same ``units``, or a smooth field."""
    rng = np.random.default_rng(seed)
    field = cv2.GaussianBlur(rng.normal(0, 1, (112, 112, 2)).astype(np.float32), (0, 0), 6)
    displacement = (
        quantize_displacement(field * (2 / np.abs(field).max()))
        if units is None
        else np.full((28, 28, 2), units, np.int8)
    )
    pixels = rng.integers(-levels, levels + 1, (112, 112, 3)).astype(np.int8)
    return Mask.new(pixels, seed=0, geometry=MaskGeometry.FACE, displacement=displacement)


def colored(height: int, width: int, seed: int = 1) -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, (height, width, 3)), (0, 0), 2.5)
    return np.clip(noise / noise.std() * 45 + (150, 120, 100), 0, 255).astype(np.uint8)


def test_the_face_is_taken_from_where_the_displacement_points() -> None:
    """A px of the crop to the right and half a one up is 4 and -2 px of a face of four times the size."""
    photo = colored(500, 520)
    out = photo.copy()
    add_in_place(out, place_mask(moving((32, -16)), face_at(30, 20, scale=4)))
    middle = (slice(20 + 4 * 40, 20 + 4 * 90), slice(30 + 4 * 30, 30 + 4 * 80))
    assert np.array_equal(out[middle], np.roll(photo, (2, -4), axis=(0, 1))[middle])


def test_what_is_not_moved_keeps_its_very_values() -> None:
    photo = colored(500, 520)
    placement = place_mask(moving(), face_at(30, 20, scale=4))
    out = photo.copy()
    add_in_place(out, placement)
    shift = placement.displacement(left=0, top=0, width=520, height=500)
    assert shift is not None
    still = ~shift.any(axis=2)
    assert still.mean() > 0.2
    assert np.array_equal(out[still], photo[still])
    assert (out != photo).any(axis=2)[~still].mean() > 0.8


@pytest.mark.parametrize(("rows", "columns"), [(128, 4096), (16, 50), (1, 7)])
def test_in_tiles_it_is_as_in_one_go(monkeypatch: pytest.MonkeyPatch, rows: int, columns: int) -> None:
    """What was changed above is still seen as it was below."""
    monkeypatch.setattr(blend, "_TILE_ROWS", rows)
    monkeypatch.setattr(blend, "_TILE_COLUMNS", columns)
    photo = colored(300, 260)
    placement = place_mask(moving(levels=9), face_at(-20, 30, scale=2.2))
    out = photo.copy()
    add_in_place(out, placement)
    shift = placement.displacement(left=0, top=0, width=260, height=300)
    levels = placement.change(left=0, top=0, width=260, height=300)
    assert shift is not None
    places = shift + np.stack(np.meshgrid(np.arange(260), np.arange(300)), axis=-1).astype(np.float32)
    moved = cv2.remap(photo, places, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    wanted = cv2.add(moved, levels, dtype=cv2.CV_8U)
    # Places are whole parts of a px in some builds of OpenCV; those between two go either way.
    assert np.abs(out.astype(int) - wanted).max() <= 4
    assert (out != wanted).mean() < 0.05


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_are_displaced_at_sixteen_bits_and_alpha_stays(channels: int) -> None:
    rng = np.random.default_rng(4)
    fine = cv2.GaussianBlur(rng.normal(0, 1, (300, 300, channels)), (0, 0), 2).reshape(300, 300, channels)
    deep = np.clip(fine / fine.std() * 9000 + 30000, 0, 65535).astype(np.uint16)
    placement = place_mask(moving(levels=9), face_at(20, 30, scale=2.2))
    out = deep.copy()
    add_in_place(out, placement)
    colors = 3 if channels > 2 else 1
    assert np.array_equal(out[:, :, colors:], deep[:, :, colors:])
    shift = placement.displacement(left=0, top=0, width=300, height=300)
    levels = placement.change(left=0, top=0, width=300, height=300)
    assert shift is not None
    assert levels is not None
    places = shift + np.stack(np.meshgrid(np.arange(300), np.arange(300)), axis=-1).astype(np.float32)
    exact = cv2.remap(deep[:, :, :colors].astype(np.float32), places, None, cv2.INTER_CUBIC).reshape(300, 300, colors)
    added = levels if colors == 3 else (levels @ np.float32([0.299, 0.587, 0.114]))[:, :, None]
    error = out[:, :, :colors] - (exact + 257 * added)
    # What rounding to levels of 8 bits would leave is 74.
    assert np.sqrt(np.square(error).mean()) < 30
    assert np.sqrt(np.square(out[:, :, :colors] - deep[:, :, :colors].astype(float)).mean()) > 300


def test_a_gray_photo_of_three_channels_stays_gray() -> None:
    photo = np.repeat(colored(300, 300)[:, :, :1], 3, axis=2)
    out = add_mask(photo, moving(levels=20), face_at(30, 40, scale=2))
    assert (out != photo).any()
    assert np.array_equal(out[:, :, 0], out[:, :, 1])
    assert np.array_equal(out[:, :, 0], out[:, :, 2])


def test_off_the_photo_nothing_happens() -> None:
    photo = colored(100, 100)
    for x, y in ((-400, 0), (0, 700), (300, 300)):
        assert np.array_equal(add_mask(photo, moving(levels=9), face_at(x, y, scale=2)), photo)


def test_at_the_photos_edge_the_outermost_pixels_go_on() -> None:
    photo = np.full((150, 150, 3), (150, 120, 100), np.uint8)
    out = photo.copy()
    add_in_place(out, place_mask(moving((-127, -127)), face_at(-60, -70, scale=1.5)))
    assert np.array_equal(out, photo)
