from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from facecloak import atomic_files
from facecloak.masks.mask import Mask
from facecloak.stores import LocalMaskStore, MaskNotFound, Sealer, StoreUnavailable
from facecloak.stores.key_check import KEY_CHECK
from tests.users import ALICE, BOB

MakeMask = Callable[[int], Mask]


def files(root: Path) -> list[Path]:
    """All but the key check."""
    return [path for path in root.rglob("*") if path.is_file() and path.name != KEY_CHECK]


def test_only_the_owner_can_read(tmp_path: Path, sealer: Sealer, make_mask: MakeMask) -> None:
    root = tmp_path / "masks"
    LocalMaskStore(root, sealer).put(ALICE, make_mask(1))
    (path,) = files(root)
    for written in (path, root / KEY_CHECK):
        assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


def test_a_write_that_fails_leaves_the_old_mask_and_no_litter(
    tmp_path: Path, sealer: Sealer, make_mask: MakeMask, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalMaskStore(tmp_path, sealer)
    store.put(ALICE, make_mask(1))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic_files.os, "fsync", full)
    with pytest.raises(StoreUnavailable):
        store.put(ALICE, make_mask(2))
    monkeypatch.undo()
    assert store.get(ALICE).seed == 1
    assert len(files(tmp_path)) == 1


WRITER = """
import sys
from pathlib import Path
import numpy as np
from facecloak.masks.mask import Mask
from facecloak.stores import LocalMaskStore, Sealer
from facecloak.users import User
store = LocalMaskStore(Path(sys.argv[1]), Sealer(bytes(range(32))))
seed = 0
while True:
    seed += 1
    store.put(User("", "alice"), Mask.new(np.full((112, 112, 3), seed % 100, np.int8), seed=seed))
    sys.stdout.write(".")
    sys.stdout.flush()
"""


def test_a_killed_writer_leaves_a_whole_mask(tmp_path: Path, sealer: Sealer) -> None:
    seeds = []
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        try:
            assert writer.stdout is not None
            writer.stdout.read(10)
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            writer.stdout.close()
        mask = LocalMaskStore(tmp_path, sealer).get(ALICE)
        assert (mask.pixels == mask.seed % 100).all()
        seeds.append(mask.seed)
    assert min(seeds) >= 10


def test_leftover_temporary_files_go_and_fresh_ones_stay(tmp_path: Path, sealer: Sealer, make_mask: MakeMask) -> None:
    LocalMaskStore(tmp_path, sealer).put(ALICE, make_mask(1))
    (mask,) = files(tmp_path)
    old, fresh = mask.with_name(".new-old"), mask.with_name(".new-fresh")
    old.write_bytes(b"half")
    fresh.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    LocalMaskStore(tmp_path, sealer).probe()
    assert set(files(tmp_path)) == {mask, fresh}


def test_opening_makes_nothing(tmp_path: Path, sealer: Sealer) -> None:
    LocalMaskStore(tmp_path / "masks", sealer)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_one(tmp_path: Path, sealer: Sealer, make_mask: MakeMask) -> None:
    (tmp_path / "file").write_text("")
    store = LocalMaskStore(tmp_path / "file", sealer)
    for call in (store.probe, lambda: store.get(ALICE), lambda: store.put(ALICE, make_mask(1))):
        with pytest.raises(StoreUnavailable) as refusal:
            call()
        assert str(tmp_path) not in refusal.value.public_message
        assert refusal.value.fault in ("EEXIST", "ENOTDIR")


@pytest.mark.parametrize("left", ["nothing", "an empty folder", "a file"])
def test_a_volume_that_is_not_mounted_any_more(tmp_path: Path, sealer: Sealer, make_mask: MakeMask, left: str) -> None:
    root = tmp_path / "masks"
    store, reader = LocalMaskStore(root, sealer), LocalMaskStore(root, sealer, begins=False)
    store.put(ALICE, make_mask(1))
    with pytest.raises(MaskNotFound):
        reader.get(BOB)
    root.rename(tmp_path / "elsewhere")
    if left == "an empty folder":
        root.mkdir()
    elif left == "a file":
        root.write_text("")
    restarted = LocalMaskStore(root, sealer, begins=False)
    for one in (store, reader, restarted):
        for call in (
            one.probe, one.probe_reading, lambda one=one: one.get(ALICE), lambda one=one: one.version(ALICE),
            lambda one=one: one.delete(ALICE), lambda one=one: one.put(BOB, make_mask(2)),
        ):  # fmt: skip
            with pytest.raises(StoreUnavailable):
                call()
    assert not root.is_dir() or list(root.iterdir()) == []
    if root.is_dir():
        root.rmdir()
    root.unlink(missing_ok=True)
    (tmp_path / "elsewhere").rename(root)
    for one in (store, reader, restarted):
        assert one.get(ALICE).seed == 1
        with pytest.raises(MaskNotFound):
            one.get(BOB)


def test_the_systems_own_code_is_told(
    tmp_path: Path, sealer: Sealer, make_mask: MakeMask, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalMaskStore(tmp_path, sealer)
    store.probe()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic_files.os, "fsync", full)
    with pytest.raises(StoreUnavailable) as refusal:
        store.put(ALICE, make_mask(1))
    assert (refusal.value.fault, refusal.value.advice) == ("ENOSPC", "the disk is full")
    # The last write failed: so the probe writes, until it can.
    with pytest.raises(StoreUnavailable):
        store.probe()
    monkeypatch.undo()
    store.probe()
