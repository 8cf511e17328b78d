"""The photos of a stream: which are to be sent, which have no answer yet, and how many may be on their way."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc

from facecloak.v1 import apply_pb2
from facecloak_client.attempts import pause_s
from facecloak_client.errors import CallFailed, Defect
from facecloak_client.failures import failure_of_status
from facecloak_client.service_config import Retries

Key = TypeVar("Key")


@dataclass(frozen=True)
class StreamAnswer(Generic[Key]):
    """What became of one photo: ``response`` or ``failure`` is set. ``key`` is the caller's own name for it."""

    key: Key
    response: apply_pb2.ApplyCloakResponse | None = None
    failure: CallFailed | None = None

    @property
    def photo(self) -> bytes:
        """The photo that came back. Raises the failure where none did."""
        if self.response is None:
            assert self.failure is not None
            raise self.failure
        return self.response.photo


@dataclass
class _Photo(Generic[Key]):
    key: Key
    request: apply_pb2.ApplyCloakRequest
    attempts: int = 1
    not_before: float = 0.0


class Feed(Generic[Key]):
    """Knows nothing of threads or asyncio: who uses it holds a lock, or runs in one event loop."""

    def __init__(self, *, in_flight: int, retries: Retries) -> None:
        """At most ``in_flight`` photos have been taken from the caller and have no answer."""
        if in_flight < 1:
            raise ValueError("in_flight must be 1 or more")
        self._in_flight = in_flight
        self._retries = retries
        self._photos: dict[int, _Photo[Key]] = {}
        self._unsent: list[int] = []
        self._next = 0
        self.exhausted = False
        self.failure: BaseException | None = None

    @property
    def wants_more(self) -> bool:
        """Whether the caller may be asked for a photo."""
        return not self.exhausted and len(self._photos) < self._in_flight

    @property
    def is_done(self) -> bool:
        """Whether every photo has its answer and there are no more."""
        return self.exhausted and not self._photos

    def add(self, key: Key, request: apply_pb2.ApplyCloakRequest) -> None:
        """A photo that the caller gave."""
        self._photos[self._next] = _Photo(key, request)
        self._unsent.append(self._next)
        self._next += 1

    def take(self) -> apply_pb2.ApplyCloakStreamRequest | None:
        """The next message to send; None while there is none."""
        now = time.monotonic()
        for sequence in self._unsent:
            if self._photos[sequence].not_before <= now:
                self._unsent.remove(sequence)
                return apply_pb2.ApplyCloakStreamRequest(sequence=sequence, request=self._photos[sequence].request)
        return None

    @property
    def pause_s(self) -> float | None:
        """Seconds until a photo may be sent again; None where none waits for that."""
        times = [self._photos[sequence].not_before for sequence in self._unsent]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def answered(self, message: apply_pb2.ApplyCloakStreamResponse) -> StreamAnswer[Key] | None:
        """The answer for the caller; None where the photo is to be sent again, or is not one of ours."""
        photo = self._photos.get(message.sequence)
        if photo is None:
            return None
        if message.WhichOneof("outcome") == "response":
            del self._photos[message.sequence]
            return StreamAnswer(photo.key, response=message.response)
        failure = failure_of_status(message.error)
        if failure.is_retryable and photo.attempts < self._retries.attempts:
            photo.not_before = time.monotonic() + pause_s(failure, self._retries, attempt=photo.attempts)
            photo.attempts += 1
            self._unsent.append(message.sequence)
            return None
        del self._photos[message.sequence]
        return StreamAnswer(photo.key, failure=failure)

    def start_over(self) -> None:
        """The stream broke: all that has no answer is to be sent in the next one. Cloaking may be repeated."""
        self._unsent = sorted(self._photos)


def cut_short() -> CallFailed:
    """What a stream fails with that ends well before all photos have their answers."""
    message = "the service ended the stream before its answers"
    return Defect(message, code=grpc.StatusCode.INTERNAL, reason="NO_RESULT")
