"""ApplyCloakStream for threads: photos go in, answers come out as they are ready; a stream that breaks is resumed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol

import grpc

from facecloak.v1 import apply_pb2
from facecloak_client.attempts import pause_s
from facecloak_client.failures import failure_of_call
from facecloak_client.feed import Feed, Key, StreamAnswer, cut_short
from facecloak_client.service_config import Retries


class _Answers(Protocol):
    def __iter__(self) -> Iterator[apply_pb2.ApplyCloakStreamResponse]: ...

    def cancel(self) -> bool: ...


Open = Callable[[Iterator[apply_pb2.ApplyCloakStreamRequest]], _Answers]
"""Begins a stream of these requests."""


class _Sender(Generic[Key]):
    """Takes photos from the caller and hands them to gRPC, in gRPC's threads. One stream sends at a time."""

    def __init__(self, photos: Iterator[tuple[Key, apply_pb2.ApplyCloakRequest]], feed: Feed[Key]) -> None:
        self._photos = photos
        self._feed = feed
        self._changed = threading.Condition()
        self._stream = 0
        self._asking = False

    def begin(self) -> Iterator[apply_pb2.ApplyCloakStreamRequest]:
        """The requests of the next stream; those of an earlier one end."""
        with self._changed:
            self._stream += 1
            self._feed.start_over()
            self._changed.notify_all()
            return self._requests(self._stream)

    def end(self) -> None:
        """Ends the requests of all streams."""
        with self._changed:
            self._stream += 1
            self._changed.notify_all()

    def answered(self, message: apply_pb2.ApplyCloakStreamResponse) -> StreamAnswer[Key] | None:
        """See Feed."""
        with self._changed:
            answer = self._feed.answered(message)
            self._changed.notify_all()
            return answer

    def _requests(self, stream: int) -> Iterator[apply_pb2.ApplyCloakStreamRequest]:
        while True:
            with self._changed:
                message = None
                while self._stream == stream and not self._feed.is_done and self._feed.failure is None:
                    message = self._feed.take()
                    # Two streams must not ask the caller at once: the earlier one may still wait for a photo.
                    if message is not None or (self._feed.wants_more and not self._asking):
                        break
                    self._changed.wait(self._feed.pause_s)
                else:
                    return
                self._asking = message is None
            if message is not None:
                yield message
            else:
                self._ask()

    def _ask(self) -> None:
        """One photo of the caller's, without the lock: it may take long."""
        given: tuple[Key, apply_pb2.ApplyCloakRequest] | None = None
        failure: BaseException | None = None
        try:
            given = next(self._photos, None)
        except Exception as error:  # noqa: BLE001 - the caller's own, whom it reaches with the answers
            failure = error
        with self._changed:
            self._asking = False
            self._feed.failure = failure
            if given is not None:
                self._feed.add(*given)
            else:
                self._feed.exhausted = True
            self._changed.notify_all()


def cloak_each(
    photos: Iterable[tuple[Key, apply_pb2.ApplyCloakRequest]], open_stream: Open, *, in_flight: int, retries: Retries
) -> Iterator[StreamAnswer[Key]]:
    """See FaceCloakClient.apply_stream."""
    feed: Feed[Key] = Feed(in_flight=in_flight, retries=retries)
    sender = _Sender(iter(photos), feed)
    attempt = 1
    while not feed.is_done:
        call = open_stream(sender.begin())
        try:
            for message in call:
                attempt = 1  # it works again
                if (answer := sender.answered(message)) is not None:
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
            time.sleep(pause_s(failure, retries, attempt=attempt))
            attempt += 1
        finally:
            sender.end()
            call.cancel()  # nothing where it has ended
