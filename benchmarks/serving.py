"""The apply service as a whole: what a call costs with gRPC, over processes, from cache and store, and over 20,000
calls."""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent import futures
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pictures import jpeg, photo
from benchmarks.service import SQUARE_USER, USER, RunningService, running_service, some_mask
from benchmarks.splice import SIZES
from benchmarks.timing import take_turns

QUALITY = 90


def measure(model_repository: Path, *, runs: int, calls: int = 20_000) -> dict[str, Any]:
    """All of it; minutes."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            "load_at_start": os.getloadavg()[0],
            "calls": _calls(Path(folder) / "calls", model_repository, runs=runs),
            "processes": _processes(Path(folder) / "processes", model_repository),
            "cache": _cache(Path(folder) / "cache"),
            "memory": _memory(Path(folder) / "memory", model_repository, calls=calls),
        }


def _calls(folder: Path, repository: Path, *, runs: int) -> list[dict[str, Any]]:
    """ApplyCloak's processor time at the server, beside the same work without gRPC and beside an echo."""
    import cv2

    from facecloak.faces import FaceFinder
    from facecloak.v1 import apply_pb2_grpc

    cv2.setNumThreads(1)
    finder = FaceFinder.load(repository)
    sizes = []
    with running_service(folder, repository, processes=1) as service, _channel(service.target) as channel:
        stub = apply_pb2_grpc.ApplyServiceStub(channel)
        for width, height in SIZES:
            pixels = photo(width=width, height=height)
            data, face = jpeg(pixels, quality=QUALITY), finder.find(pixels)[0]
            hints = {"landmarks": {"landmarks": face.landmarks}, "box": {"box": face.box}, "none": {}}
            requests = {
                (hint, user): _request(data, user, **place)
                for hint, place in hints.items()
                for user in ((USER, SQUARE_USER) if hint != "none" else (USER,))
            }
            timings = take_turns(_full_ways(data, finder, face), runs=runs, warm_up=1, clock_ns=time.thread_time_ns)
            full_ms = {name: round(timing.median_ms, 3) for name, timing in timings.items()}
            served = {
                hint if user == USER else f"{hint}, square mask":
                    _served(service, lambda r=request: stub.ApplyCloak(r, timeout=60), runs=runs)
                for (hint, user), request in requests.items()
            }  # fmt: skip
            entry = {
                "width": width,
                "height": height,
                "bytes": len(data),
                "served": served,
                "echo": _echo_ms(data, runs=runs),
                "full_way_ms": full_ms,
                # The same things done, and only decoding, laying and encoding.
                "ratio_to_full": {
                    name: round(one["cpu_ms"] / full_ms[name], 3) for name, one in served.items() if name in full_ms
                },
                "ratio_to_full_without_finding": {
                    name: round(
                        one["cpu_ms"] / full_ms["place known, square mask" if "square" in name else "place known"], 3
                    )
                    for name, one in served.items()
                },
            }
            sizes.append(entry)
    return sizes


def _full_ways(data: bytes, finder: Any, face: Any) -> dict[str, Callable[[], object]]:
    """Decode, find what the hint leaves to find, lay, encode: by simplejpeg, without gRPC.

    "place known": nothing is left to find; "landmarks", "box": whether they are a face's, its landmarks and mesh.
    """
    import simplejpeg

    from benchmarks.splice import place_fitted
    from facecloak.cloaking.blend import add_in_place
    from facecloak.masks.mask import MaskGeometry

    # Of the default: one that moves, too.
    masks = {geometry: some_mask(geometry, moves=geometry is MaskGeometry.FACE) for geometry in MaskGeometry}

    def full(geometry: MaskGeometry, hint: str) -> bytes:
        pixels = simplejpeg.decode_jpeg(data)
        found = face
        if hint == "landmarks":
            found = finder.face_at(pixels, face.landmarks)
        elif hint == "box":
            found = finder.landmarks_for(pixels, face.box)
        add_in_place(pixels, place_fitted(pixels, masks[geometry], found))
        return simplejpeg.encode_jpeg(pixels, quality=QUALITY, colorsubsampling="420")

    known = ("place known", "landmarks", "box")
    bent = {name: partial(full, MaskGeometry.FACE, name) for name in known}
    return bent | {f"{name}, square mask": partial(full, MaskGeometry.SQUARE, name) for name in known}


def _request(data: bytes, user_id: str, **hint: Any) -> Any:
    from apply_service.convert import request_to
    from facecloak.cloaking.cloaker import Subject

    return request_to(data, (Subject(user_id, **hint),))


def _served(service: RunningService, call: Callable[[], Any], *, runs: int) -> dict[str, Any]:
    """Processor ms a call at the server, the mean of many, and wall ms."""
    call()
    walls = []
    before = service.cpu_seconds()
    count = max(4 * runs, 40)
    for _ in range(count):
        began = time.perf_counter()
        response = call()
        walls.append(time.perf_counter() - began)
    cpu = service.cpu_seconds() - before
    from facecloak.v1 import apply_pb2

    return {
        "cpu_ms": round(1000 * cpu / count, 3),
        "wall_ms_p50": round(1000 * statistics.median(walls), 2),
        "calls": count,
        "way": apply_pb2.EncodingPath.Name(response.encoding_path),
        "outcome": apply_pb2.CloakOutcome.Name(response.subjects[0].outcome),
    }


def _echo_ms(data: bytes, *, runs: int) -> dict[str, float]:
    """A gRPC call that gives the same bytes back, both sides in this process: processor and wall ms."""
    import grpc

    def handler(_details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(lambda request, _context: request)

    class Echo(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            return handler(handler_call_details)

    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=(Echo(),), options=options)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            call = channel.unary_unary("/echo/Echo")
            call(data)
            walls, cpu = [], time.process_time()
            for _ in range(2 * runs):
                began = time.perf_counter()
                call(data)
                walls.append(time.perf_counter() - began)
            cpu = time.process_time() - cpu
    finally:
        server.stop(0)
    return {
        "cpu_ms_both_sides": round(1000 * cpu / (2 * runs), 3),
        "wall_ms_p50": round(1000 * statistics.median(walls), 2),
    }


def _processes(folder: Path, repository: Path, *, seconds: float = 8.0) -> dict[str, Any]:
    """Photos a second from one and from two processes, landmarks given, and what the machine allowed meanwhile."""
    from facecloak.faces import FaceFinder

    pixels = photo(width=1280, height=960)
    data, face = jpeg(pixels, quality=QUALITY), FaceFinder.load(repository).find(pixels)[0]
    results: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "rounds": []}
    for turn in range(2):
        for processes in (1, 2):
            with running_service(folder / f"{turn}-{processes}", repository, processes=processes) as service:
                load, request = os.getloadavg()[0], _request(data, service.user_id, landmarks=face.landmarks)
                began, cpu = time.perf_counter(), service.cpu_seconds()
                done = _hammer(service.target, request, clients=4, seconds=seconds)
                wall, cpu = time.perf_counter() - began, service.cpu_seconds() - cpu
            results["rounds"].append(
                {
                    "processes": processes,
                    "photos_per_second": round(done / wall, 1),
                    "cpu_ms_per_photo": round(1000 * cpu / max(done, 1), 2),
                    "cores_got": round(cpu / wall, 2),
                    "load": round(load, 1),
                }
            )
    rates = {
        count: statistics.median(r["photos_per_second"] for r in results["rounds"] if r["processes"] == count)
        for count in (1, 2)
    }
    results["gain"] = round(rates[2] / rates[1], 2)
    return results


def _hammer(target: str, request: Any, *, clients: int, seconds: float) -> int:
    """Calls answered to several clients in this process, each with a connection of its own."""
    from facecloak.v1 import apply_pb2_grpc

    counts = [0] * clients
    stop = time.monotonic() + seconds

    def run(index: int) -> None:
        with _channel(target) as channel:
            stub = apply_pb2_grpc.ApplyServiceStub(channel)
            while time.monotonic() < stop:
                stub.ApplyCloak(request, timeout=30)
                counts[index] += 1

    threads = [threading.Thread(target=run, args=(index,)) for index in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def _cache(folder: Path, *, lookups: int = 400) -> dict[str, Any]:
    """Microseconds of a mask's lookup: cached, read from a local folder, read from S3 (a SeaweedFS of this machine)."""
    from prometheus_client import CollectorRegistry

    from apply_service.cache import MaskCache
    from facecloak.users import User
    from facecloak_rpc.storage import StoreSettings, open_configured_store

    def timed(store: Any, *, hit: bool) -> dict[str, float]:
        cache = MaskCache(
            store, bytes_limit=2**30, ttl_seconds=3600, negative_ttl_seconds=0, stale_seconds=0,
            registry=CollectorRegistry(),
        )  # fmt: skip
        users = [User("", f"user{number}") for number in range(lookups)]
        for user in users:
            store.put(user, some_mask(moves=True))
        times = []
        for user in [users[0]] * (lookups + 1) if hit else users:
            began = time.perf_counter()
            cache.get(user)
            times.append(1e6 * (time.perf_counter() - began))
        p50, p99 = np.percentile(times[1:], [50, 99])
        return {"p50_us": round(float(p50), 1), "p99_us": round(float(p99), 1), "lookups": len(times) - 1}

    folder.mkdir(parents=True)
    local = open_configured_store(StoreSettings(data=folder / "local"))
    result = {"hit": timed(local, hit=True), "miss_local": timed(local, hit=False)}
    with _s3(folder) as store:
        if store is not None:
            result["miss_s3"] = timed(store, hit=False)
    return result


def _s3(folder: Path) -> Any:
    """A store in a SeaweedFS that the tests' fixture starts; None where the package is not installed."""
    from contextlib import contextmanager

    try:
        from tests.stores.conftest import s3_server, weed_binary
    except ImportError:
        return nullcontext(None)
    if weed_binary() is None:
        return nullcontext(None)

    @contextmanager
    def opened() -> Any:
        from facecloak.stores import S3MaskStore, Sealer

        with s3_server(folder / "s3") as server:
            yield S3MaskStore(server.client, bucket=server.bucket, sealer=Sealer(os.urandom(32)))

    return opened()


def _memory(folder: Path, repository: Path, *, calls: int) -> dict[str, Any]:
    """The server's resident memory over many calls of three sizes."""
    from benchmarks.fuzz import _resident_mebibytes
    from facecloak.faces import FaceFinder
    from facecloak.v1 import apply_pb2_grpc

    finder = FaceFinder.load(repository)
    requests = []
    samples: list[int] = []
    with running_service(folder, repository, processes=1) as service, _channel(service.target) as channel:
        stub = apply_pb2_grpc.ApplyServiceStub(channel)
        for width, height in ((640, 480), (480, 360), (800, 600)):
            pixels = photo(width=width, height=height)
            landmarks = finder.find(pixels)[0].landmarks
            requests.append(_request(jpeg(pixels), service.user_id, landmarks=landmarks))
        for call in range(calls):
            stub.ApplyCloak(requests[call % len(requests)], timeout=30)
            if call % max(calls // 20, 1) == 0:
                samples.append(_resident_mebibytes(service.workers()[0]))
        samples.append(_resident_mebibytes(service.workers()[0]))
    return {"calls": calls, "resident_mebibytes": samples, "growth_after_first_tenth": samples[-1] - samples[2]}


def _channel(target: str) -> Any:
    import grpc

    return grpc.insecure_channel(
        target,
        options=[
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
            # As facecloak_client has them.
            ("grpc.initial_reconnect_backoff_ms", 250),
            ("grpc.max_reconnect_backoff_ms", 5_000),
        ],
    )
