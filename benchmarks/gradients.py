"""A gradient call by the compiled graph in ONNX Runtime, against torch's eager autograd on the same recognizer."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch.nn import functional

from benchmarks.timing import take_turns

BATCHES = (1, 8, 16)
_OPERATORS = Path(__file__).resolve().parents[1] / "tests" / "onnx_gradient" / "torch_graph.py"


def measure(model_repository: Path, *, runs: int) -> dict[str, Any]:
    """Every surrogate at N = 1, 8, 16; one thread, processor time, the two taking turns."""
    from facecloak.models.convert.external_weights import whole
    from facecloak.models.repository import ModelRepository
    from facecloak.models.verify import probe_crops
    from facecloak.recognizers import onnx_runtime

    torch.set_num_threads(1)
    runtime = onnx_runtime.OnnxRuntime(model_repository, threads=1)
    repository = ModelRepository(model_repository)
    names = [name for name in runtime.names() if runtime.spec(name).has_gradient]
    results = []
    for name in names:
        eager = EagerRecognizer(whole(repository.read_model(name), repository.read_weights(name)))
        rng = np.random.default_rng(0)
        far, near = rng.normal(size=(2, 1, runtime.spec(name).embedding_size)).astype(np.float32)
        for count in BATCHES:
            crops = probe_crops(count)
            session = runtime._session(runtime.spec(name), gradient=True)  # all rows in one run, also 16
            inputs = {"crops": crops, "far": far, "near": near}
            ours: Callable[[], Any] = partial(session.run, ["loss", "embedding", "gradient"], inputs)
            theirs = partial(eager.gradient, crops, far=far, near=near)
            reference, got = theirs(), ours()[2]
            timings = take_turns(
                {"torch eager": theirs, "compiled": ours}, runs=runs, clock_ns=time.process_time_ns, warm_up=2
            )
            results.append(
                {
                    "recognizer": name,
                    "batch": count,
                    "ratio": round(timings["compiled"].median_ms / timings["torch eager"].median_ms, 3),
                    "relative_difference": float(np.linalg.norm(got - reference) / np.linalg.norm(reference)),
                    "timings": {what: timing.as_json() for what, timing in timings.items()},
                }
            )
    runtime.close()
    return {"clock": "processor time", "threads": 1, "target_ratio": 0.9, "gradients": results}


class EagerRecognizer:
    """A recognizer's forward graph as torch functions, float32, its weights converted once."""

    def __init__(self, model: onnx.ModelProto) -> None:
        spec = importlib.util.spec_from_file_location("torch_graph", _OPERATORS)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        graph = model.graph
        self._weights: dict[str, Any] = {"": None}
        for initializer in graph.initializer:
            self._weights[initializer.name] = torch.from_numpy(numpy_helper.to_array(initializer).copy())
        self._nodes = []
        for node in graph.node:
            attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
            attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
            attributes |= {"_outputs": len(node.output), "_dtype": torch.float32}
            self._nodes.append((module.OPERATORS[node.op_type], attributes, list(node.input), list(node.output)))
        self._input, self._output = graph.input[0].name, graph.output[0].name

    def gradient(self, crops: np.ndarray, *, far: np.ndarray, near: np.ndarray) -> np.ndarray:
        """d (cos(e, near) - cos(e, far)) / d crops."""
        image = torch.from_numpy(crops).requires_grad_(True)
        values = {**self._weights, self._input: image}
        for operator, attributes, inputs, outputs in self._nodes:
            found = operator(attributes, *(values[name] for name in inputs))
            values.update(zip(outputs, found if isinstance(found, tuple | list) else [found], strict=False))
        away = functional.normalize(torch.from_numpy(near)) - functional.normalize(torch.from_numpy(far))
        loss = (functional.normalize(values[self._output]) * away).sum()
        (gradient,) = torch.autograd.grad(loss, image)
        return gradient.numpy()
