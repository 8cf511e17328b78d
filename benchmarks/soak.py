"""The apply service for minutes at most of its capacity, while workers, the store and the disk fail:
`python -m benchmarks.soak`.

Every photo that comes back is compared with what a cloaker without a service makes of it, and a mask is written to the
store each second. Passed is: no wrong photo, none lost, none uncloaked with OK, no written mask lost.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.service import RunningService, running_service
from benchmarks.serving import _channel
from benchmarks.soak_writes import Writes
from benchmarks.traffic import Upload, hostile_uploads, masks, open_loop, uploads
from benchmarks.worst_case import _Tree

_SHARE_OF_CAPACITY = 0.8
_HOSTILE_SHARE = 0.01
# What a caller waits for a photo, its own repetitions included.
_PATIENCE_SECONDS = 120.0
_CALL_SECONDS = 10.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 3.0
_CLIENTS = 8
_THREADS = 512
_OWN_REFUSALS = ("OVERLOADED", "STORE_UNAVAILABLE", "SHUTTING_DOWN")
_RETRIED = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")


@dataclass
class Tally:
    """What became of the calls. Written by many threads."""

    began: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)
    outcomes: Counter[str] = field(default_factory=Counter)
    accepted: list[tuple[float, float]] = field(default_factory=list)
    """Second at which the call ended, and how long it took."""
    refused: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    """What went wrong, where anything did."""


class Clients:
    """Callers with a connection each, who repeat what the service or its absence refused, as documented."""

    def __init__(self, service: RunningService, stack: ExitStack, tally: Tally) -> None:
        from facecloak.v1 import apply_pb2_grpc

        channels = [stack.enter_context(_channel(service.target)) for _ in range(_CLIENTS)]
        self._stubs = [apply_pb2_grpc.ApplyServiceStub(channel) for channel in channels]
        self._tally = tally

    def send(self, upload: Upload, *, client: int) -> None:
        began = time.monotonic()
        outcome = self._outcome(upload, client=client, ends=began + _PATIENCE_SECONDS)
        ended = time.monotonic()
        with self._tally.lock:
            self._tally.outcomes[outcome] += 1
            if outcome == "cloaked":
                self._tally.accepted.append((ended - self._tally.began, ended - began))
            elif outcome in ("wrong", "uncloaked with OK", "lost"):
                self._tally.faults.append(f"{ended - self._tally.began:.1f} s: {outcome}: {upload.name}")

    def _outcome(self, upload: Upload, *, client: int, ends: float) -> str:
        import grpc

        from facecloak_rpc.client import to_remote_error

        attempt = 0
        while True:
            stub = self._stubs[(client + attempt) % _CLIENTS]
            try:
                response = stub.ApplyCloak(
                    upload.request, timeout=max(0.1, min(_CALL_SECONDS, ends - time.monotonic()))
                )
            except grpc.RpcError as error:
                told = to_remote_error(error)
                with self._tally.lock:
                    self._tally.refused[f"{error.code().name} {told.reason}".strip()] += 1
                if upload.expected is None and error.code().name not in _RETRIED:
                    return "hostile refused"
                backoff = min(_FIRST_PAUSE_SECONDS * 2**attempt, _LONGEST_PAUSE_SECONDS)
                pause = max(told.retry_seconds or 0.0, backoff)
                attempt += 1
                if error.code().name not in (*_RETRIED, "DEADLINE_EXCEEDED", "CANCELLED"):
                    return f"refused: {told.reason}"
                if time.monotonic() + pause > ends:
                    if upload.expected is None:
                        return "hostile refused"
                    # What the service itself said no to, its caller knows of; what nobody answered is lost.
                    return f"refused: {told.reason}" if told.reason in _OWN_REFUSALS else "lost"
                time.sleep(pause)
                continue
            return _judged(upload, response)


def _judged(upload: Upload, response: Any) -> str:
    from facecloak.photos.file_tag import without_tag
    from facecloak.v1 import apply_pb2

    cloaked = [subject.outcome == apply_pb2.CLOAK_OUTCOME_CLOAKED for subject in response.subjects]
    if upload.expected is None:
        return "hostile answered"  # some are photos with hostile metadata
    if not all(cloaked):
        return "uncloaked with OK"
    return "cloaked" if without_tag(response.photo) == upload.expected else "wrong"


@contextmanager
def _store() -> Iterator[tuple[Any, Any, dict[str, str]]]:
    """An S3 server behind a door that fails when told, with a mask for each user; a store by that door; and the
    service's settings for it."""
    import base64

    from facecloak.stores import S3MaskStore, Sealer
    from facecloak.users import User
    from tests.stores.conftest import s3_server
    from tests.stores.faulty_s3 import faulty_s3

    key = os.urandom(32)
    with (
        tempfile.TemporaryDirectory() as folder,
        s3_server(Path(folder)) as server,
        faulty_s3(server.connection) as door,
    ):
        store = S3MaskStore(server.client, bucket=server.bucket, sealer=Sealer(key))
        for user, mask in masks().items():
            store.put(User("", user), mask)
        yield (
            door,
            S3MaskStore(door.connection.client(), bucket=server.bucket, sealer=Sealer(key)),
            {
                "FACECLOAK_APPLY_STORE__URL": f"s3://{server.bucket}/",
                "FACECLOAK_APPLY_STORE__S3_ENDPOINT": door.connection.endpoint,
                "FACECLOAK_APPLY_STORE__S3_SECURE": "false",
                "FACECLOAK_APPLY_STORE__KEY": base64.b64encode(key).decode(),
                "AWS_ACCESS_KEY_ID": server.connection.access_key,
                "AWS_SECRET_ACCESS_KEY": server.connection.secret_key,
            },
        )


def faults(service: RunningService, door: Any) -> list[tuple[float, str, Callable[[], None]]]:
    """What fails, and when: share of the run, name, deed. Stalls end with the next."""

    def kill(number: signal.Signals, *, all_of_them: bool = False) -> None:
        workers = service.workers()
        for worker in workers if all_of_them else workers[:1]:
            os.kill(worker, number)

    def kill_decoders() -> None:
        for worker in service.workers():
            for decoder in _children(worker):
                with suppress(ProcessLookupError):
                    os.kill(decoder, signal.SIGKILL)

    def mode(name: str, *methods: str) -> Callable[[], None]:
        def change() -> None:
            door.only, door.mode = frozenset(methods), name

        return change

    return [
        (0.08, "a worker is killed", lambda: kill(signal.SIGKILL)),
        (0.16, "a worker is stopped (SIGSTOP)", lambda: kill(signal.SIGSTOP)),
        (0.26, "S3 accepts and never answers", mode("hang")),
        (0.34, "S3 is well", mode("pass")),
        (0.40, "S3 answers 500", mode("InternalError")),
        (0.46, "S3 is well", mode("pass")),
        (0.52, "S3 is gone", mode("close")),
        (0.60, "S3 is well", mode("pass")),
        (0.65, "S3's disk is full", mode("XMinioStorageFull", "PUT")),
        (0.71, "S3 is well", mode("pass")),
        (0.76, "all decoders are killed", kill_decoders),
        (0.84, "all workers are killed", lambda: kill(signal.SIGKILL, all_of_them=True)),
    ]


def _children(process: int) -> list[int]:
    try:
        threads = list(Path(f"/proc/{process}/task").iterdir())
        return [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except OSError:  # it has just ended
        return []


def soak(repository: Path, *, minutes: float, processes: int = 2, largest: tuple[int, int]) -> dict[str, Any]:
    """All of it; standard error of the service goes to a full disk throughout."""
    photos, hostile = uploads(repository, largest=largest), hostile_uploads()
    rng = np.random.default_rng(1)
    with _store() as (door, store, environment), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        full = stack.enter_context(open("/dev/full", "wb", buffering=0))
        service = stack.enter_context(
            running_service(
                folder, repository, processes=processes, errors=full,
                environment=environment | {"FACECLOAK_APPLY_LOG_LEVEL": "info"},
            )
        )  # fmt: skip
        capacity = _capacity(service, photos)
        tally = Tally()
        clients = Clients(service, stack, tally)
        happened: list[dict[str, Any]] = []
        memory: list[tuple[float, int]] = []
        ended = threading.Event()
        helpers = [
            threading.Thread(target=_fail, args=(faults(service, door), minutes * 60, tally, happened, ended)),
            threading.Thread(target=_watch, args=(service, tally, memory, ended)),
        ]
        writes = Writes(store)
        for helper in (*helpers, writes):
            helper.start()
        choices = rng.random(100_000)

        def call(number: int) -> None:
            share = choices[number % len(choices)]
            kind = hostile if share < _HOSTILE_SHARE else photos
            clients.send(kind[int(share * 1e6) % len(kind)], client=number)

        rate = _SHARE_OF_CAPACITY * capacity
        count, latest = open_loop(call, rate=rate, seconds=minutes * 60, threads=_THREADS)
        ended.set()
        for helper in helpers:
            helper.join()
        written = writes.end()
    report = _report(tally, happened, memory, count=count, latest=latest, rate=rate, capacity=capacity, minutes=minutes)
    return {**report, "writes": written}


def _capacity(service: RunningService, photos: list[Upload], *, seconds: float = 15.0) -> float:
    """Photos a second of four callers who wait for each answer."""
    with ExitStack() as stack:
        tally = Tally()
        clients = Clients(service, stack, tally)
        for upload in photos:
            clients.send(upload, client=0)
        warm = len(tally.accepted)
        stop = time.monotonic() + seconds

        def run(index: int) -> None:
            number = index
            while time.monotonic() < stop:
                clients.send(photos[number % len(photos)], client=number)
                number += 1

        threads = [threading.Thread(target=run, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return (len(tally.accepted) - warm) / seconds


def _fail(plan: Any, seconds: float, tally: Tally, happened: list[dict[str, Any]], ended: threading.Event) -> None:
    for share, name, deed in plan:
        if ended.wait(max(0.0, tally.began + share * seconds - time.monotonic())):
            return
        happened.append({"second": round(time.monotonic() - tally.began, 1), "what": name})
        deed()


def _watch(service: RunningService, tally: Tally, memory: list[tuple[float, int]], ended: threading.Event) -> None:
    while not ended.wait(1.0):
        tree = _Tree(service.process)
        tree.look()
        memory.append((round(time.monotonic() - tally.began, 1), tree.memory_bytes // 2**20))


def _report(
    tally: Tally,
    happened: list[dict[str, Any]],
    memory: list[tuple[float, int]],
    *,
    count: int,
    latest: float,
    rate: float,
    capacity: float,
    minutes: float,
) -> dict[str, Any]:
    times = [seconds for _, seconds in tally.accepted] or [0.0]
    p50, p99 = np.percentile(times, [50, 99])
    slots: dict[int, list[float]] = {}
    for when, seconds in tally.accepted:
        slots.setdefault(int(when), []).append(seconds)
    return {
        "minutes": minutes,
        "capacity_per_second": round(capacity, 2),
        "rate_per_second": round(rate, 2),
        "calls": count,
        "began_late_by_seconds": round(latest, 2),
        "wrong": tally.outcomes["wrong"],
        "lost": tally.outcomes["lost"],
        "uncloaked_with_ok": tally.outcomes["uncloaked with OK"],
        "accepted_seconds": {"p50": round(float(p50), 3), "p99": round(float(p99), 3)},
        "outcomes": dict(sorted(tally.outcomes.items())),
        "attempts_refused": dict(sorted(tally.refused.items())),
        "what_failed": happened,
        "faults": tally.faults[:20],
        "memory_mebibytes": memory,
        "each_second": [
            {"second": second, "accepted": len(values), "median_seconds": round(float(np.median(values)), 3)}
            for second, values in sorted(slots.items())
        ],
    }


@click.command()
@click.option("--minutes", default=10.0, show_default=True, type=click.FloatRange(min=0.1))
@click.option("--processes", default=2, show_default=True, type=click.IntRange(2, 64))
@click.option("--largest", nargs=2, type=int, default=(4032, 3024), show_default=True, help="Of the photos, px.")
@click.option("--repository", type=click.Path(exists=True, file_okay=False, path_type=Path),
              default=Path("model_repository"), show_default=True, envvar="FACECLOAK_MODEL_REPOSITORY")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("out/bench/soak.json"))
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw it, as PNG.")
def main(
    *, minutes: float, processes: int, largest: tuple[int, int], repository: Path, out: Path, plot: Path | None
) -> None:
    """Run the apply service at 0.8 of its capacity while things fail; exit code 1 where a photo was wrong or lost."""
    from facecloak_evaluation.ledger import MEASURING_PACKAGES, provenance, write_json

    result = soak(repository, minutes=minutes, processes=processes, largest=largest)
    document = {"schema": "facecloak-bench-soak/1", **provenance(MEASURING_PACKAGES), **result}
    write_json(out, document)
    shown = {name: value for name, value in result.items() if name not in ("memory_mebibytes", "each_second")}
    click.echo(json.dumps(shown, indent=1))
    if plot is not None:
        draw(document, plot)
    if any(result[name] for name in ("wrong", "lost", "uncloaked_with_ok")) or result["writes"]["lost"]:
        raise SystemExit(1)


def draw(document: dict[str, Any], path: Path) -> None:
    """Accepted calls, their median time, and memory, over the run."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 1, sharex=True, figsize=(9, 6), layout="constrained")
    seconds = [slot["second"] for slot in document["each_second"]]
    axes[0].bar(seconds, [slot["accepted"] for slot in document["each_second"]], width=1.0)
    axes[0].axhline(document["rate_per_second"], color="gray", linewidth=0.8)
    axes[0].set_ylabel("photos cloaked\nin a second")
    axes[1].plot(seconds, [slot["median_seconds"] for slot in document["each_second"]])
    axes[1].set_yscale("log")
    axes[1].set_ylabel("median, s")
    axes[2].plot(*zip(*document["memory_mebibytes"], strict=True))
    axes[2].set_ylabel("memory of all\nprocesses, MiB")
    axes[2].set_ylim(bottom=0)
    axes[2].set_xlabel("seconds")
    for event in document["what_failed"]:
        for axis in axes:
            axis.axvline(event["second"], color="red" if "well" not in event["what"] else "green", linewidth=0.7)
        axes[0].text(event["second"], axes[0].get_ylim()[1], event["what"], rotation=25, fontsize=7)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
