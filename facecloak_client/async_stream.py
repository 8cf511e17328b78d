"""ApplyCloakStream for asyncio. See stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import suppress

import grpc
import grpc.aio

from facecloak.v1 import apply_pb2
from facecloak_client.attempts import pause_s
from facecloak_client.failures import failure_of_call
from facecloak_client.feed import Feed, Key, StreamAnswer, cut_short
from facecloak_client.service_config import Retries

Call = grpc.aio.StreamStreamCall[apply_pb2.ApplyCloakStreamRequest, apply_pb2.ApplyCloakStreamResponse]
Photos = AsyncIterable[tuple[Key, apply_pb2.ApplyCloakRequest]] | Iterable[tuple[Key, apply_pb2.ApplyCloakRequest]]


async def cloak_each(
    photos: Photos[Key], open_stream: Callable[[], Call], *, in_flight: int, retries: Retries
) -> AsyncIterator[StreamAnswer[Key]]:
    """See AsyncFaceCloakClient.apply_stream."""
    feed: Feed[Key] = Feed(in_flight=in_flight, retries=retries)
    changed = asyncio.Condition()
    asking = asyncio.create_task(_ask(photos, feed, changed))
    attempt = 1
    try:
        while not feed.is_done:
            feed.start_over()
            call = open_stream()
            sending = asyncio.create_task(_send(call, feed, changed))
            try:
                async for message in call:
                    attempt = 1  # it works again
                    async with changed:
                        answer = feed.answered(message)
                        changed.notify_all()
                    if answer is not None:
                        yield answer
                if feed.failure is not None:
                    raise feed.failure
                if not feed.is_done:
                    raise cut_short()
            except grpc.RpcError as error:
                if feed.failure is not None:
                    raise feed.failure from None
                failure = failure_of_call(error)
                if not failure.is_retryable or attempt >= retries.attempts:
                    raise failure from error
                await asyncio.sleep(pause_s(failure, retries, attempt=attempt))
                attempt += 1
            finally:
                await _end(sending)
                call.cancel()  # nothing where it has ended
    finally:
        await _end(asking)


async def _ask(photos: Photos[Key], feed: Feed[Key], changed: asyncio.Condition) -> None:
    """Takes photos from the caller, no more than may be on their way."""
    try:
        async for key, request in _each(photos):
            async with changed:
                feed.add(key, request)
                changed.notify_all()
                await changed.wait_for(lambda: feed.wants_more)
    except Exception as error:  # noqa: BLE001 - the caller's own, whom it reaches with the answers
        feed.failure = error
    async with changed:
        feed.exhausted = True
        changed.notify_all()


async def _each(photos: Photos[Key]) -> AsyncIterator[tuple[Key, apply_pb2.ApplyCloakRequest]]:
    if isinstance(photos, AsyncIterable):
        async for pair in photos:
            yield pair
    else:
        for pair in photos:
            yield pair


async def _send(call: Call, feed: Feed[Key], changed: asyncio.Condition) -> None:
    """Sends until all have their answers. The stream's errors are told where its answers are read."""
    with suppress(grpc.RpcError, asyncio.InvalidStateError):
        while True:
            async with changed:
                while (message := feed.take()) is None and not feed.is_done and feed.failure is None:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(changed.wait(), feed.pause_s)
            if message is None:
                await call.done_writing()
                return
            await call.write(message)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
