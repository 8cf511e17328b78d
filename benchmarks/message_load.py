"""The apply service's memory under calls as large as they may be, all at once: its peak, and what it rests at."""

from __future__ import annotations

import multiprocessing
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.fuzz import _resident_mebibytes
from benchmarks.pictures import jpeg, photo
from benchmarks.service import USER, running_service

# Notes in text, each of a kind of its own: in others there could be samples, and they do not come back.
_TEXT = b"Taken on a day in June, by the sea.\n" * 1800
_SAMPLE_SECONDS = 0.02
_REST_SECONDS = 5.0
_NOT_READING_SECONDS = 8.0


def padded(data: bytes, *, size: int) -> bytes:
    """A JPEG with notes behind its first marker until it has about ``size`` bytes."""
    notes = []
    while sum(map(len, notes)) + len(data) < size - len(_TEXT):
        payload = b"Note%04d\0" % len(notes) + _TEXT
        notes.append(b"\xff\xe5" + (len(payload) + 2).to_bytes(2, "big") + payload)
    return data[:2] + b"".join(notes) + data[2:]


def measure(
    repository: Path, *, calls: int = 120, mebibytes: int = 30, environment: dict[str, str] | None = None
) -> dict[str, Any]:
    """``calls`` ApplyCloaks at once, read by their clients, and then again by clients that do not read."""
    from facecloak.faces import FaceFinder

    pixels = photo(width=1280, height=960)
    landmarks = FaceFinder.load(repository).find(pixels)[0].landmarks
    data = padded(jpeg(pixels), size=mebibytes * 2**20)
    result: dict[str, Any] = {"calls": calls, "photo_mebibytes": mebibytes}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(Path(folder), repository, processes=1, environment=environment) as service,
    ):
        result["resident_mebibytes_before"] = _resident_mebibytes(service.process)
        for name, reads in (("read", True), ("not_read", False)):
            result[name] = _load(service, data, landmarks, calls=calls, reads=reads)
    return result


def _load(service: Any, data: bytes, landmarks: Any, *, calls: int, reads: bool) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    answers: Any = context.Queue()
    clients = [
        context.Process(target=_client, args=(service.target, data, landmarks, calls // 4, reads, answers))
        for _ in range(4)
    ]
    samples: list[int] = []
    for client in clients:
        client.start()
    began = time.monotonic()
    while any(client.is_alive() for client in clients) and time.monotonic() - began < 120:
        samples.append(_resident_mebibytes(service.process))
        time.sleep(_SAMPLE_SECONDS)
    seconds = time.monotonic() - began
    for client in clients:
        client.kill()
        client.join()
    time.sleep(_REST_SECONDS)
    outcomes: Counter[str] = Counter()
    while not answers.empty():
        outcomes.update(answers.get())
    return {
        "peak_mebibytes": max(samples),
        "resting_mebibytes": _resident_mebibytes(service.process),
        "seconds": round(seconds, 1),
        "outcomes": dict(sorted(outcomes.items())),
    }


def _client(target: str, data: bytes, landmarks: Any, calls: int, reads: bool, answers: Any) -> None:
    """Calls at once on one connection; one that does not read has a window that no answer fits into."""
    import grpc

    from benchmarks.serving import _channel, _request

    request = _request(data, USER, landmarks=landmarks).SerializeToString()
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()
    with _channel(target) as channel:
        method = "/facecloak.v1.ApplyService/ApplyCloak"

        def ask() -> None:
            try:
                if reads:
                    channel.unary_unary(method)(request, timeout=60)
                else:
                    # A stream's answer is read when it is asked for, and gRPC holds what was not.
                    call = channel.unary_stream(method)(request, timeout=60)
                    call.initial_metadata()
                    time.sleep(_NOT_READING_SECONDS)
                    next(call)
                outcome = "OK"
            except grpc.RpcError as error:
                outcome = error.code().name
            with lock:
                outcomes[outcome] += 1

        threads = [threading.Thread(target=ask) for _ in range(calls)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    answers.put(dict(outcomes))
