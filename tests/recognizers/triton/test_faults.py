"""TritonRuntime while a real server dies, drains, loses a backend, serves something else or has no room."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from facecloak.call_context import cancellation
from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.models.convert.onnx_file import convert_ready_model
from facecloak.models.errors import RecognizerFailed
from facecloak.models.install import store_recognizer
from facecloak.models.repository import ModelRepository
from facecloak.models.spec import RecognizerSpec
from facecloak.recognizers.errors import InferenceCancelled
from facecloak.recognizers.onnx_runtime import OnnxRuntime
from facecloak.recognizers.triton.dev_server.process import TritonProcess
from facecloak.recognizers.triton.errors import ServedModelDiffers, TritonUnavailable
from facecloak.recognizers.triton.profiles import CPU
from facecloak.recognizers.triton.runtime import TritonRuntime
from facecloak.recognizers.triton.write_repository import BuiltRepository, build_repository

Connect = Callable[..., TritonRuntime]
Start = Callable[..., TritonProcess]
Store = Callable[..., ModelRepository]

# Big enough for calls to overlap with what happens to the server, small enough to start in two seconds.
EMBEDDING = 16
FAR, NEAR = np.eye(2, EMBEDDING, dtype=np.float32)


@pytest.fixture(scope="module")
def store_small(tmp_path_factory: pytest.TempPathFactory, make_network: Callable[..., onnx.ModelProto]) -> Store:
    """Makes a model repository of one small recognizer."""

    def make(*, seed: int = 0, embedding: int = EMBEDDING) -> ModelRepository:
        store = ModelRepository(tmp_path_factory.mktemp("small"))
        network = convert_ready_model(make_network(seed=seed, embedding=embedding).SerializeToString())
        store_recognizer(store, network, RecognizerSpec("small", embedding_size=embedding))
        return store

    return make


@pytest.fixture(scope="module")
def small(store_small: Store) -> ModelRepository:
    return store_small()


@pytest.fixture
def built(small: ModelRepository, tmp_path: Path) -> BuiltRepository:
    return build_repository(small, profile=replace(CPU, warm_up_batches=(1,)), output=tmp_path / "served")


def refused(call: Callable[[], object]) -> FaceCloakError:
    with pytest.raises(FaceCloakError) as caught:
        call()
    return caught.value


class Load:
    """Threads that ask for gradients until told to stop; keeps what went wrong."""

    def __init__(self, runtime: TritonRuntime, crops: np.ndarray, expected: np.ndarray, *, threads: int = 4) -> None:
        self._runtime, self._crops, self._expected = runtime, crops, expected
        self._stop = threading.Event()
        self.answers, self.wrong, self.errors = 0, 0, list[Exception]()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def wait_for_answers(self, more: int, *, seconds: float = 30.0) -> None:
        wanted, deadline = self.answers + more, time.monotonic() + seconds
        while self.answers < wanted and not self.errors:
            assert time.monotonic() < deadline, "no more answers came"
            time.sleep(0.01)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _ask(self) -> None:
        try:
            while not self._stop.is_set():
                answer = self._runtime.gradient("small", self._crops, far=FAR, near=NEAR)
                self.wrong += not np.array_equal(answer.gradient, self._expected)
                self.answers += 1
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.errors.append(error)


@contextlib.contextmanager
def load(runtime: TritonRuntime, small: ModelRepository, crops: np.ndarray) -> Iterator[Load]:
    expected = OnnxRuntime(small.root, threads=1).gradient("small", crops, far=FAR, near=NEAR).gradient
    running = Load(runtime, crops, expected)
    try:
        running.wait_for_answers(20)
        yield running
    finally:
        running.stop()


@pytest.mark.parametrize("how", [TritonProcess.stop, TritonProcess.kill], ids=["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared memory", "gRPC"])
def test_a_restart_is_survived_by_every_call(
    built: BuiltRepository, small: ModelRepository, start_triton: Start, connect: Connect, crops8: np.ndarray,
    how: Callable[[TritonProcess], None], shared: bool,
) -> None:  # fmt: skip
    server = start_triton(built)
    runtime = connect(server.url, repository=small.root, shared_memory=shared)
    with load(runtime, small, crops8) as running:
        how(server)
        start_triton(built, grpc_port=server.options.grpc_port)
        running.wait_for_answers(20)
    assert not running.errors
    assert running.wrong == 0
    assert runtime.shares_memory == shared


def test_a_server_that_stays_away_is_unavailable_and_says_so(
    small: ModelRepository, connect: Connect, crops8: np.ndarray
) -> None:
    runtime = connect("127.0.0.1:1", repository=small.root, retry_seconds=0.5)
    error = refused(lambda: runtime.embed("small", crops8))
    assert isinstance(error, TritonUnavailable)
    assert (error.code, error.metadata["model"], error.metadata["cause"]) == (
        ErrorCode.UNAVAILABLE, "small", "UNAVAILABLE",
    )  # fmt: skip
    assert "'small'" in error.public_message
    assert float(error.metadata["retry_after_seconds"]) > 0


def test_closing_ends_the_wait_for_a_server(small: ModelRepository, connect: Connect, crops8: np.ndarray) -> None:
    runtime = connect("127.0.0.1:1", repository=small.root, retry_seconds=600.0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(runtime.embed, "small", crops8)
        time.sleep(0.3)
        assert not waiting.done()
        runtime.close()
        assert isinstance(waiting.exception(20), TritonUnavailable | RecognizerFailed)


def test_who_goes_away_ends_the_wait_for_a_server_and_blames_no_model(
    small: ModelRepository, connect: Connect, crops8: np.ndarray
) -> None:
    runtime = connect("127.0.0.1:1", repository=small.root, retry_seconds=600.0, circuit_failures=1)
    gone = threading.Event()

    def ask() -> np.ndarray:
        cancellation.set(gone.is_set)
        return runtime.embed("small", crops8)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(Context().run, ask)
        time.sleep(0.3)
        assert not waiting.done()
        gone.set()
        assert isinstance(waiting.exception(20), InferenceCancelled)
    # One failure would have opened the circuit for those who still wait.
    assert refused(lambda: runtime.probe("small", gradient=False)).metadata["cause"] == "UNAVAILABLE"


def test_a_dead_backend_is_noticed_by_inference_and_its_circuit_opens(
    built: BuiltRepository, small: ModelRepository, start_triton: Start, connect: Connect, crops8: np.ndarray
) -> None:
    from tritonclient.grpc import InferenceServerClient

    server = start_triton(built)
    runtime = connect(server.url, repository=small.root, circuit_seconds=2.0)
    runtime.probe("small", gradient=True)
    os.kill(_backend_process(server, "small_grad"), signal.SIGKILL)
    with InferenceServerClient(server.url) as client:
        # What makes the probe necessary: the server says that all is well.
        assert client.is_server_ready(client_timeout=5)
        assert client.is_model_ready("small_grad", client_timeout=5)
        first = refused(lambda: runtime.gradient("small", crops8, far=FAR, near=NEAR))
        assert (first.code, first.metadata["cause"]) == (ErrorCode.UNAVAILABLE, "INTERNAL")
        assert refused(lambda: runtime.probe("small", gradient=True)).metadata["model"] == "small_grad"
        assert refused(lambda: runtime.probe("small", gradient=True)).metadata["cause"] == "CIRCUIT_OPEN"
        assert runtime.embed("small", crops8).shape == (8, EMBEDDING), "the other graph's circuit is its own"
        client.unload_model("small_grad", client_timeout=20)
        client.load_model("small_grad", client_timeout=20)
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(TritonUnavailable):
            runtime.probe("small", gradient=True)
            break
        assert time.monotonic() < deadline, "the circuit never closed"
        time.sleep(0.2)
    assert runtime.gradient("small", crops8, far=FAR, near=NEAR).gradient.shape == crops8.shape


def test_a_missing_model_is_named(
    built: BuiltRepository, small: ModelRepository, start_triton: Start, connect: Connect, crops8: np.ndarray
) -> None:
    server = start_triton(BuiltRepository(built.root, ("small",)))
    runtime = connect(server.url, repository=small.root, retry_seconds=0.5)
    error = refused(lambda: runtime.gradient("small", crops8, far=FAR, near=NEAR))
    assert (error.reason, error.metadata["model"]) == ("RECOGNIZER_UNAVAILABLE", "small_grad")
    assert error.metadata["cause"] == "NOT_FOUND"
    assert runtime.embed("small", crops8).shape == (8, EMBEDDING)


@pytest.mark.parametrize("change", [{"embedding": 24}, {"seed": 5}], ids=["shape", "weights"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared memory", "gRPC"])
def test_a_model_that_was_replaced_is_refused(
    built: BuiltRepository, small: ModelRepository, store_small: Store, start_triton: Start, connect: Connect,
    crops8: np.ndarray, change: dict[str, int], shared: bool, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from tritonclient.grpc import InferenceServerClient

    if "embedding" not in change:  # nothing but the digest tells: do not wait for the time to look again
        monkeypatch.setattr("facecloak.recognizers.triton.runtime.TRUST_SECONDS", 0.0)
    server = start_triton(built)
    runtime = connect(server.url, repository=small.root, shared_memory=shared)
    runtime.gradient("small", crops8, far=FAR, near=NEAR)
    runtime.embed("small", crops8)
    build_repository(store_small(**change), profile=CPU, output=built.root)
    with InferenceServerClient(server.url) as client:
        for name in built.models:
            client.load_model(name, client_timeout=20)
    for call in (
        lambda: runtime.embed("small", crops8),
        lambda: runtime.gradient("small", crops8, far=FAR, near=NEAR),
        lambda: runtime.probe("small", gradient=True),
    ):
        error = refused(call)
        assert isinstance(error, ServedModelDiffers), error
        assert (error.code, error.metadata["model"][:5]) == (ErrorCode.FAILED_PRECONDITION, "small")
        assert "models build" in error.public_message


def test_a_full_queue_is_waited_for_or_refused(
    small: ModelRepository, start_triton: Start, connect: Connect, crops8: np.ndarray, tmp_path: Path
) -> None:
    profile = replace(CPU, max_batch=1, queue_limit=1, warm_up_batches=(1,))
    server = start_triton(build_repository(small, profile=profile, output=tmp_path / "narrow"))
    hasty = connect(server.url, repository=small.root, retry_seconds=0.0, circuit_failures=1000)
    patient = connect(server.url, repository=small.root, circuit_failures=1000)

    def ask(runtime: TritonRuntime) -> list[Exception | None]:
        with ThreadPoolExecutor(6) as pool:
            calls = [pool.submit(runtime.gradient, "small", crops8, far=FAR, near=NEAR) for _ in range(18)]
            return [call.exception(60) for call in calls]  # type: ignore[misc]

    refusals = [error for error in ask(hasty) if error is not None]
    assert refusals
    assert all(isinstance(error, TritonUnavailable) for error in refusals)
    assert {error.metadata["cause"] for error in refusals} == {"UNAVAILABLE"}  # type: ignore[attr-defined]
    assert ask(patient) == [None] * 18


def _backend_process(server: TritonProcess, model: str) -> int:
    """The process in which a model of this server runs."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == server.process.pid and f"/{model}/1/".encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    assert len(found) == 1
    return found[0]
