"""Whether an S3 server that is killed loses what it acknowledged: masks are written while SeaweedFS is killed.

    python -m benchmarks.store_kills --writes 1000 --kill-every 40 --out store_kills.json

Every write that returned must be read back; of one that failed either mask may be there, never none where one was.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from facecloak.masks.mask import Mask
from facecloak.stores import S3MaskStore, Sealer, StoreUnavailable
from facecloak.users import User

_USERS = 20


def run(folder: Path, *, writes: int, kill_every: int, seed: int = 0) -> dict[str, Any]:
    """Writes masks of 20 users in turn; about every ``kill_every``-th write the server is killed (SIGKILL) while it
    goes on, and started again on the same data."""
    from tests.stores.conftest import s3_server

    chance = random.Random(seed)
    result: dict[str, Any] = {"writes": writes, "acknowledged": 0, "failed": 0, "kills": 0, "lost": 0}
    with s3_server(folder) as server:
        command = Path(f"/proc/{server.process.pid}/cmdline").read_bytes().decode().split("\0")[:-1]
        environment = _environment_of(server.process.pid)
        at = Path(f"/proc/{server.process.pid}/cwd").resolve()
        store = S3MaskStore(server.client, bucket=server.bucket, sealer=Sealer(bytes(32)))
        process, acceptable = server.process, {}
        began = time.monotonic()
        try:
            for number in range(writes):
                user = User("", f"user-{number % _USERS}")
                mask = Mask.new(np.full((112, 112, 3), number % 100, np.int8), seed=number)
                kill = chance.random() < 1 / kill_every
                if kill:
                    killer = subprocess.Popen(
                        ["sh", "-c", f"sleep {chance.random() * 0.02:.4f}; kill -9 {process.pid}"]
                    )
                try:
                    store.put(user, mask)
                    result["acknowledged"] += 1
                    acceptable[user] = {mask.mask_id}
                except StoreUnavailable:
                    result["failed"] += 1
                    acceptable.setdefault(user, {None}).add(mask.mask_id)
                if kill:
                    killer.wait()
                    process.wait()
                    result["kills"] += 1
                    process = subprocess.Popen(
                        command, cwd=at, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                    )
                    _wait(store)
                    result["lost"] += _lost(store, acceptable)
            result["lost"] += _lost(store, acceptable)
        finally:
            if process is not server.process:
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(20)
        result["seconds"] = round(time.monotonic() - began, 1)
    return result


def _lost(store: S3MaskStore, acceptable: dict[User, set[str | None]]) -> int:
    """Users whose mask is none of those that it may be."""
    lost = 0
    for user, masks in acceptable.items():
        found = None if store.version(user) is None else store.get(user).mask_id
        lost += found not in masks
    return lost


def _wait(store: S3MaskStore, *, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            store.probe()
            store.prove_writing()
            return
        except StoreUnavailable:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def _environment_of(process: int) -> dict[str, str]:
    parts = Path(f"/proc/{process}/environ").read_bytes().decode().split("\0")
    return dict(part.split("=", 1) for part in parts if "=" in part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--writes", type=int, default=1000)
    parser.add_argument("--kill-every", type=int, default=40)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(Path(folder) / "s3", writes=options.writes, kill_every=options.kill_every)
    print(json.dumps(result, indent=2))
    if options.out is not None:
        from facecloak_evaluation.ledger import provenance, write_json

        whole = {"schema": "facecloak-bench-store-kills/1", **provenance(("minio", "cryptography", "numpy")), **result}
        write_json(options.out, whole)


if __name__ == "__main__":
    main()
