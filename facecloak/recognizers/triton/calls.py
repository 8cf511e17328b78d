"""Calls to a Triton server: deadlines, retries, a circuit for each model, and errors that name model and cause."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import structlog

from facecloak.call_context import cancellation, outgoing_headers
from facecloak.errors import FaceCloakError
from facecloak.models.errors import RecognizerFailed
from facecloak.recognizers.errors import InferenceCancelled
from facecloak.recognizers.triton.connection import TritonConnection
from facecloak.recognizers.triton.errors import ServedModelDiffers, TritonUnavailable
from facecloak.recognizers.triton.retry import TryAgain, retried
from facecloak.recognizers.triton.shared_memory import Region, SharedMemory

if TYPE_CHECKING:
    from circuitbreaker import CircuitBreaker
    from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
    from tritonclient.grpc.model_config_pb2 import ModelConfig
    from tritonclient.utils import InferenceServerException

T = TypeVar("T")
_CONFIG_SECONDS = 5.0
_RECONNECT_MILLISECONDS = 500
_log = structlog.get_logger("facecloak.triton")

# What a status means, in words for a caller; Triton's own text goes to the log.
_CAUSES = {
    "UNAVAILABLE": "the server cannot be reached, or its queue is full",
    "NOT_FOUND": "the server does not serve this model, or is about to stop",
    "DEADLINE_EXCEEDED": "no answer came in time",
    "INTERNAL": "the server's backend failed",
    "CANCELLED": "the connection was closed",
}


class TritonCalls:
    """One connection, used by any number of threads.

    Raises:
        InvalidTritonUrl: the address cannot be used.
        ModuleNotFoundError: the extra ``triton`` is not installed.
    """

    def __init__(self, connection: TritonConnection) -> None:
        self._connection = connection
        self._client = _open_client(connection)
        self._memory = SharedMemory(self._client, enabled=connection.shared_memory)
        self._circuits: dict[str, CircuitBreaker] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()

    @property
    def shares_memory(self) -> bool:
        """Whether tensors pass by shared memory, as far as is known."""
        return self._memory.enabled

    def config(self, model: str) -> ModelConfig:
        """The served model's configuration. Raises as :meth:`infer` does; call it within :meth:`trying`."""
        return self._asking(model, lambda: self._client.get_model_config(model, client_timeout=_CONFIG_SECONDS).config)

    def infer(
        self, model: str, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, tuple[int, ...]]
    ) -> dict[str, np.ndarray]:
        """Run a model once; call it within :meth:`trying`.

        Args:
            inputs: float32 and contiguous.
            outputs: what to bring, with the shapes that it must have.

        Raises:
            TritonUnavailable: the server or the model does not answer.
            ServedModelDiffers: the model does not take these inputs or give these outputs.
        """
        return self._asking(model, lambda: self._infer(model, inputs, outputs))

    @contextlib.contextmanager
    def circuit(self, model: str) -> Iterator[None]:
        """Counts a block that calls one model as one success or failure of that model.

        Raises:
            TritonUnavailable: at once, without a call, while the model counts as dead.
        """
        circuit = self._circuit(model)
        if circuit.opened:
            raise self._unavailable(model, "it failed a moment ago", cause="CIRCUIT_OPEN")
        with contextlib.ExitStack() as counted:
            counted.push(circuit)
            try:
                yield
            except InferenceCancelled:
                counted.pop_all()
                raise

    def trying(self, model: str, work: Callable[[], T], *, retry: bool) -> T:
        """Do ``work``, made of calls of one model; if ``retry``, again while what it fails by may pass by itself.

        Raises:
            InferenceCancelled: the call was cancelled (:data:`facecloak.call_context.cancellation`).
        """
        try:
            if not retry:
                return work()
            return retried(work, seconds=self._connection.retry_seconds, closing=self._closing)
        except TryAgain as error:
            if retry and cancellation.get()():
                raise InferenceCancelled(f"nobody waits for the recognizer {model!r} any more", model=model) from error
            raise self._failure(model, error.__cause__) from error.__cause__

    def close(self) -> None:
        """Ends waiting, then the connection."""
        self._closing.set()
        self._memory.close()
        self._client.close()

    def _circuit(self, model: str) -> CircuitBreaker:
        from circuitbreaker import CircuitBreaker

        with self._lock:
            if model not in self._circuits:
                self._circuits[model] = CircuitBreaker(
                    failure_threshold=self._connection.circuit_failures,
                    recovery_timeout=self._connection.circuit_seconds,
                    expected_exception=(TritonUnavailable, ServedModelDiffers),
                    name=model,
                )
            return self._circuits[model]

    def _asking(self, model: str, ask: Callable[[], T]) -> T:
        """One exchange; what the server answers becomes ours."""
        from tritonclient.utils import InferenceServerException

        if self._closing.is_set():
            raise RecognizerFailed("the recognizer runtime is closed")
        try:
            return ask()
        except InferenceServerException as error:
            if _status(error) in ("UNAVAILABLE", "NOT_FOUND"):
                raise TryAgain from error
            raise self._failure(model, error) from error
        except ValueError as error:  # grpc's answer to a call on a channel that was closed meanwhile
            raise RecognizerFailed("the recognizer runtime is closed") from error

    def _infer(
        self, model: str, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, tuple[int, ...]]
    ) -> dict[str, np.ndarray]:
        from tritonclient.utils import InferenceServerException

        shapes = {name: value.shape for name, value in inputs.items()} | dict(outputs)
        region = self._memory.borrow(shapes)
        if region is None:
            return self._infer_by_grpc(model, inputs, outputs)
        reusable = False
        try:
            answer = self._infer_by_memory(model, inputs, outputs, region)
            reusable = True
        except InferenceServerException as error:
            reusable = _is_done_with_region(error)
            raise
        finally:
            self._memory.give_back(region, reusable=reusable)
        return answer

    def _infer_by_memory(
        self, model: str, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, tuple[int, ...]], region: Region
    ) -> dict[str, np.ndarray]:
        from tritonclient.grpc import InferInput, InferRequestedOutput

        given, wanted = [], []
        for name, value in inputs.items():
            np.copyto(region.view(name), value)
            given.append(InferInput(name, list(value.shape), "FP32"))
            given[-1].set_shared_memory(*region.place(name))
        for name in outputs:
            wanted.append(InferRequestedOutput(name))
            wanted[-1].set_shared_memory(*region.place(name))
        result = self._send(model, given, wanted)
        self._check(model, {output.name: tuple(output.shape) for output in result.get_response().outputs}, outputs)
        return {name: region.view(name).copy() for name in outputs}

    def _infer_by_grpc(
        self, model: str, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, tuple[int, ...]]
    ) -> dict[str, np.ndarray]:
        from tritonclient.grpc import InferInput, InferRequestedOutput

        given = []
        for name, value in inputs.items():
            given.append(InferInput(name, list(value.shape), "FP32"))
            given[-1].set_data_from_numpy(value)
        wanted = [InferRequestedOutput(name) for name in outputs]
        result = self._send(model, given, wanted)
        response = result.get_response()
        self._check(model, {output.name: tuple(output.shape) for output in response.outputs}, outputs)
        return {name: result.as_numpy(name) for name in outputs}

    def _send(self, model: str, inputs: list[InferInput], outputs: list[InferRequestedOutput]) -> InferResult:
        return self._client.infer(
            model,
            inputs,
            outputs=outputs,
            headers=dict(outgoing_headers.get()),
            client_timeout=self._connection.call_seconds,
        )

    def _check(self, model: str, found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> None:
        if dict(found) != dict(wanted):
            raise ServedModelDiffers(f"Triton's {model!r} answers in other shapes than it should", model=model)

    def _failure(self, model: str, error: BaseException | None) -> FaceCloakError:
        from tritonclient.utils import InferenceServerException

        assert isinstance(error, InferenceServerException)
        status = _status(error)
        _log.warning("a call to Triton failed", model=model, status=status, message=_first_line(error))
        if status == "INVALID_ARGUMENT":
            return ServedModelDiffers(
                f"Triton's {model!r} does not take what this recognizer takes: run `facecloak models build` for it",
                model=model,
            )
        return self._unavailable(model, _CAUSES.get(status, "the server refused the call"), cause=status)

    def _unavailable(self, model: str, why: str, *, cause: str) -> TritonUnavailable:
        return TritonUnavailable(
            f"the recognizer {model!r} does not answer on Triton: {why}",
            model=model,
            cause=cause,
            retry_after_seconds=f"{self._connection.circuit_seconds:.1f}",
        )


def _open_client(connection: TritonConnection) -> Any:
    from tritonclient.grpc import InferenceServerClient

    # A batch of 64 takes 10 MB each way; gRPC's own limit is 4.
    options = [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", 256 << 20),
        ("grpc.max_reconnect_backoff_ms", _RECONNECT_MILLISECONDS),
        ("grpc.initial_reconnect_backoff_ms", 100),
        # A host that vanished without a word is noticed in half a minute.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
    ]
    roots = connection.root_certificates
    return InferenceServerClient(
        connection.target,
        ssl=connection.tls,
        root_certificates=str(roots) if roots is not None else None,
        channel_args=options,
    )


def _status(error: InferenceServerException) -> str:
    return str(error.status() or "").removeprefix("StatusCode.")


def _is_done_with_region(error: InferenceServerException) -> bool:
    """Only an answer proves that the server will not write any more; one that was started anew knows no region."""
    message = str(error.message()).lower()
    if _status(error) == "UNAVAILABLE":
        return "queue size" in message
    return _status(error) in ("INTERNAL", "INVALID_ARGUMENT", "NOT_FOUND") and "find shared memory" not in message


def _first_line(error: InferenceServerException) -> str:
    return str(error.message()).partition("\n")[0][:300]
