"""What reading tombstones adds to a lookup of the mask store, on a real S3 server (SeaweedFS) and in a folder.

    python -m benchmarks.tombstones --out docs/results/bench-tombstones.json

A lookup is what the apply service asks once a CACHE_TTL_SECONDS for each user: the mask's version; and, where that has
changed, the mask itself. Each is timed as it is, and with the tombstone's read left out, in turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from facecloak.masks.mask import Mask
from facecloak.stores import LocalMaskStore, S3MaskStore, Sealer
from facecloak.stores.sealed import SealedMaskStore, Tombstone
from facecloak.users import User

_ALICE, _BACK = User("", "alice"), User("", "was deleted once and came back")


class _WithoutTombstones(SealedMaskStore):
    def _tombstone(self, name: str) -> tuple[Tombstone, str | None]:
        return Tombstone(), None


def measure(store: SealedMaskStore, *, rounds: int) -> dict[str, Any]:
    """By lookup the median milliseconds with and without."""
    without = _WithoutTombstones(store.place, store.keyring)
    mask = Mask.new(np.random.default_rng(0).integers(-8, 9, (112, 112, 3)).astype(np.int8), seed=0)
    store.put(_ALICE, mask)
    store.put(_BACK, mask)
    store.erase(_BACK)
    store.put(_BACK, mask)
    calls: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "version": (lambda: store.version(_ALICE), lambda: without.version(_ALICE)),
        "mask": (lambda: store.get(_ALICE), lambda: without.get(_ALICE)),
        "version, once deleted": (lambda: store.version(_BACK), lambda: without.version(_BACK)),
        "mask, once deleted": (lambda: store.get(_BACK), lambda: without.get(_BACK)),
    }
    rows = {}
    for name, pair in calls.items():
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            for call, spent in zip(pair, times, strict=True):
                began = time.perf_counter()
                call()
                spent.append((time.perf_counter() - began) * 1000)
        ours, bare = (statistics.median(spent) for spent in times)
        rows[name] = {"ms": round(ours, 2), "ms_without": round(bare, 2), "added_ms": round(ours - bare, 2)}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    from facecloak_evaluation.ledger import provenance, write_json
    from tests.stores.conftest import s3_server

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        rows = {"folder": measure(LocalMaskStore(folder / "masks", Sealer(bytes(32))), rounds=options.rounds)}
        with s3_server(folder / "s3") as server:
            store = S3MaskStore(server.client, bucket=server.bucket, sealer=Sealer(bytes(32)))
            rows["S3 on this machine"] = measure(store, rounds=options.rounds)
    print(json.dumps(rows, indent=2))
    if options.out is not None:
        head = {"schema": "facecloak-bench-tombstones/1", **provenance(("minio", "cryptography", "numpy"))}
        write_json(options.out, {**head, "rounds": options.rounds, "lookups": rows})


if __name__ == "__main__":
    main()
