"""Readings kept between runs: the same answers, sealed, and never those of other pixels or models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facecloak.faces import Face
from facecloak.stores import Sealer
from facecloak_evaluation.cache import CachedFinder, CachedRuntime, SealedCache
from tests.facecloak_evaluation.small_world import ColorRuntime, MiddleFinder

PHOTO = np.full((160, 200, 3), 99, np.uint8)


class CountingFinder(MiddleFinder):
    looked = 0

    def find(self, srgb_u8: np.ndarray) -> list[Face]:
        self.looked += 1
        return super().find(srgb_u8)


class CountingRuntime(ColorRuntime):
    embedded = 0

    def embed(self, name: str, crops: np.ndarray) -> np.ndarray:
        self.embedded += len(crops)
        return super().embed(name, crops)


@pytest.fixture
def notes(tmp_path: Path) -> SealedCache:
    return SealedCache(tmp_path / "readings", Sealer(bytes(32)))


def crops(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, 112, 112)).astype(np.float32)


def test_the_same_pixels_are_looked_at_once(notes: SealedCache) -> None:
    finder = CountingFinder()
    cached = CachedFinder(finder, notes)
    (first,), (second,) = cached.find(PHOTO), cached.find(PHOTO.copy())
    assert finder.looked == 1
    assert (first.box, first.score) == (second.box, second.score)
    assert np.array_equal(first.landmarks, second.landmarks)
    assert cached.identity == finder.identity


def test_other_pixels_another_shape_and_another_finder_are_looked_at(notes: SealedCache) -> None:
    finder = CountingFinder()
    cached = CachedFinder(finder, notes)
    cached.find(PHOTO)
    cached.find(PHOTO.reshape(200, 160, 3))
    changed = PHOTO.copy()
    changed[0, 0, 0] += 1
    cached.find(changed)
    assert finder.looked == 3
    other = CountingFinder()
    other.identity = "another"
    CachedFinder(other, notes).find(PHOTO)
    assert other.looked == 1


def test_a_photo_without_a_face_is_remembered_too(notes: SealedCache) -> None:
    finder = CountingFinder()
    cached = CachedFinder(finder, notes)
    assert cached.find(np.zeros_like(PHOTO)) == cached.find(np.zeros_like(PHOTO)) == []
    assert finder.looked == 1


def test_only_unknown_crops_are_embedded(notes: SealedCache) -> None:
    runtime = CountingRuntime()
    cached = CachedRuntime(runtime, notes)
    some = crops(5)
    cached.embed("judge", some[1:3])
    rows = cached.embed("judge", some)
    assert runtime.embedded == 5
    assert np.array_equal(rows, ColorRuntime().embed("judge", some))
    cached.embed("judge_too", some[:1])
    assert runtime.embedded == 6


def test_notes_are_sealed_private_and_bound_to_their_name(notes: SealedCache, tmp_path: Path) -> None:
    notes.put("ab12", b"an embedding")
    notes.put("ab34", b"another")
    folder = tmp_path / "readings"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert [path.name for path in files] == ["ab12", "ab34"]
    for path in files:
        assert path.stat().st_mode & 0o077 == 0
        assert b"embedding" not in path.read_bytes()
    assert folder.stat().st_mode & 0o077 == 0
    files[0].write_bytes(files[1].read_bytes())
    assert notes.get("ab12") is None
    assert SealedCache(folder, Sealer(b"k" * 32)).get("ab34") is None


@pytest.mark.parametrize("damage", [b"", b"x" * 60])
def test_a_damaged_note_costs_only_time(notes: SealedCache, tmp_path: Path, damage: bytes) -> None:
    runtime = CountingRuntime()
    cached = CachedRuntime(runtime, notes)
    rows = cached.embed("judge", crops(1))
    (file,) = (path for path in (tmp_path / "readings").rglob("*") if path.is_file())
    file.write_bytes(damage)
    assert np.array_equal(cached.embed("judge", crops(1)), rows)
    assert runtime.embedded == 2
