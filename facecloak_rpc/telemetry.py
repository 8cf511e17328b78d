"""What a service measures about its own work: one object, handed to whatever does the work.

:class:`ObservedStore` and :class:`ObservedRuntime` measure a mask store and a recognizer runtime of any kind from
outside.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import structlog
from cachetools import TTLCache
from prometheus_client import CollectorRegistry, Histogram

from facecloak.call_context import outgoing_headers
from facecloak.errors import FaceCloakError
from facecloak.masks.bank import StoredMask
from facecloak.models.spec import RecognizerSpec
from facecloak.recognizers.runtime import GradientResult, RecognizerRuntime
from facecloak.stores import DeletionReceipt, MaskPage, MaskStore
from facecloak.users import User
from facecloak_rpc.errors import reason_of
from facecloak_rpc.metrics import CALL_SECONDS_BUCKETS
from facecloak_rpc.settings import RpcSettings
from facecloak_rpc.tracing import Tracer, TracingUnavailable

# A mask from a store beside us takes a millisecond, a gradient of eight crops on a CPU a second.
_PART_SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

_log = structlog.get_logger("facecloak.store")

Result = TypeVar("Result")


class Telemetry:
    """Times steps, store calls and recognizer calls, as metrics and as spans. Thread safe."""

    def __init__(self, registry: CollectorRegistry | None = None, tracer: Tracer | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.tracer = tracer or Tracer()
        self._store_faults = FaultLog()
        self._stage_seconds = Histogram(
            "facecloak_stage_seconds", "Time of one step of the work on a photo or an enrollment.", ["stage"],
            buckets=CALL_SECONDS_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._store_seconds = Histogram(
            "facecloak_store_seconds", "Time of one call of the mask store, by how it ended.", ["operation", "outcome"],
            buckets=_PART_SECONDS_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._recognizer_seconds = Histogram(
            "facecloak_recognizer_seconds", "Time of one recognizer call: a Triton request, or a run in process.",
            ["recognizer", "call", "runtime", "outcome"], buckets=_PART_SECONDS_BUCKETS, registry=self.registry,
        )  # fmt: skip

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A :data:`facecloak.call_context.StepObserver`: one step of the work on a photo or an enrollment."""
        started = time.perf_counter()
        try:
            with self.tracer.step(name):
                yield
        finally:
            self._stage_seconds.labels(name).observe(time.perf_counter() - started)

    def store_call(self, operation: str, call: Callable[[], Result]) -> Result:
        """Makes one call of the mask store."""
        started, outcome = time.perf_counter(), "OK"
        try:
            with self.tracer.step(f"store {operation}"):
                return call()
        except Exception as error:
            outcome = reason_of(error)
            self._store_faults.note(error, operation=operation)
            raise
        finally:
            self._store_seconds.labels(operation, outcome).observe(time.perf_counter() - started)

    def recognizer_call(self, recognizer: str, call: str, runtime: str, run: Callable[[], Result]) -> Result:
        """Runs a recognizer once. ``call`` is embed or gradient, ``runtime`` where it runs."""
        started, outcome = time.perf_counter(), "OK"
        try:
            with self.tracer.step(f"{runtime} {call}", recognizer=recognizer):
                before = outgoing_headers.set(self.tracer.headers())
                try:
                    return run()
                finally:
                    outgoing_headers.reset(before)
        except Exception as error:
            outcome = reason_of(error)
            raise
        finally:
            self._recognizer_seconds.labels(recognizer, call, runtime, outcome).observe(time.perf_counter() - started)


class FaultLog:
    """Logs what a store failed with, and what to do about it: each fault at once, then once a minute. Thread safe."""

    def __init__(self, *, every_seconds: float = 60.0) -> None:
        self._logged: TTLCache[tuple[str, str], int] = TTLCache(256, every_seconds)
        self._lock = threading.Lock()

    def note(self, error: BaseException, *, operation: str) -> None:
        """Logs ``error`` where an operator can act on it."""
        if not isinstance(error, FaceCloakError) or not error.advice:
            return
        fault = error.metadata.get("fault", "")
        with self._lock:
            known = (error.reason, fault) in self._logged
            if not known:
                self._logged[error.reason, fault] = 1
        if not known:
            _log.warning("store fails", operation=operation, reason=error.reason, fault=fault, advice=error.advice)


class ObservedStore:
    """A :class:`facecloak.stores.MaskStore` whose calls are measured."""

    def __init__(self, store: MaskStore, telemetry: Telemetry) -> None:
        self._store = store
        self._call = telemetry.store_call

    def epoch(self, user: User) -> int:
        return self._call("epoch", lambda: self._store.epoch(user))

    def put(self, user: User, mask: StoredMask, *, epoch: int | None = None) -> None:
        self._call("put", lambda: self._store.put(user, mask, epoch=epoch))

    def erase(self, user: User) -> DeletionReceipt:
        return self._call("delete", lambda: self._store.erase(user))

    def deleted_receipt(self, user: User) -> Mapping[str, str]:
        return self._call("epoch", lambda: self._store.deleted_receipt(user))

    def get(self, user: User) -> StoredMask:
        return self._call("get", lambda: self._store.get(user))

    def delete(self, user: User) -> bool:
        return self._call("delete", lambda: self._store.delete(user))

    def version(self, user: User) -> str | None:
        return self._call("version", lambda: self._store.version(user))

    def user_key(self, user: User) -> bytes:
        return self._store.user_key(user)

    def list_masks(self, tenant: str, *, limit: int, token: str = "") -> MaskPage:
        return self._call("list", lambda: self._store.list_masks(tenant, limit=limit, token=token))

    def probe(self) -> None:
        self._call("probe", self._store.probe)

    def probe_reading(self) -> None:
        self._call("probe", self._store.probe_reading)

    def prove_writing(self) -> None:
        self._call("probe", self._store.prove_writing)


class ObservedRuntime:
    """A :class:`facecloak.recognizers.runtime.RecognizerRuntime` whose calls are measured."""

    def __init__(self, runtime: RecognizerRuntime, telemetry: Telemetry, *, name: str) -> None:
        """``name`` says where the recognizers run: onnxruntime or triton."""
        self._runtime = runtime
        self._call = telemetry.recognizer_call
        self._name = name

    def names(self) -> tuple[str, ...]:
        return self._runtime.names()

    def spec(self, name: str) -> RecognizerSpec:
        return self._runtime.spec(name)

    def embed(self, name: str, crops: np.ndarray) -> np.ndarray:
        return self._call(name, "embed", self._name, lambda: self._runtime.embed(name, crops))

    def gradient(self, name: str, crops: np.ndarray, *, far: np.ndarray, near: np.ndarray) -> GradientResult:
        return self._call(name, "gradient", self._name, lambda: self._runtime.gradient(name, crops, far=far, near=near))

    def probe(self, name: str, *, gradient: bool) -> None:
        self._call(name, "probe", self._name, lambda: self._runtime.probe(name, gradient=gradient))

    def close(self) -> None:
        self._runtime.close()


def open_tracer(settings: RpcSettings, *, service: str) -> Tracer:
    """The tracer that the settings ask for.

    Raises:
        TracingUnavailable: says how to install what is missing.
    """
    if not settings.trace_endpoint:
        return Tracer()
    try:
        from facecloak_rpc.otel import OtelTracer
    except ModuleNotFoundError as error:
        raise TracingUnavailable(f"trace_endpoint needs {error.name}: pip install 'facecloak[otel]'") from error
    return OtelTracer.to_collector(settings.trace_endpoint, service=service, share=settings.trace_share)
