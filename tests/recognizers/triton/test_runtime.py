"""TritonRuntime against a real server that is well: the same answers as in process, bit for bit."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from facecloak.models.errors import RecognizerFailed, RecognizerUnknown
from facecloak.recognizers.errors import BatchInvalid
from facecloak.recognizers.onnx_runtime import OnnxRuntime
from facecloak.recognizers.triton import shared_memory
from facecloak.recognizers.triton.connection import TritonConnection
from facecloak.recognizers.triton.dev_server.process import TritonProcess
from facecloak.recognizers.triton.errors import InvalidTritonUrl
from facecloak.recognizers.triton.runtime import TritonRuntime

Connect = Callable[..., TritonRuntime]


def anchors(size: int, *, rows: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, size)).astype(np.float32)


@pytest.fixture(scope="module")
def in_process(model_repository: Path) -> OnnxRuntime:
    return OnnxRuntime(model_repository, names=["dlib_resnet", "mobileface"], threads=2)


@pytest.mark.parametrize("shared", [True, False], ids=["shared memory", "gRPC"])
@pytest.mark.parametrize("count", [1, 8, 19])
def test_answers_are_those_of_the_process_itself_bit_for_bit(
    triton_server: TritonProcess, connect: Connect, in_process: OnnxRuntime, count: int, shared: bool
) -> None:
    from facecloak.models.verify import probe_crops

    runtime = connect(triton_server.url, shared_memory=shared)
    crops = probe_crops(count)
    for name in runtime.names():
        assert runtime.spec(name) == in_process.spec(name)
        size = runtime.spec(name).embedding_size
        far, near = anchors(size, seed=1), anchors(size, rows=count, seed=2)
        np.testing.assert_array_equal(runtime.embed(name, crops), in_process.embed(name, crops))
        served = runtime.gradient(name, crops, far=far[0], near=near)
        expected = in_process.gradient(name, crops, far=far[0], near=near)
        np.testing.assert_array_equal(served.loss, expected.loss)
        np.testing.assert_array_equal(served.embedding, expected.embedding)
        np.testing.assert_array_equal(served.gradient, expected.gradient)
    assert runtime.shares_memory == shared


def test_batches_of_several_callers_differ_by_rounding_only(
    triton_server: TritonProcess, connect: Connect, in_process: OnnxRuntime, crops8: np.ndarray
) -> None:
    """Rows that share a batch with another caller's may take other kernels: that is why masks may differ under load."""
    runtime = connect(triton_server.url)
    size = runtime.spec("dlib_resnet").embedding_size
    far, near = anchors(size, seed=1), anchors(size, seed=2)
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(runtime.gradient, "dlib_resnet", crops8[i : i + 1], far=far, near=near) for i in range(8)]
        gradient = np.concatenate([call.result().gradient for call in calls])
    expected = in_process.gradient("dlib_resnet", crops8, far=far, near=near).gradient
    assert np.linalg.norm(gradient - expected) <= 1e-5 * np.linalg.norm(expected)


def test_nothing_is_left_in_dev_shm(triton_server: TritonProcess, connect: Connect, crops8: np.ndarray) -> None:
    runtime = connect(triton_server.url)
    runtime.embed("mobileface", crops8)
    assert runtime.shares_memory
    assert not [name for name in os.listdir(shared_memory.FOLDER) if name.startswith("facecloak-")]


def test_without_room_in_dev_shm_tensors_travel(
    triton_server: TritonProcess, connect: Connect, crops8: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shared_memory.os, "posix_fallocate", full)
    runtime = connect(triton_server.url)
    assert runtime.embed("mobileface", crops8).shape == (8, 256)
    assert not runtime.shares_memory
    assert not [name for name in os.listdir(shared_memory.FOLDER) if name.startswith("facecloak-")]


def test_a_server_that_cannot_open_the_memory_gets_tensors_by_grpc(
    triton_server: TritonProcess, connect: Connect, crops8: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another folder is to the server what another container's /dev/shm is.
    monkeypatch.setattr(shared_memory, "FOLDER", str(tmp_path))
    runtime = connect(triton_server.url)
    assert runtime.embed("mobileface", crops8).shape == (8, 256)
    assert not runtime.shares_memory
    assert list(tmp_path.iterdir()) == []


def test_regions_take_turns(triton_server: TritonProcess, connect: Connect, crops8: np.ndarray) -> None:
    from tritonclient.grpc import InferenceServerClient

    def regions() -> set[str]:
        with InferenceServerClient(triton_server.url) as client:
            return set(client.get_system_shared_memory_status().regions)

    before = regions()
    runtime = connect(triton_server.url)
    for _ in range(5):
        runtime.embed("mobileface", crops8)
        runtime.embed("dlib_resnet", crops8)
    assert len(regions() - before) == 1
    runtime.close()
    assert regions() <= before


def test_many_threads_share_it(
    triton_server: TritonProcess, connect: Connect, in_process: OnnxRuntime, crops8: np.ndarray
) -> None:
    runtime = connect(triton_server.url)
    expected = in_process.embed("mobileface", crops8)
    barrier = threading.Barrier(12)

    def ask() -> np.ndarray:
        barrier.wait(10)
        return runtime.embed("mobileface", crops8)

    with ThreadPoolExecutor(12) as pool:
        for answer in [pool.submit(ask) for _ in range(12)]:
            np.testing.assert_array_equal(answer.result(), expected)


def test_bad_input_is_refused_before_it_travels(triton_server: TritonProcess, connect: Connect) -> None:
    runtime = connect(triton_server.url)
    with pytest.raises(BatchInvalid):
        runtime.embed("mobileface", np.zeros((1, 3, 112, 111), np.float32))
    crops = np.zeros((1, 3, 112, 112), np.float32)
    with pytest.raises(BatchInvalid, match="near"):
        runtime.gradient("mobileface", crops, far=np.zeros(256), near=np.zeros(255))
    with pytest.raises(RecognizerUnknown, match="nobody"):
        runtime.embed("nobody", crops)
    empty = np.zeros((0, 3, 112, 112), np.float32)
    assert runtime.embed("mobileface", empty).shape == (0, 256)
    assert runtime.gradient("mobileface", empty, far=np.zeros(256), near=np.zeros(256)).gradient.shape == empty.shape


def test_a_closed_runtime_says_so(triton_server: TritonProcess, connect: Connect, crops8: np.ndarray) -> None:
    runtime = connect(triton_server.url)
    runtime.probe("mobileface", gradient=True)
    runtime.close()
    with pytest.raises(RecognizerFailed, match="closed"):
        runtime.embed("mobileface", crops8)


@pytest.mark.parametrize(
    ("url", "target", "tls"),
    [
        ("triton:8001", "triton:8001", False),
        ("grpc://10.0.0.7:8001/", "10.0.0.7:8001", False),
        ("grpcs://triton.example.org:443", "triton.example.org:443", True),
        ("grpc://[::1]:8001", "[::1]:8001", False),
    ],
)
def test_addresses(url: str, target: str, tls: bool) -> None:
    connection = TritonConnection(url)
    assert (connection.target, connection.tls) == (target, tls)


@pytest.mark.parametrize(
    "url", ["triton", "http://triton:8000", "grpc://:8001", "a:b", "grpc://u:p@h:1", "h:1/path", "h:99999", "h h:1"]
)
def test_bad_addresses_are_refused(url: str) -> None:
    with pytest.raises(InvalidTritonUrl):
        _ = TritonConnection(url).target
