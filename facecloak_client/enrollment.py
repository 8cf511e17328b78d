"""Enrollments that run: iterate one for its progress, and ask for its result."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol

import grpc
import grpc.aio

from facecloak.v1 import enroll_pb2
from facecloak_client.attempts import Attempts
from facecloak_client.errors import CallFailed, Cancelled, Defect
from facecloak_client.failures import failure_of_call


class _Events(Protocol):
    """A call of EnrollUser."""

    def __iter__(self) -> Iterator[enroll_pb2.EnrollUserResponse]: ...

    def cancel(self) -> bool: ...


Open = Callable[[float], _Events]
"""Begins the call anew, with the seconds that it may take."""

OpenAsyncio = Callable[[float], "grpc.aio.UnaryStreamCall[enroll_pb2.EnrollUserRequest, enroll_pb2.EnrollUserResponse]"]


class Enrollment:
    """An enrollment that runs. Iterate it for progress; :meth:`result` waits for the mask.

    A connection that is lost, and a service that is away or busy, is tried again with the same request id: the service
    makes one mask, however often it is asked. Iterate and ask in one thread; :meth:`cancel` may come from any.
    """

    def __init__(self, open_call: Open, attempts: Attempts, *, request_id: str) -> None:
        """Begins the call."""
        self.request_id = request_id
        self._open = open_call
        self._attempts = attempts
        self._stopped = threading.Event()
        self._result: enroll_pb2.Enrollment | None = None
        self._fraction = 0.0
        self._call = open_call(attempts.left_s)
        self._events = self._run()

    def __iter__(self) -> Iterator[enroll_pb2.EnrollProgress]:
        """Progress, its fraction never falling, until the mask is stored. Raises CallFailed."""
        return self._events

    def result(self) -> enroll_pb2.Enrollment:
        """What is known of the stored mask; waits for it. Raises CallFailed."""
        for _ in self._events:
            pass
        if self._result is None:
            raise Cancelled("the enrollment was given up", code=grpc.StatusCode.CANCELLED, reason="CANCELLED")
        return self._result

    def cancel(self) -> None:
        """Gives the enrollment up: the service stops working on it, unless another call follows it."""
        self._stopped.set()
        self._call.cancel()

    def _run(self) -> Iterator[enroll_pb2.EnrollProgress]:
        try:
            while self._result is None:
                try:
                    yield from self._follow()
                except CallFailed as failure:
                    pause = self._attempts.pause_after(failure)
                    if pause is None or self._stopped.wait(pause):
                        raise
                    self._call = self._open(self._attempts.left_s)
                    if self._stopped.is_set():
                        self._call.cancel()
        finally:
            self._call.cancel()  # nothing where it has ended

    def _follow(self) -> Iterator[enroll_pb2.EnrollProgress]:
        try:
            for message in self._call:
                event = message.WhichOneof("event")
                if event == "result":
                    self._result = message.result
                elif event == "progress":
                    self._fraction = max(self._fraction, message.progress.fraction)
                    message.progress.fraction = self._fraction
                    yield message.progress
        except grpc.RpcError as error:
            raise failure_of_call(error, request_id=self.request_id) from error
        if self._result is None:
            raise no_result(self.request_id)


class AsyncEnrollment:
    """The same for asyncio: ``async for`` progress, then ``await result()``. Begins when either is first asked for."""

    def __init__(self, open_call: OpenAsyncio, attempts: Attempts, *, request_id: str) -> None:
        self.request_id = request_id
        self._open = open_call
        self._attempts = attempts
        self._result: enroll_pb2.Enrollment | None = None
        self._fraction = 0.0
        self._events = self._run()

    def __aiter__(self) -> AsyncIterator[enroll_pb2.EnrollProgress]:
        """Progress, its fraction never falling, until the mask is stored. Raises CallFailed."""
        return self._events

    async def result(self) -> enroll_pb2.Enrollment:
        """What is known of the stored mask; waits for it. Raises CallFailed."""
        async for _ in self._events:
            pass
        if self._result is None:
            raise Cancelled("the enrollment was given up", code=grpc.StatusCode.CANCELLED, reason="CANCELLED")
        return self._result

    async def _run(self) -> AsyncIterator[enroll_pb2.EnrollProgress]:
        while self._result is None:
            call = self._open(self._attempts.left_s)
            try:
                async for message in call:
                    event = message.WhichOneof("event")
                    if event == "result":
                        self._result = message.result
                    elif event == "progress":
                        self._fraction = max(self._fraction, message.progress.fraction)
                        message.progress.fraction = self._fraction
                        yield message.progress
                if self._result is None:
                    raise no_result(self.request_id)
            except grpc.RpcError as error:
                failure = failure_of_call(error, request_id=self.request_id)
                pause = self._attempts.pause_after(failure)
                if pause is None:
                    raise failure from error
                await asyncio.sleep(pause)
            finally:
                call.cancel()  # nothing where it has ended


def no_result(request_id: str) -> CallFailed:
    """What a stream fails with that ends well and says nothing."""
    message = "the service sent no result"
    return Defect(message, code=grpc.StatusCode.INTERNAL, reason="NO_RESULT", request_id=request_id)
