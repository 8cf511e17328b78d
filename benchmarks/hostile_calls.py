"""Whether anything of one tenant reaches another that has the same users: hostile calls to both services.

    python -m benchmarks.hostile_calls --calls 10000 --out hostile_calls.json

Every answer is compared with what its own tenant has done so far, and every refusal must be one that the services mean.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

SEED = 17


def run(folder: Path, repository: Path, *, calls: int, threads: int, seed: int = SEED) -> dict[str, Any]:
    """Makes so many random calls, beside one of each kind that must be refused. Raises AssertionError at the first
    answer that is wrong.

    Returns how the calls ended, how many users' masks were compared at the end, and how long the calls took.
    """
    from facecloak.users import User
    from tests.facecloak_rpc.identity.attack import Attack
    from tests.facecloak_rpc.identity.two_tenants import TENANTS, TwoTenants

    both = TwoTenants(folder, repository)
    try:
        attacks = [Attack(both, number=number, seed=seed) for number in range(threads)]

        def attack(one: Attack, count: int) -> None:
            one.provoke()
            for _ in range(count):
                one.call()

        began = time.monotonic()
        counts = [calls // threads + (number < calls % threads) for number in range(threads)]
        with ThreadPoolExecutor(threads) as executor:
            for _ in executor.map(attack, attacks, counts):
                pass
        seconds = time.monotonic() - began
        compared = 0
        for one in attacks:
            for user in (User(tenant, user_id) for tenant in TENANTS for user_id in one.users):
                assert (both.store.version(user) is not None) == (user in one.present), user
                compared += 1
    finally:
        both.close()
    ended = sum((one.ended for one in attacks), Counter[str]())
    return {
        "calls": calls,
        "threads": threads,
        "seed": seed,
        "ended": dict(sorted(ended.items())),
        "masks": len(both.owners),
        "wrong": 0,  # the first would have ended it
        "users_compared_at_the_end": compared,
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument(
        "--repository", type=Path, default=Path(os.environ.get("FACECLOAK_MODEL_REPOSITORY") or "model_repository")
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(Path(folder), options.repository, calls=options.calls, threads=options.threads, seed=options.seed)
    print(json.dumps(result, indent=2))
    if options.out is not None:
        from facecloak_evaluation.ledger import provenance, write_json

        versions = provenance(("grpcio", "cryptography", "numpy", "onnxruntime"))
        write_json(options.out, {"schema": "facecloak-bench-hostile-calls/1", **versions, **result})


if __name__ == "__main__":
    main()
