"""When a call that the client itself repeats is made again. Those that gRPC repeats: see service_config."""

from __future__ import annotations

import random
import time

from facecloak_client.errors import CallFailed
from facecloak_client.service_config import Retries


class Attempts:
    """Counts the attempts of one call and looks at its time."""

    def __init__(self, retries: Retries, *, timeout_s: float) -> None:
        """``timeout_s``: for all attempts together, and what lies between them."""
        self._retries = retries
        self._ends = time.monotonic() + timeout_s
        self._made = 1

    @property
    def left_s(self) -> float:
        """Seconds until the call's time is over."""
        return max(0.0, self._ends - time.monotonic())

    def pause_after(self, failure: CallFailed) -> float | None:
        """Seconds to wait before the next attempt; None where there is to be none."""
        if not failure.is_retryable or self._made >= self._retries.attempts:
            return None
        seconds = pause_s(failure, self._retries, attempt=self._made)
        if seconds >= self.left_s:
            return None
        self._made += 1
        return seconds


def pause_s(failure: CallFailed, retries: Retries, *, attempt: int) -> float:
    """Seconds from a failure of attempt ``attempt``, the first is 1, to the next one.

    What the service asks for, and up to a fifth more, so that not all who were refused come back at once; where it asks
    for nothing, a random part of a delay that grows.
    """
    if failure.retry_after_s is not None:
        return failure.retry_after_s * random.uniform(1.0, 1.2)
    return random.uniform(0.0, retries.delay_s(attempt))
