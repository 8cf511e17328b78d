"""Reading the message of a call within a time: a client may send a call's headers and then nothing, for hours."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from facecloak.errors import ErrorCode, FaceCloakError, InvalidInput
from facecloak_rpc.budget import Budget
from facecloak_rpc.errors import Overloaded

# How long a call waits for its turn to be read.
_TURN_SECONDS = 1.5
# While others wait for their turn, a message that takes longer is given up: most take milliseconds.
_HURRIED_SECONDS = 1.0
_LOOK_SECONDS = 0.2


class RequestIncomplete(FaceCloakError):
    """A call's message did not come in within the time that the service waits for it."""

    code = ErrorCode.DEADLINE_EXCEEDED
    reason = "REQUEST_INCOMPLETE"


class MessageReader:
    """Reads few messages at once: until one is whole, nobody knows how large it will be."""

    def __init__(self, *, places: int, seconds: float) -> None:
        """No connection has more than half of the ``places``; a message has to come in within ``seconds``."""
        self._seconds = seconds
        self._places = Budget(places, share=max(1, places // 2))
        # More threads than places: one that waits in vain ends a moment after its call does.
        self._threads = ThreadPoolExecutor(2 * places, thread_name_prefix="message")

    @contextmanager
    def turn(self, *, connection: str) -> Iterator[None]:
        """Holds a place for the block. Raises Overloaded where none gets free in time."""
        if not self._places.take(1, owner=connection, wait_seconds=_TURN_SECONDS):
            raise Overloaded(
                "too many messages come in at once", limit=self._places.total, retry_after_seconds=f"{_TURN_SECONDS}"
            )
        try:
            yield
        finally:
            self._places.give_back(1, owner=connection)

    def read_next(self, requests: Iterator[bytes]) -> bytes | None:
        """The next message, or None where the client has ended its requests. Only within a :meth:`turn`.

        Raises RequestIncomplete where it did not come in time.
        """
        return self._within_time(self._threads.submit(next, requests, None))

    def read(self, requests: Iterator[bytes]) -> bytes:
        """The one message of a call. Only within a :meth:`turn`.

        Raises:
            RequestIncomplete: it did not come in time.
            InvalidInput: the client ended the call's requests without one.
        """
        message = self.read_next(requests)
        if message is None:
            raise InvalidInput("the call has no message", field="request")
        return message

    def _within_time(self, future: Future[bytes | None]) -> bytes | None:
        started = time.monotonic()
        while True:
            try:
                return future.result(timeout=min(_LOOK_SECONDS, self._seconds))
            except TimeoutError:
                limit = min(self._seconds, _HURRIED_SECONDS) if self._places.waiting else self._seconds
                if time.monotonic() - started >= limit:
                    future.cancel()
                    raise RequestIncomplete(
                        "the call's message did not come in in time", limit=f"{limit:g}", field="request"
                    ) from None

    def close(self) -> None:
        """Lets the threads end with their calls."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class OpenCalls:
    """How many calls are open at once: more are refused, with a reason, before anything of them is read."""

    def __init__(self, limit: int, *, connection_limit: int | None = None) -> None:
        """``connection_limit``: how many of them may be of one connection."""
        self._places = Budget(limit, share=connection_limit)

    @property
    def connections(self) -> int:
        """How many connections have calls open."""
        return self._places.owners

    def refusal(self) -> Overloaded | None:
        """Why no call can be let in now, whoever's it is; None where there is room."""
        return self._overloaded() if self._places.out >= self._places.total else None

    @contextmanager
    def one(self, *, connection: str) -> Iterator[None]:
        """Holds a place for the block. Raises Overloaded where there is none."""
        if not self._places.take(1, owner=connection):
            raise self._overloaded()
        try:
            yield
        finally:
            self._places.give_back(1, owner=connection)

    def _overloaded(self) -> Overloaded:
        return Overloaded("too many calls at once", limit=self._places.total)
