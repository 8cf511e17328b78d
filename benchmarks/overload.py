"""The apply service at eight times its capacity: how soon it refuses, whether it says when to come back, and whether
probes are answered."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
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


def measure(repository: Path, *, seconds: float = 10.0) -> dict[str, Any]:
    """An open loop from a process of its own, and a probe every 0.1 s from another connection."""
    from facecloak.faces import FaceFinder

    pixels = photo(width=640, height=480)
    landmarks = FaceFinder.load(repository).find(pixels)[0].landmarks
    data = jpeg(pixels)
    with tempfile.TemporaryDirectory() as folder, running_service(Path(folder), repository, processes=1) as service:
        capacity = _hammer(service.target, _request(data, USER, landmarks=landmarks), clients=4, seconds=5.0) / 5.0
        context = multiprocessing.get_context("spawn")
        answers: Any = context.Queue()
        caller = context.Process(
            target=_call, args=(service.target, data, landmarks, _TIMES * capacity, seconds, answers)
        )
        caller.start()
        probes = _probe(service.target, caller)
        calls = answers.get(timeout=120)
        caller.join()
    return {"capacity_per_second": round(capacity, 1), "times": _TIMES, "overload": calls, "probes": probes}


def _call(target: str, data: bytes, landmarks: Any, rate: float, seconds: float, answers: Any) -> None:
    """One thread for all calls: hundreds of threads would wait for each other, and their waiting be taken for the
    service's."""
    import asyncio

    answers.put(asyncio.run(_calls(target, data, landmarks, rate=rate, seconds=seconds)))


async def _calls(target: str, data: bytes, landmarks: Any, *, rate: float, seconds: float) -> dict[str, Any]:
    import asyncio

    import grpc

    from facecloak.v1 import apply_pb2_grpc
    from facecloak_rpc.client import to_remote_error

    request = _request(data, USER, landmarks=landmarks)
    ended: list[tuple[str, float, bool]] = []
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
            ended.append((name, time.monotonic() - began, told))

        rng, latest, calls = np.random.default_rng(0), 0.0, []
        began = due = time.monotonic()
        while due - began < seconds:
            due += rng.exponential(1 / rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            latest = max(latest, time.monotonic() - due)
            calls.append(asyncio.create_task(call(len(calls))))
        await asyncio.gather(*calls)
    result: dict[str, Any] = {
        "rate_per_second": round(rate, 1),
        "calls": len(calls),
        "began_late_by_seconds": round(latest, 2),
        "goodput_per_second": round(sum(name == "OK" for name, _, _ in ended) / (time.monotonic() - began), 1),
    }
    for name, times in Counter(name for name, _, _ in ended).items():
        p50, p99 = np.percentile([took for one, took, _ in ended if one == name], [50, 99])
        with_retry = sum(told for one, _, told in ended if one == name)
        result.setdefault("outcomes", {})[name] = {
            "calls": times, "p50_ms": round(1000 * p50, 1), "p99_ms": round(1000 * p99, 1),
            **({} if name == "OK" else {"with_retry_info": with_retry}),
        }  # fmt: skip
    return result


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
