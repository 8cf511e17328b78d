"""`python -m benchmarks.stalls`: calls for users whose masks the apply service remembers, while their store is well,
never answers, answers a byte at a time, or closes its connections."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.pictures import jpeg, photo
from benchmarks.service import running_service
from benchmarks.serving import _channel, _request
from benchmarks.soak import _store
from benchmarks.traffic import masks

_RATE = 5.0
_TTL_SECONDS = 2.0
# What the door does, by how it is called here.
_STATES = {
    "well": "pass", "never answers": "hang", "a byte every 0.1 s": "drip", "closes connections": "close",
    "well again": "pass",
}  # fmt: skip


def measure(repository: Path, *, seconds: float) -> dict[str, Any]:
    """``seconds`` of each state. All masks are older than the time for which they are fresh."""
    from facecloak.faces import FaceFinder

    pixels = photo(width=1280, height=960)
    landmarks = FaceFinder.load(repository).find(pixels)[0].landmarks
    users, data = sorted(masks()), jpeg(pixels)
    result: dict[str, Any] = {"users": len(users), "calls_per_second": _RATE, "states": {}}
    with tempfile.TemporaryDirectory() as folder, _store() as (door, _, environment):
        environment |= {"FACECLOAK_APPLY_CACHE_TTL_SECONDS": str(_TTL_SECONDS)}
        with (
            running_service(Path(folder), repository, processes=1, environment=environment) as service,
            _channel(service.target) as channel,
        ):
            requests = [_request(data, user, landmarks=landmarks) for user in users]
            _calls(channel, requests, count=2 * len(users), rate=4 * _RATE)
            for state, mode in _STATES.items():
                door.mode = mode
                time.sleep(_TTL_SECONDS)
                result["states"][state] = _calls(channel, requests, count=round(seconds * _RATE), rate=_RATE)
    return result


def _calls(channel: Any, requests: list[Any], *, count: int, rate: float) -> dict[str, Any]:
    """An open loop: each call begins when it is due, whatever became of those before."""
    import grpc

    from facecloak.v1 import apply_pb2, apply_pb2_grpc
    from facecloak_rpc.client import to_remote_error

    stub = apply_pb2_grpc.ApplyServiceStub(channel)
    ended: list[tuple[str, float]] = []

    def call(request: Any) -> None:
        began = time.monotonic()
        try:
            answer = stub.ApplyCloak(request, timeout=30)
            outcome = apply_pb2.CloakOutcome.Name(answer.subjects[0].outcome).removeprefix("CLOAK_OUTCOME_")
        except grpc.RpcError as error:
            outcome = to_remote_error(error).reason
        ended.append((outcome, time.monotonic() - began))

    threads, due = [], time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, due - time.monotonic()))
        threads.append(threading.Thread(target=call, args=(requests[number % len(requests)],)))
        threads[-1].start()
        due += 1 / rate
    for thread in threads:
        thread.join()
    p50, p99 = np.percentile([took for outcome, took in ended if outcome == "CLOAKED"] or [np.nan], [50, 99])
    return {
        "outcomes": dict(Counter(outcome for outcome, _ in ended)),
        "p50_ms": round(1000 * float(p50), 1),
        "p99_ms": round(1000 * float(p99), 1),
    }


@click.command()
@click.option("--seconds", default=16.0, show_default=True, type=click.FloatRange(1), help="Of each state.")
@click.option("--repository", type=click.Path(exists=True, file_okay=False, path_type=Path),
              default=Path("model_repository"), show_default=True, envvar="FACECLOAK_MODEL_REPOSITORY")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("out/bench/stalls.json"))
def main(*, seconds: float, repository: Path, out: Path) -> None:
    """Call for remembered users while their store stalls."""
    from facecloak_evaluation.ledger import MEASURING_PACKAGES, provenance, write_json

    result = measure(repository, seconds=seconds)
    write_json(out, {"schema": "facecloak-bench-stalls/1", **provenance(MEASURING_PACKAGES), **result})
    click.echo(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
