"""Asking what an enrollment would be told, without one."""

from __future__ import annotations

import asyncio
import time

import grpc
import grpc.aio

from facecloak.v1 import enroll_pb2
from facecloak_client.attempts import Attempts
from facecloak_client.enrollment import Open, OpenAsyncio
from facecloak_client.errors import CallFailed, Defect
from facecloak_client.failures import failure_of_call


def validation(begin: Open, attempts: Attempts, *, request_id: str) -> enroll_pb2.EnrollmentValidation:
    """The one message of the call that ``begin`` makes. Raises CallFailed."""
    while True:
        call = begin(attempts.left_s)
        try:
            return _told(next(iter(call), None), request_id=request_id)
        except grpc.RpcError as error:
            failure = failure_of_call(error, request_id=request_id)
            pause = attempts.pause_after(failure)
            if pause is None:
                raise failure from error
        finally:
            call.cancel()  # a service that enrolls instead; nothing where the call has ended
        time.sleep(pause)


async def validation_asyncio(
    begin: OpenAsyncio, attempts: Attempts, *, request_id: str
) -> enroll_pb2.EnrollmentValidation:
    """The same for asyncio."""
    while True:
        call = begin(attempts.left_s)
        try:
            return _told(await anext(aiter(call), None), request_id=request_id)
        except grpc.RpcError as error:
            failure = failure_of_call(error, request_id=request_id)
            pause = attempts.pause_after(failure)
            if pause is None:
                raise failure from error
        finally:
            call.cancel()
        await asyncio.sleep(pause)


def _told(message: enroll_pb2.EnrollUserResponse | None, *, request_id: str) -> enroll_pb2.EnrollmentValidation:
    if message is not None and message.WhichOneof("event") == "validation":
        return message.validation
    text = "the service does not know how to validate: the enrollment that it began was cancelled"
    raise _unknown(text, request_id=request_id)


def _unknown(text: str, *, request_id: str) -> CallFailed:
    return Defect(text, code=grpc.StatusCode.UNIMPLEMENTED, reason="NO_VALIDATION", request_id=request_id)
