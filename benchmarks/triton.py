"""What a real Triton on the same machine costs and gives: calls against in process, and enrollments side by side."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pictures import astronaut, jpeg
from benchmarks.timing import take_turns

CONCURRENCY = (1, 2, 4, 8)
# Small enrollments, so that 16 of them are measured in minutes: half a batch each, which leaves room for another's.
STAGES: dict[str, Any] = {
    "surrogates": ("dlib_resnet", "mobileface"),
    "recipe": {"synthesis": {"variations": 8}, "perturb": {"iterations": 20, "batch": 4}},
}


def measure(model_repository: Path, *, runs: int) -> dict[str, Any]:
    """Gradient calls of 8 crops in process, by shared memory and by gRPC; then enrollments at once."""
    load = os.getloadavg()[0]
    with _server(model_repository) as url:
        calls = _calls(model_repository, url, runs=runs)
        enrollments = _enrollments(model_repository, url)
    return {
        "load_average_before": round(load, 1),
        "threads": 1,
        "calls": calls,
        "enrollments": {"stages": STAGES, "runs": enrollments},
    }


def _calls(model_repository: Path, url: str, *, runs: int) -> list[dict[str, Any]]:
    from facecloak.models.verify import probe_crops
    from facecloak.recognizers.onnx_runtime import OnnxRuntime
    from facecloak.recognizers.triton.connection import TritonConnection
    from facecloak.recognizers.triton.runtime import TritonRuntime

    crops, results = probe_crops(8), []
    with ExitStack() as opened:
        runtimes = {
            "in process": OnnxRuntime(model_repository, threads=1),
            "Triton, shared memory": TritonRuntime(model_repository, connection=TritonConnection(url)),
            "Triton, gRPC": TritonRuntime(model_repository, connection=TritonConnection(url, shared_memory=False)),
        }
        for runtime in runtimes.values():
            opened.callback(runtime.close)
        for name in runtimes["in process"].names():
            spec = runtimes["in process"].spec(name)
            if not spec.has_gradient:
                continue
            far, near = np.random.default_rng(0).normal(size=(2, 1, spec.embedding_size)).astype(np.float32)
            ask = {
                what: partial(runtime.gradient, name, crops, far=far, near=near) for what, runtime in runtimes.items()
            }
            timings = take_turns(ask, runs=runs, warm_up=2)
            # The lower quartile: what else the machine does can only add time.
            least = {what: timing.lower_quartile_ms for what, timing in timings.items()}
            results.append(
                {
                    "recognizer": name,
                    "batch": len(crops),
                    "ratio_shared_memory": round(least["Triton, shared memory"] / least["in process"], 3),
                    "ratio_grpc": round(least["Triton, gRPC"] / least["in process"], 3),
                    "timings": {what: timing.as_json() for what, timing in timings.items()},
                }
            )
    return results


def _enrollments(model_repository: Path, url: str) -> list[dict[str, Any]]:
    from enroll_service.pipeline import PipelineSettings
    from enroll_service.pipeline.enroller import Enroller
    from enroll_service.pipeline.intake.photo import EnrollmentPhoto
    from facecloak.faces import FaceFinder
    from facecloak.recognizers.triton.connection import TritonConnection
    from facecloak.recognizers.triton.runtime import TritonRuntime

    settings = PipelineSettings.model_validate(STAGES)
    runtime = TritonRuntime(model_repository, connection=TritonConnection(url), names=settings.surrogates)
    enroller = Enroller(runtime=runtime, finder=FaceFinder.load(model_repository), settings=settings)
    photo = EnrollmentPhoto(jpeg(astronaut(), quality=95))

    def enroll() -> None:
        enroller.run([photo], progress=lambda progress: None, cancelled=lambda: False)

    enroll()
    results, alone = [], 0.0
    for count in CONCURRENCY:
        before = _executions(url, "dlib_resnet_grad")
        began = time.perf_counter()
        threads = [threading.Thread(target=enroll) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - began
        alone = alone or seconds
        after = _executions(url, "dlib_resnet_grad")
        sizes = {size: number - before.get(size, 0) for size, number in after.items()}
        results.append(
            {
                "at_once": count,
                "seconds": round(seconds, 2),
                "over_one_after_the_other": round(seconds / (count * alone), 3),
                "executions_by_batch_size": {str(size): number for size, number in sorted(sizes.items()) if number},
            }
        )
    runtime.close()
    return results


def _executions(url: str, model: str) -> dict[int, int]:
    from tritonclient.grpc import InferenceServerClient

    with InferenceServerClient(url) as client:
        (found,) = client.get_inference_statistics(model, client_timeout=10).model_stats
    return {batch.batch_size: batch.compute_infer.count for batch in found.batch_stats}


@contextmanager
def _server(model_repository: Path) -> Iterator[str]:
    from facecloak.models.repository import ModelRepository
    from facecloak.recognizers.triton.dev_server.install import install
    from facecloak.recognizers.triton.dev_server.process import running_server
    from facecloak.recognizers.triton.profiles import CPU
    from facecloak.recognizers.triton.write_repository import build_repository

    with tempfile.TemporaryDirectory() as folder:
        built = build_repository(ModelRepository(model_repository), profile=CPU, output=Path(folder) / "served")
        with running_server(install(), built, log=Path(folder) / "triton.log") as server:
            yield server.url
