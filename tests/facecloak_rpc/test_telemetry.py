"""What is measured around stores and recognizers, read back as Prometheus reads it."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from facecloak.errors import InvalidInput
from facecloak.masks.mask import Mask
from facecloak.models.errors import RecognizerUnknown
from facecloak.recognizers.onnx_runtime import OnnxRuntime
from facecloak.stores import LocalMaskStore, MaskNotFound, Sealer
from facecloak_rpc.telemetry import ObservedRuntime, ObservedStore, Telemetry
from tests.users import ALICE


def count(registry: CollectorRegistry, name: str, **labels: str) -> float:
    return registry.get_sample_value(f"{name}_count", labels) or 0.0


def test_store_calls_are_timed_by_outcome(tmp_path: object) -> None:
    telemetry = Telemetry()
    store = ObservedStore(LocalMaskStore(tmp_path, Sealer(bytes(32))), telemetry)  # type: ignore[arg-type]
    mask = Mask.new(np.zeros((112, 112, 3), np.int8), seed=0)
    store.put(ALICE, mask)
    assert store.get(ALICE).mask_id == mask.mask_id
    assert store.version(ALICE) is not None
    assert store.delete(ALICE)
    store.probe()
    store.probe_reading()
    with pytest.raises(MaskNotFound):
        store.get(ALICE)
    seen = {
        (operation, outcome): count(telemetry.registry, "facecloak_store_seconds", operation=operation, outcome=outcome)
        for operation in ("put", "get", "version", "delete", "probe")
        for outcome in ("OK", "MASK_NOT_FOUND")
    }
    assert {key: number for key, number in seen.items() if number} == {
        ("put", "OK"): 1, ("get", "OK"): 1, ("get", "MASK_NOT_FOUND"): 1, ("version", "OK"): 1, ("delete", "OK"): 1,
        ("probe", "OK"): 2,
    }  # fmt: skip


def test_recognizer_calls_are_timed_by_model(model_repository: object) -> None:
    telemetry = Telemetry()
    runtime = ObservedRuntime(
        OnnxRuntime(model_repository, names=["mobileface"], threads=1),
        telemetry,
        name="onnxruntime",  # type: ignore[arg-type]
    )
    crops = np.full((1, 3, 112, 112), 127, np.float32)
    nothing = np.zeros((1, runtime.spec("mobileface").embedding_size), np.float32)
    assert runtime.names() == ("mobileface",)
    assert runtime.embed("mobileface", crops).shape == (1, nothing.shape[1])
    runtime.gradient("mobileface", crops, far=nothing, near=nothing)
    with pytest.raises(RecognizerUnknown):
        runtime.embed("nobody", crops)
    runtime.close()
    name = "facecloak_recognizer_seconds"
    known = {"recognizer": "mobileface", "runtime": "onnxruntime", "outcome": "OK"}
    assert count(telemetry.registry, name, call="embed", **known) == 1
    assert count(telemetry.registry, name, call="gradient", **known) == 1
    unknown = {"recognizer": "nobody", "runtime": "onnxruntime", "outcome": "RECOGNIZER_UNKNOWN", "call": "embed"}
    assert count(telemetry.registry, name, **unknown) == 1


def test_a_stage_that_fails_is_timed_too() -> None:
    telemetry = Telemetry()

    def fail() -> None:
        with telemetry.stage("decode"):
            raise InvalidInput("no photo")

    with pytest.raises(InvalidInput):
        fail()
    assert count(telemetry.registry, "facecloak_stage_seconds", stage="decode") == 1
