"""The apply service at eight times its capacity: how soon it refuses, whether it says when to come back, and whether
probes are answered.

The caller that makes the load waits for its own event loop, which has hundreds of answers a second to take. So a second
caller, which has little to do, says how long a refusal takes; both share the service's cores.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pictures import jpeg, photo
from benchmarks.service import USER, running_service
from benchmarks.serving import _channel, _hammer, _request

_TIMES = 8
_CHANNELS = 16
_CALL_SECONDS = 5.0
_PROBE_SECONDS = 0.1
_WATCHER_SECONDS = 0.05
# In which the line fills, and the places are fitted to that.
_BEGINNING_SECONDS = 1.0


def measure(repository: Path, *, seconds: float = 10.0) -> dict[str, Any]:
    """An open loop from a process of its own; from another, a probe every 0.1 s and a call every 0.05 s."""
    from facecloak.faces import FaceFinder

    pixels = photo(width=640, height=480)
    landmarks = FaceFinder.load(repository).find(pixels)[0].landmarks
    data = jpeg(pixels)
    request = _request(data, USER, landmarks=landmarks)
    with tempfile.TemporaryDirectory() as folder, running_service(Path(folder), repository, processes=1) as service:
        _hammer(service.target, request, clients=4, seconds=2.0)
        before, own = service.cpu_seconds(), time.process_time()
        answered = _hammer(service.target, request, clients=4, seconds=5.0)
        capacity = answered / 5.0
        alone = {
            "answered_per_second": round(capacity, 1),
            "service_cores": round((service.cpu_seconds() - before) / 5.0, 2),
            "caller_cores": round((time.process_time() - own) / 5.0, 2),
            "service_cpu_ms_per_photo": round(1000 * (service.cpu_seconds() - before) / answered, 1),
        }
        context = multiprocessing.get_context("spawn")
        answers: Any = context.Queue()
        caller = context.Process(
            target=_call, args=(service.target, data, landmarks, _TIMES * capacity, seconds, answers)
        )
        caller.start()
        begun = answers.get(timeout=120)
        before = service.cpu_seconds()
        with _watching(service.target, request, seconds=seconds) as watched:
            probes = _probe(service.target, caller)
        calls = answers.get(timeout=120)
        calls["service_cores"] = round((service.cpu_seconds() - before) / (time.monotonic() - begun), 2)
        caller.join()
    return {
        "capacity_per_second": round(capacity, 1), "at_capacity": alone, "times": _TIMES, "overload": calls,
        "watcher": _outcomes(watched), "probes": probes,
    }  # fmt: skip


def _call(target: str, data: bytes, landmarks: Any, rate: float, seconds: float, answers: Any) -> None:
    """One thread for all calls: hundreds of threads would wait for each other, and their waiting be taken for the
    service's."""
    import asyncio

    answers.put(asyncio.run(_calls(target, data, landmarks, rate=rate, seconds=seconds, answers=answers)))


async def _calls(
    target: str, data: bytes, landmarks: Any, *, rate: float, seconds: float, answers: Any
) -> dict[str, Any]:
    import asyncio

    import grpc

    from facecloak.v1 import apply_pb2_grpc
    from facecloak_rpc.client import to_remote_error

    request = _request(data, USER, landmarks=landmarks)
    ended: list[tuple[str, float, bool, float]] = []
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(
                grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])
            )
            for _ in range(_CHANNELS)
        ]
        stubs = [apply_pb2_grpc.ApplyServiceStub(channel) for channel in channels]

        async def call(number: int) -> None:
            began = time.monotonic()
            try:
                await stubs[number % _CHANNELS].ApplyCloak(request, timeout=_CALL_SECONDS)
                name, told = "OK", True
            except grpc.RpcError as error:
                remote = to_remote_error(error)
                name = f"{error.code().name} {remote.reason}".strip()
                told = remote.retry_seconds is not None
            ended.append((name, time.monotonic() - began, told, began))

        rng, latest, calls = np.random.default_rng(0), 0.0, []
        began = due = time.monotonic()
        own = time.process_time()
        answers.put(began)
        while due - began < seconds:
            due += rng.exponential(1 / rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            latest = max(latest, time.monotonic() - due)
            calls.append(asyncio.create_task(call(len(calls))))
        await asyncio.gather(*calls)
    whole = time.monotonic() - began
    return {
        "rate_per_second": round(rate, 1),
        "calls": len(calls),
        "began_late_by_seconds": round(latest, 2),
        "goodput_per_second": round(sum(name == "OK" for name, *_ in ended) / whole, 1),
        "caller_cores": round((time.process_time() - own) / whole, 2),
        "outcomes": _outcomes([one[:3] for one in ended]),
        "outcomes_after_the_first_second": _outcomes([one[:3] for one in ended if one[3] > began + _BEGINNING_SECONDS]),
    }


def _outcomes(ended: list[tuple[str, float, bool]]) -> dict[str, Any]:
    """Of each kind of answer: how many, how long they took, and how many said when to come back."""
    outcomes = {}
    for name, times in Counter(name for name, _, _ in ended).items():
        p50, p99 = np.percentile([took for one, took, _ in ended if one == name], [50, 99])
        with_retry = sum(told for one, _, told in ended if one == name)
        outcomes[name] = {
            "calls": times, "p50_ms": round(1000 * p50, 1), "p99_ms": round(1000 * p99, 1),
            **({} if name == "OK" else {"with_retry_info": with_retry}),
        }  # fmt: skip
    return outcomes


@contextmanager
def _watching(target: str, request: Any, *, seconds: float) -> Iterator[list[tuple[str, float, bool]]]:
    """Calls now and then, each timed from its start to its answer, from a thread beside the block."""
    import grpc

    from facecloak.v1 import apply_pb2_grpc
    from facecloak_rpc.client import to_remote_error

    ended: list[tuple[str, float, bool]] = []
    with _channel(target) as channel, ThreadPoolExecutor(64) as threads:
        stub = apply_pb2_grpc.ApplyServiceStub(channel)

        def call() -> None:
            began = time.monotonic()
            try:
                stub.ApplyCloak(request, timeout=_CALL_SECONDS)
                name, told = "OK", True
            except grpc.RpcError as error:
                took = time.monotonic() - began
                remote = to_remote_error(error)
                ended.append((f"{error.code().name} {remote.reason}".strip(), took, remote.retry_seconds is not None))
                return
            ended.append((name, time.monotonic() - began, told))

        def watch() -> None:
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                threads.submit(call)
                time.sleep(_WATCHER_SECONDS)

        threads.submit(watch)
        yield ended


def _probe(target: str, caller: Any) -> dict[str, Any]:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    times, refused = [], 0
    with _channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while caller.is_alive():
            began = time.monotonic()
            try:
                stub.Check(health_pb2.HealthCheckRequest(service="live"), timeout=5)
            except grpc.RpcError:
                refused += 1
            times.append(time.monotonic() - began)
            time.sleep(_PROBE_SECONDS)
    p50, p99 = np.percentile(times, [50, 99])
    return {"probes": len(times), "refused": refused, "p50_ms": round(1000 * p50, 1), "p99_ms": round(1000 * p99, 1)}
